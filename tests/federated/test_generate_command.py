"""``python -m federated generate``, as it is typed."""

import json
import os
import signal
import subprocess
import sys

import pytest

from federated.__main__ import main
from federated.data.generator import generate
from federated.data.readers import read_examples

pytestmark = pytest.mark.fast

PROGRAM = [sys.executable, "-m", "federated", "generate"]


def test_standard_output_is_json_lines(capsysbinary):
    assert main(["generate", "--records", "20", "--seed", "5", "--clients", "3"]) == 0
    lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    expected = list(generate(records=20, seed=5, clients=3))
    assert [line["id"] for line in lines] == list(range(1, 21))
    assert list(lines[0]) == ["id", "text", "label", "client", "planted"]
    assert [line["text"] for line in lines] == [example.text for example in expected]
    assert [line["planted"] for line in lines] == [[list(span) for span in example.planted] for example in expected]


def test_a_file_can_be_read_back(tmp_path):
    path = tmp_path / "messages.jsonl"
    assert main(["generate", "--records", "50", "--seed", "5", "--clients", "3", "--output", str(path)]) == 0
    examples = read_examples(path, text_field="text", label_field="label", client_field="client")
    assert examples == list(generate(records=50, seed=5, clients=3))
    assert list(tmp_path.iterdir()) == [path]


def test_defaults():
    finished = subprocess.run(PROGRAM, capture_output=True, check=True, timeout=60)
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    assert len(lines) == 10_000
    assert len({line["client"] for line in lines}) == 50
    assert lines[0]["text"] == next(generate(records=1, seed=1, clients=50)).text
    assert finished.stderr == b""


def test_a_reader_that_leaves_early_ends_it_quietly():
    with subprocess.Popen(
        [*PROGRAM, "--records", "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr.read() == b""


def test_ctrl_c_ends_it_quietly():
    # A shell starts background jobs with SIGINT ignored, and children inherit that: the test must not depend on it.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom federated.__main__ import main\n"
    )
    program = [sys.executable, "-c", f"{code}raise SystemExit(main())", "generate", "--records", "1000000"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == b""


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys):
    path = tmp_path / "missing" / "messages.jsonl"
    assert main(["generate", "--records", "5", "--output", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot write {path}: No such file or directory.")
    assert error.count("\n") == 1


def test_a_pipe_is_not_replaced_by_a_file(tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert main(["generate", "--records", "5", "--output", str(pipe)]) == 1
    assert (
        capsys.readouterr().err
        == f"error: cannot write {pipe}: it is not a regular file. Name a new or an ordinary file.\n"
    )
    assert pipe.is_fifo()


@pytest.mark.parametrize("option", [["--records", "0"], ["--clients", "-1"], ["--records", "many"], ["--seed", "-1"]])
def test_wrong_usage(option, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["generate", *option])
    assert caught.value.code == 2
    assert option[0] in capsys.readouterr().err

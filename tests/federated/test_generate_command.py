"""``python -m federated generate``, as it is typed."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from federated.__main__ import main
from federated.data.generator import generate
from federated.data.readers import Source, read_examples

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
    examples = list(read_examples(Source(path, "text", "label", "client")))
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


# A shell starts background jobs with SIGINT ignored, and children inherit that: the test must not depend on it.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from federated.__main__ import main\n"
    "raise SystemExit(main())"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(number):
    program = [sys.executable, "-c", INTERRUPTIBLE, "generate", "--records", "1000000"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert error == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_part_of_a_file(tmp_path, number):
    output = ["--records", "1000000", "--output", str(tmp_path / "messages.jsonl")]
    with subprocess.Popen([sys.executable, "-c", INTERRUPTIBLE, "generate", *output]) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.iterdir()):
            assert time.monotonic() < deadline
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing/messages.jsonl", "No such file or directory"), (".", "Is a directory"), ("/dev/full", "No space left")],
)
def test_an_output_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys, path, reason):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "--records", "5", "--output", path]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot write {path}: {reason}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def run(redirection, *options):
    """Runs the command in a shell, where its output can be closed or sent to a device."""
    command = shlex.join([*PROGRAM, *options])
    return subprocess.run(
        ["bash", "-c", f"{command} {redirection}"], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        ("> /dev/full", "error: cannot write standard output: No space left on device.\n"),
        (">&-", "error: standard output is closed. Name a file with --output.\n"),
    ],
)
@pytest.mark.parametrize("records", [1, 10_000])
def test_a_standard_output_that_takes_nothing_is_one_line(redirection, message, records):
    finished = run(redirection, "--records", str(records))
    assert (finished.returncode, finished.stderr) == (1, message)


def test_a_disk_that_fills_up_leaves_no_part_of_a_file(tmp_path):
    program = [*PROGRAM, "--output", str(tmp_path / "messages.jsonl")]
    finished = subprocess.run(
        ["bash", "-c", f"ulimit -f 100; exec {shlex.join(program)}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
    assert f"cannot write {tmp_path / 'messages.jsonl'}: File too large" in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_written_to_as_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([*PROGRAM, "--records", "5", "--output", str(pipe)]) as process:
        assert len(pipe.read_bytes().splitlines()) == 5
        assert process.wait(timeout=60) == 0
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    "option",
    [["--records", "0"], ["--clients", "-1"], ["--clients", "1000000001"], ["--records", "many"], ["--seed", "-1"]],
)
def test_wrong_usage(option, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["generate", *option])
    assert caught.value.code == 2
    assert option[0] in capsys.readouterr().err

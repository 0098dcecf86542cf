"""The dispatcher imports no more than the chosen command needs."""

import shlex
import subprocess
import sys

import pytest

from federated.__main__ import COMMANDS, main

pytestmark = pytest.mark.fast


def modules_after(*words: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded once the command has ended."""
    code = (
        "import sys\nfrom federated.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, timeout=60
    )
    return set(finished.stderr.splitlines()[-1].split())


def test_help_names_every_command_and_loads_none(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} " in text and summary in text for name, summary in COMMANDS.items())
    assert not {"numpy", "msgspec", "tensorflow"} & modules_after("--help")


def test_generating_needs_no_tensorflow_and_no_pyarrow():
    loaded = modules_after("generate", "--records", "3")
    assert "numpy" in loaded
    assert not {"tensorflow", "tensorflow_federated", "pyarrow"} & loaded


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_is_quick(command):
    """It loads none of the libraries that take longer than the half second that a person waits without noticing."""
    assert not {"tensorflow", "tensorflow_federated", "pyarrow", "scipy"} & modules_after(command, "--help")


@pytest.mark.parametrize("words", [[], ["unknown"], ["--records", "5"]])
def test_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_too_little_memory_is_one_line(tmp_path):
    # 7,200 x 10,000 x 4 bytes of held-out token ids.
    sizes = ["--set", "data.max_tokens=10000", "--set", "data.heldout_fraction=0.9"]
    options = ["--preset", "demo", *sizes, "--out", str(tmp_path / "model")]
    program = [sys.executable, "-m", "federated", "train", *options]
    finished = subprocess.run(
        ["bash", "-c", f"ulimit -v 300000; OPENBLAS_NUM_THREADS=1 exec {shlex.join(program)}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: there is not enough memory.")
    assert finished.stderr.count("\n") == 1

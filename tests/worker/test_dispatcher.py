import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import IO, Any

import pytest

from worker import __main__ as dispatcher
from worker.errors import LimelightError

pytestmark = pytest.mark.fast

PROGRAM = [sys.executable, "-m", "worker"]
PATIENCE_SECONDS = 60


def install(monkeypatch: pytest.MonkeyPatch, outcome: BaseException | int) -> list[Any]:
    """Puts a command in the place of `score` that ends with `outcome`; returns what it was called with."""
    calls: list[Any] = []
    command: Any = types.ModuleType("worker.commands.score")

    def run(arguments: Any) -> int:
        calls.append(arguments)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    command.add_arguments = lambda parser: parser.add_argument("--bundle", required=True)
    command.run = run
    monkeypatch.setitem(sys.modules, "worker.commands.score", command)
    return calls


def run_program(
    *arguments: str, output: IO[str] | int = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the worker in a process of its own; its standard output goes to `output`."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, **variables},
    )


def test_the_chosen_command_gets_its_own_options_and_decides_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = install(monkeypatch, 7)

    assert dispatcher.main(["score", "--bundle", "x"]) == 7
    assert calls[0].bundle == "x"


def test_our_own_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    install(monkeypatch, LimelightError("topic `x` is missing.\nCreate it."))

    assert dispatcher.main(["score", "--bundle", "x"]) == 1
    assert capsys.readouterr() == ("", "error: topic `x` is missing. Create it.\n")


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ZeroDivisionError("a bug"))

    with pytest.raises(ZeroDivisionError):
        dispatcher.main(["score", "--bundle", "x"])


def test_an_interrupt_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    install(monkeypatch, KeyboardInterrupt())

    assert dispatcher.main(["score", "--bundle", "x"]) == 130
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_while_the_command_is_imported_is_none_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dispatcher.importlib, "import_module", interrupt)
    assert dispatcher.main(["score"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("argv", [[], ["unheard-of"], ["--bundle"], ["config"], ["config", "shwo"]])
def test_wrong_usage_ends_with_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dispatcher.main(argv)

    assert ended.value.code == 2
    assert "usage: python -m worker" in capsys.readouterr().err


def test_every_offered_command_exists_and_every_command_is_offered() -> None:
    directory = Path(dispatcher.__file__).parent / "commands"

    assert {path.stem for path in directory.glob("[!_]*.py")} == set(dispatcher.COMMANDS)


@pytest.mark.parametrize("name", dispatcher.COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dispatcher.main([name, "--help"])

    assert ended.value.code == 0
    assert f"usage: python -m worker {name}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from worker.__main__ import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    print(json.dumps(sorted(sys.modules)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    )

    imported = set(json.loads(answer.stdout.splitlines()[-1]))
    assert "worker.errors" in imported
    assert imported & {"numpy", "onnxruntime", "kafka", "pydantic", "structlog", "tensorflow"} == set()


def test_a_worker_loads_no_cryptography_before_it_needs_it() -> None:
    code = "import sys, worker.app; print(sorted({'cryptography', 'tensorflow', 'fsspec'} & sys.modules.keys()))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    )

    assert answer.stdout == "[]\n"


def test_the_program_fails_as_promised() -> None:
    answer = run_program("config", "show", LIMELIGHT_STRAT="latest")

    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == (
        "error: LIMELIGHT_STRAT is not a setting. Did you mean LIMELIGHT_START? "
        "`python -m worker config show --help` lists them all.\n"
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_gets_no_traceback(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as output:
        answer = run_program("config", "show", output=output, PYTHONUNBUFFERED=unbuffered)

    assert (answer.returncode, answer.stderr) == (141, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(unbuffered: str) -> None:
    with Path("/dev/full").open("w") as output:
        answer = run_program("config", "show", output=output, PYTHONUNBUFFERED=unbuffered)

    assert answer.returncode == 1
    assert answer.stderr == "error: standard output cannot be written: No space left on device. Make room there.\n"


def test_another_error_of_the_system_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FileNotFoundError(2, "No such file or directory", "a bug"))

    with pytest.raises(FileNotFoundError):
        dispatcher.main(["score", "--bundle", "x"])

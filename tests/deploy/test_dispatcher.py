"""``python -m deploy.local``: wrong usage is told by argparse, and only the chosen command is imported."""

import errno
import subprocess
import sys

import pytest

import deploy.local.__main__ as dispatcher
from deploy.local.__main__ import main

pytestmark = pytest.mark.fast


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "broker" in text
    assert "demo" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["brokr"], "invalid choice: 'brokr'"),
        (["broker", "--nodes", "0"], "'0' is not a number of nodes: 1 to 16"),
        (["broker", "--nodes", "17"], "'17' is not a number of nodes: 1 to 16"),
        (["broker", "--nodes", "two"], "'two' is not a number of nodes: 1 to 16"),
        (["broker", "--port", "65536"], "'65536' is not a port: 1 to 65535"),
        (["broker", "--nodes", "3", "--port", "65534"], "--port 65534 leaves no ports for 3 nodes"),
        (["broker", "--property", "log.dirs"], "'log.dirs' is not KEY=VALUE"),
        (["broker", "--property", "=value"], "'=value' is not KEY=VALUE"),
        (["broker", "--ready-file", "/no/such/directory/file"], "there is no directory /no/such/directory"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_ctrl_c_while_the_command_is_imported_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dispatcher, "import_module", interrupt)
    assert main(["demo"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/node-1"),
            1,
            "/data/node-1: Permission denied.",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "standard output: No space left on device. Make room"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, None),
    ],
)
def test_what_the_system_refuses_is_one_line(error: OSError, status: int, said: str | None) -> None:
    program = (
        "import deploy.local.__main__ as dispatcher, sys\n"
        "def refuse(_):\n"
        f"    raise {type(error).__name__}{(*error.args, error.filename)!r}\n"
        "dispatcher.import_module = refuse\n"
        "sys.exit(dispatcher.main(['broker']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == status
    assert ended.stderr.count("\n") == (0 if said is None else 1)
    assert ended.stderr.startswith("" if said is None else f"error: {said}")


def test_one_command_does_not_import_the_other() -> None:
    program = (
        "import sys; from deploy.local.__main__ import main\n"
        "try: main(['broker', '--help'])\n"
        "except SystemExit: print([name for name in sys.modules if name.startswith('deploy.local.demo')])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("\n[]\n")

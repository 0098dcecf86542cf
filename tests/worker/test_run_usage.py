"""Options of ``run`` that do not go together, refused before anything is loaded."""

import pytest

from worker.__main__ import main

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (["--from", "15m"], "--output-topic"),
        (["--until", "end"], "--from"),
        (["--output-topic", "t"], "--from"),
        (["--dead-letter-topic", "t"], "--from"),
        (["--processes", "2", "--until", "end"], "--from"),
        (["--processes", "2", "--from", "1h", "--output-topic", "t"], "--processes and --from exclude each other"),
        (["--ready-file", "/no/such/directory/ready"], "Create it first"),
    ],
)
def test_options_that_need_others_or_exclude_them_say_so(
    options: list[str], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *options]) == 1

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert remedy in line


@pytest.mark.parametrize("options", [["--processes", "0"], ["--processes", "two"], ["--process", "1"]])
def test_wrong_usage(options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", *options])
    assert caught.value.code == 2

import base64
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from worker.messages import Prediction

pytestmark = pytest.mark.fast

LINES = [b'{"text":"the box is late","id":"a"}', b"not json", b'{"text":"thanks"}', b"", b'{"text":"caf\xe9"}']


def score(bundle: Path, *options: str, lines: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "worker", "score", "--bundle", str(bundle), *options]
    return subprocess.run(command, input=lines, capture_output=True, check=False)


def test_every_line_is_answered_or_refused(tiny_bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(LINES) + b"\n")
    output = tmp_path / "predictions.jsonl"

    run = score(tiny_bundle_path, "--input", str(tmp_path / "events.jsonl"), "--output", str(output))

    assert run.returncode == 0
    assert run.stderr.decode() == "2 predictions, 3 dead letters\n"
    predictions = msgspec.json.Decoder(Prediction).decode_lines(output.read_bytes())
    assert [(p.id, p.source.topic, p.source.offset) for p in predictions] == [
        ("a", "events.jsonl", 0),
        ("events.jsonl-0-2", "events.jsonl", 2),
    ]
    letters = msgspec.json.Decoder().decode_lines(Path(f"{output}.dlq").read_bytes())
    assert [letter["source"]["offset"] for letter in letters] == [1, 3, 4]
    assert [letter.get("value") for letter in letters] == ["not json", "", None]
    assert base64.b64decode(letters[2]["value_base64"]) == LINES[4]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.jsonl",
        "predictions.jsonl",
        "predictions.jsonl.dlq",
    ]


def test_a_pipe_gets_predictions_and_standard_error_the_rest(tiny_bundle_path: Path) -> None:
    run = score(tiny_bundle_path, lines=b"\n".join(LINES))

    assert run.returncode == 0
    assert len(run.stdout.splitlines()) == 2
    *letters, summary = run.stderr.splitlines()
    assert [msgspec.json.decode(letter)["error"] for letter in letters] == ["DecodeError"] * 3
    assert summary == b"2 predictions, 3 dead letters"


def test_an_empty_input_gives_an_empty_output(tiny_bundle_path: Path) -> None:
    run = score(tiny_bundle_path)

    assert (run.returncode, run.stdout) == (0, b"")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--input", "/no/such/file"], "/no/such/file cannot be read"),
        (["--output", "/no/such/directory/x"], "/no/such/directory/x cannot be written"),
        (["--output", "/", "--dead-letters", "x"], "/ cannot be written"),
        (["--output", "/dev/null"], "--dead-letters"),
        (["--output", "/tmp/same", "--dead-letters", "/tmp/same"], "the same file"),
        (["--bundle", "/no/such/bundle"], "no bundle at /no/such/bundle"),
    ],
)
def test_what_cannot_work_is_one_clear_line(tiny_bundle_path: Path, options: list[str], reason: str) -> None:
    run = score(tiny_bundle_path, *options)

    assert run.returncode == 1
    [line] = run.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert reason in line


def test_an_error_on_the_way_leaves_no_output(tiny_bundle_path: Path, tmp_path: Path) -> None:
    events = tmp_path / "events"
    events.mkdir()

    run = score(tiny_bundle_path, "--input", str(events), "--output", str(tmp_path / "out"))

    assert run.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["events"]


def test_a_field_with_another_name_can_be_read(tiny_bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_FIELDS", "text=review")
    monkeypatch.setenv("LIMELIGHT_ID_FIELD", "order")

    run = score(tiny_bundle_path, lines=b'{"review":"late","order":7}')

    assert msgspec.json.decode(run.stdout)["id"] == "7"


def test_a_pipe_that_stays_open_gets_its_answers_at_once(tiny_bundle_path: Path) -> None:
    command = [sys.executable, "-m", "worker", "score", "--bundle", str(tiny_bundle_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b'{"text":"late"}\n')
        process.stdin.flush()
        # Without an answer this would wait for ever: the input is still open.
        assert msgspec.json.decode(process.stdout.readline())["source"]["offset"] == 0
        process.stdin.close()
        assert process.wait(timeout=30) == 0

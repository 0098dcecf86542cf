"""Plays become windows of characters, each speaker a client."""

import json
import os
from pathlib import Path

import pytest

from federated.__main__ import main
from federated.data.plays import read_plays
from federated.errors import DataError
from worker.features import tokenize

pytestmark = pytest.mark.fast

DATA_DIR = Path(os.environ.get("DATA_DIR", Path(__file__).parents[2] / ".." / "shared" / "data"))
SHAKESPEARE = DATA_DIR / "tinyshakespeare.txt"

PLAY = "Ann:\nA b!\nC\n\nBob:\nno\n\nmu\n\nAnn:\nyes\n"


@pytest.fixture
def play(tmp_path):
    path = tmp_path / "play.txt"
    path.write_text(PLAY)
    return path


def test_every_character_is_an_example_of_its_speaker(play):
    examples = list(read_plays(play, window=3, stride=1))
    assert [(e.client, e.text, e.label) for e in examples] == [
        ("Ann", "A", "␣"),
        ("Ann", "A ␣", "b"),
        ("Ann", "A ␣ b", "!"),
        ("Ann", "␣ b !", "⏎"),
        ("Ann", "b ! ⏎", "C"),
        ("Bob", "n", "o"),
        ("Bob", "m", "u"),
        ("Ann", "y", "e"),
        ("Ann", "y e", "s"),
    ]


def test_windows_of_one_paragraph_are_one_group(play):
    assert [example.group for example in read_plays(play, window=3, stride=1)] == [*"000001233"]


def test_each_character_is_one_token(play):
    for example in read_plays(play, window=8, stride=1):
        assert len(tokenize(example.text)) == len(example.text.split())


def test_a_stride_leaves_windows_out(play):
    assert [example.label for example in read_plays(play, window=9, stride=2)] == ["␣", "!", "C", "o", "u", "e"]


@pytest.mark.parametrize("content", [b"", b"no speeches here\n", b"\xff\xfe"])
def test_what_is_no_play_is_refused(tmp_path, content):
    (tmp_path / "play.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"has no speeches|cannot read"):
        list(read_plays(tmp_path / "play.txt", window=3, stride=1))


def test_the_command_writes_what_a_preset_reads(play, capsys):
    out = play.parent / "plays.jsonl"
    assert main(["plays", "--input", str(play), "--output", str(out), "--stride", "1"]) == 0
    assert capsys.readouterr().out == f"9 examples of 2 speakers to {out}\n"
    assert json.loads(out.read_text().splitlines()[0]) == {
        "id": 1,
        "text": "A",
        "label": "␣",
        "client": "Ann",
        "group": "0",
    }


@pytest.mark.parametrize(("input_", "output"), [("missing.txt", "x.jsonl"), ("play.txt", "missing/x.jsonl")])
def test_files_that_cannot_be_used_are_one_line(play, capsys, input_, output):
    words = ["--input", str(play.parent / input_), "--output", str(play.parent / output)]
    assert main(["plays", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: cannot ")
    assert error.count("\n") == 1
    assert not (play.parent / "x.jsonl").exists()


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason=f"{SHAKESPEARE} is not there; set DATA_DIR")
def test_the_speakers_of_shakespeare():
    examples = list(read_plays(SHAKESPEARE, window=4, stride=20))
    assert len({example.client for example in examples}) == 299, "10 of 309 say nothing"

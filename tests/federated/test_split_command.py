"""``python -m federated split``, as it is typed."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from federated.__main__ import main

pytestmark = pytest.mark.fast

CSV = "stars,review\n" + "".join(f"{index % 2},text {index}\n" for index in range(20))


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(CSV)
    return path


def split(data, *more, train=None, heldout=None):
    train, heldout = train or data.with_name("train.jsonl"), heldout or data.with_name("heldout.jsonl")
    fields = ["--text-field", "review", "--label-field", "stars"]
    outputs = ["--train-output", str(train), "--heldout-output", str(heldout)]
    return main(["split", "--data", str(data), *fields, *outputs, *more]), train, heldout


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_files_together_are_the_source(data, capsys):
    status, train, heldout = split(data)
    assert status == 0
    assert capsys.readouterr().out == f"16 examples to {train}\n4 examples to {heldout}\n"
    assert sorted(line["id"] for line in lines(train) + lines(heldout)) == list(range(1, 21))
    assert [line["id"] for line in lines(train)] == sorted(line["id"] for line in lines(train))
    for line in lines(train) + lines(heldout):
        assert line == {"id": line["id"], "text": f"text {line['id'] - 1}", "label": line["label"], "client": None}
        assert line["label"] == str((line["id"] - 1) % 2)


def test_the_seed_and_the_fraction_decide(data):
    _, _, heldout = split(data, "--seed", "3", "--heldout-fraction", "0.5")
    first = lines(heldout)
    assert len(first) == 10
    assert lines(split(data, "--seed", "3", "--heldout-fraction", "0.5")[2]) == first
    assert lines(split(data, "--seed", "4", "--heldout-fraction", "0.5")[2]) != first


def test_clients_are_kept(data):
    _, train, _ = split(data, "--client-field", "stars")
    assert all(line["client"] == line["label"] for line in lines(train))


def test_groups_stay_together(data):
    data.write_text("stars,review,thread\n" + "".join(f"{n % 2},text {n},{n // 4}\n" for n in range(40)))
    _, train, heldout = split(data, "--group-field", "thread")
    groups = [{line["group"] for line in lines(path)} for path in (train, heldout)]
    assert not groups[0] & groups[1]
    assert len(lines(heldout)) == 8


def test_generated_messages_keep_what_is_planted(tmp_path):
    path = tmp_path / "messages.jsonl"
    main(["generate", "--records", "30", "--output", str(path)])
    status, train, heldout = split(path, "--text-field", "text", "--label-field", "label", "--client-field", "client")
    assert status == 0
    assert sorted(lines(train) + lines(heldout), key=lambda line: line["id"]) == lines(path)


def refusal(capsys):
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_a_row_at_fault_leaves_nothing_behind(data, capsys):
    data.write_text(CSV + "1,\n")
    assert split(data)[0] == 1
    assert f"{data}, row 21 (line 22): 'review' is empty" in refusal(capsys)
    assert list(data.parent.iterdir()) == [data]


def test_a_directory_that_is_not_there_leaves_nothing_behind(data, capsys):
    assert split(data, heldout=data.parent / "missing" / "heldout.jsonl")[0] == 1
    assert "there is no directory" in refusal(capsys)
    assert list(data.parent.iterdir()) == [data]


def test_one_file_cannot_hold_both_parts(data, capsys):
    assert split(data, train=data.parent / "both.jsonl", heldout=data.parent / "." / "both.jsonl")[0] == 1
    assert "Name two files" in refusal(capsys)


@pytest.mark.parametrize("part", ["train", "heldout"])
def test_the_source_is_not_replaced_by_a_part_of_itself(data, capsys, part):
    (data.parent / "link.csv").symlink_to(data)
    assert split(data, **{part: data.parent / "link.csv"})[0] == 1
    assert "is the file to split" in refusal(capsys)
    assert data.read_text() == CSV


@pytest.mark.parametrize("part", ["train", "heldout"])
@pytest.mark.parametrize("path", ["/dev/null", "."])
def test_a_part_has_to_be_an_ordinary_file(data, capsys, part, path):
    before = list(data.parent.iterdir())
    assert split(data, **{part: Path(path)})[0] == 1
    assert f"cannot write {path}: it is not a regular file" in refusal(capsys)
    assert list(data.parent.iterdir()) == before


@pytest.mark.parametrize("fraction", ["0.1", "0.9"])
def test_a_disk_that_holds_only_one_part_gets_none(data, fraction):
    """The larger part, once the one and once the other, is larger than a file may be; a part of before stays."""
    data.write_text("stars,review\n" + "".join(f"{index % 2},text {index}\n" for index in range(200)))
    outputs = [data.with_name("train.jsonl"), data.with_name("heldout.jsonl")]
    for path in outputs:
        path.write_text("before")
    fields = ["--text-field", "review", "--label-field", "stars", "--heldout-fraction", fraction]
    program = [sys.executable, "-m", "federated", "split", "--data", data, *fields]
    program += ["--train-output", outputs[0], "--heldout-output", outputs[1]]
    command = f"ulimit -f 4; exec {shlex.join(map(str, program))}"
    finished = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert f"cannot write {outputs[0]} and {outputs[1]}: File too large. Neither was written" in finished.stderr
    assert [path.read_text() for path in outputs] == ["before", "before"]
    assert sorted(data.parent.iterdir()) == sorted([data, *outputs])


@pytest.mark.parametrize("fraction", ["0", "1", "x"])
def test_wrong_usage(data, fraction):
    with pytest.raises(SystemExit) as caught:
        split(data, "--heldout-fraction", fraction)
    assert caught.value.code == 2

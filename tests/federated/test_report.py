"""The report of a run: a page that stands alone, a table, and the cost of a target."""

import csv
import re
from html.parser import HTMLParser

import msgspec
import pytest
from msgspec import UNSET

from federated.__main__ import main
from federated.config import load_config
from federated.reporting.chart import draw_lines
from federated.run_directory import RunFile
from worker.messages import RoundRecord

pytestmark = pytest.mark.fast


def record(number, run="second <run>", accuracy=None):
    heldout = {"accuracy": accuracy, "macro_f1": 0.5, "recall.good & bad": 0.25, "client_accuracy_worst_decile": 0.1}
    return RoundRecord(
        run=run,
        round=number,
        rounds=4,
        timestamp_ms=1_700_000_000_000,
        seconds=0.5,
        clients=[3, 4],
        examples=20,
        train={"loss": 1 / number, "bytes": 2e6},
        heldout=UNSET if accuracy is None else heldout,
    )


RECORDS = [record(1, "first"), record(1), record(2, accuracy=0.6), record(3), record(4, accuracy=0.75)]


@pytest.fixture
def logs(tmp_path):
    (tmp_path / "rounds.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in RECORDS))
    return tmp_path


def test_prints_the_last_run_and_what_its_targets_have_cost(logs, capsys):
    assert main(["report", str(logs), "--target", "accuracy=0.6", "--target", "accuracy=0.9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "second <run>: 4 of 4 rounds, 2.0 s"
    assert lines[1].startswith("held out after round 4: accuracy 0.75, macro_f1 0.5")
    assert lines[2:] == ["accuracy 0.6: 2 rounds, 4.0 MB, 1.0 s", "accuracy 0.9: not reached"]


def test_another_run_can_be_named(logs, capsys):
    assert main(["report", str(logs), "--run", "first"]) == 0
    assert capsys.readouterr().out == "first: 1 of 4 rounds, 0.5 s\n"
    assert main(["report", str(logs), "--run", "third"]) == 1
    assert "holds no run 'third'" in capsys.readouterr().err


def test_the_table_has_all_figures(logs):
    path = logs / "rounds.csv"
    assert main(["report", str(logs), "--csv", str(path)]) == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["heldout.accuracy"] for row in rows] == ["", "0.6", "", "0.75"]
    assert rows[1]["train.loss"] == "0.5"
    assert rows[1]["clients"] == "2"


class Tags(HTMLParser):
    """Notes what is opened and not closed, and every attribute that names a resource."""

    def __init__(self):
        super().__init__()
        self.open, self.resources, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta",):
            self.open.append(tag)
        self.resources += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_needs_nothing_else(logs):
    path = logs / "report.html"
    assert main(["report", str(logs), "--html", str(path), "--target", "accuracy=0.7"]) == 0
    page = path.read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.resources == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    for text in ("second <run>", "0.750", "good & bad", "4 rounds, 8.0 MB, 2.0 s", "Loss"):
        assert text in tags.text


def test_the_page_of_a_private_run_and_of_clients_that_drop_out(logs):
    rounds = [
        msgspec.structs.replace(record(1), train={"loss": 1.0, "epsilon": 1.5}),
        msgspec.structs.replace(record(2), train={"skipped": 1.0, "epsilon": 2.25, "silent": 3.0}, clients=[]),
    ]
    (logs / "rounds.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in rounds))
    path = logs / "report.html"
    assert main(["report", str(logs), "--html", str(path)]) == 0
    page = path.read_text()
    for tile in ("<b>2.250</b>epsilon spent", "<b>1</b>rounds skipped"):
        assert tile in page
    assert "Epsilon spent" in page
    assert "clients 0 in round 2" in page


def test_the_page_lists_every_setting_of_the_run(logs):
    config = load_config("demo", {"data.partition.by": "iid"})
    file = RunFile(run="second <run>", config=config, out="/model", environment={"machine": "m"})
    (logs / "run.json").write_bytes(msgspec.json.encode(file))
    path = logs / "report.html"
    assert main(["report", str(logs), "--html", str(path)]) == 0
    page = path.read_text()
    for text in ("partition.by iid", "clip 0.0", "eight_bits false", "rounds 40", "machine m"):
        assert text in page
    assert "{&#x27;" not in page


def test_a_resumed_round_counts_once_and_a_torn_line_not_at_all(logs, capsys):
    again = msgspec.json.encode(record(4, accuracy=0.8)) + b"\n"
    path = logs / "rounds.jsonl"
    path.write_bytes(path.read_bytes() + again + b'{"torn": ')
    assert main(["report", str(logs)]) == 0
    assert "accuracy 0.8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "named"),
    [(None, "Name the logs of a run"), (b"", "holds no rounds yet"), (b"{}\n", "line 1 is not a round's record")],
)
def test_logs_that_cannot_be_read_are_one_line(tmp_path, capsys, content, named):
    if content is not None:
        (tmp_path / "rounds.jsonl").write_bytes(content)
    assert main(["report", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert named in error


@pytest.mark.parametrize("option", ["--html", "--csv"])
def test_a_file_that_cannot_be_written_is_one_line(logs, capsys, option):
    assert main(["report", str(logs), option, str(logs / "missing" / "x")]) == 1
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["accuracy", "=1", "accuracy=much"])
def test_wrong_targets(logs, value):
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(logs), "--target", value])


@pytest.mark.parametrize(
    "points", [[], [(1, 0.5)], [(1, 2.0), (9, 2.0)], [(1, float("nan")), (2, 1e-9)], [(1, -5.0), (2, 1e6)]]
)
def test_every_line_stays_in_its_chart(points):
    picture = draw_lines("x", {"a": points})
    for place in re.findall(r'points="([^"]*)"', picture):
        for pair in place.split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= 560
            assert 0 <= y <= 260
    assert "nan" not in picture

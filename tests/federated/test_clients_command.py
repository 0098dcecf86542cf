"""``python -m federated clients``, as it is typed."""

import json

import pytest

from federated.__main__ import main

pytestmark = pytest.mark.fast

SMALL = ["--set", "data.records=400", "--set", "data.clients=8"]


def test_prints_and_writes_how_the_clients_differ(tmp_path, capsys):
    svg, figures = tmp_path / "clients.svg", tmp_path / "clients.json"
    assert main(["clients", "--preset", "demo", *SMALL, "--svg", str(svg), "--json", str(figures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "8 clients, 400 examples"
    assert lines[1].startswith("labels: account ")
    measured = json.loads(figures.read_text())
    assert measured["examples"] == 400
    assert measured["sizes"]["max"] > 2 * measured["sizes"]["p50"]
    assert svg.read_text().startswith("<svg ")


def test_a_partition_is_tried_with_set(capsys):
    even = ["--set", "data.partition.by=iid", "--set", "data.partition.clients=4"]
    assert main(["clients", "--preset", "demo", *SMALL, *even]) == 0
    assert capsys.readouterr().out.splitlines()[3].split()[-5:] == ["100"] * 5


def test_a_client_column_is_used(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    path.write_text("text,label,user\n" + "fine,1,a\nbad,0,b\nworse,0,b\n")
    fields = ["--text-field", "text", "--label-field", "label", "--client-field", "user"]
    assert main(["clients", "--preset", "reviews", "--data", str(path), *fields]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["2 clients, 3 examples", "labels: 0 2, 1 1"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--preset", "nope"], "'nope'"),
        (["--preset", "reviews"], "give --data"),
        (["--preset", "demo", *SMALL, "--svg", "missing/x.svg"], "cannot write missing/x.svg"),
        (["--preset", "demo", *SMALL, "--set", "data.partition.min_examples=1000"], "no client has 1000 examples"),
    ],
)
def test_what_cannot_work_is_one_line(capsys, options, named):
    assert main(["clients", *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert named in error

import csv
import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from federated.__main__ import main
from federated.bench.chart import draw
from federated.bench.shapes import SHAPES, draw_clients

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    """The smallest bench: a pair of rounds of each contestant on the smallest shape."""
    directory = tmp_path_factory.mktemp("bench")
    files = {name: directory / f"bench.{name}" for name in ("json", "csv", "chart")}
    flags = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    command = [sys.executable, "-m", "federated", "bench", "--shapes", "small", "--pairs", "2", *flags]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout, json.loads(files["json"].read_text()), files["csv"], files["chart"]


def test_every_contestant_ran_the_same_training(benched):
    _, figures, _, _ = benched
    results = {result["contestant"]: result for result in figures["results"]}
    assert list(results) == ["xla", "tff_default", "tff_iterator", "tff_packed"]
    for result in results.values():
        assert result["shape"] == "small"
        assert len(result["seconds"]) == 2
        # The batches of a round are drawn by its number, and all start from the same weights.
        assert result["loss"] == pytest.approx(results["xla"]["loss"], abs=1e-4)
        assert result["first_seconds"] > result["median_seconds"] > 0
        assert result["peak_mib"] > 100
    assert results["xla"]["times_slower"] == 1


def test_the_figures_are_printed_and_written_as_a_table_and_a_picture(benched):
    printed, figures, table, chart = benched
    header, *lines = printed.splitlines()
    assert len(lines) == len(figures["results"]) == 4
    assert "times xla's" in header
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["contestant"] for row in rows] == [result["contestant"] for result in figures["results"]]
    assert [float(row["median_seconds"]) for row in rows] == [r["median_seconds"] for r in figures["results"]]
    bars = ElementTree.fromstring(chart.read_text()).findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 4


class Figure:
    def __init__(self, contestant: str, median_seconds: float) -> None:
        self.shape, self.contestant, self.median_seconds = "small", contestant, median_seconds


def test_ten_times_as_long_is_one_step_further_on_the_axis():
    results = [Figure("xla", 0.02), Figure("tff_packed", 0.2), Figure("tff_default", 2.0)]
    svg = ElementTree.fromstring(draw(results, {"small": "10 < 20"}))
    widths = [float(bar.get("width")) for bar in svg.findall("{http://www.w3.org/2000/svg}rect")]
    assert widths[2] - widths[1] == pytest.approx(widths[1] - widths[0], abs=0.2)


def test_every_batch_of_a_shape_is_full():
    for shape in SHAPES.values():
        sizes = {len(client.label) for client in draw_clients(shape._replace(clients=2))}
        assert sizes == {shape.examples}
        assert shape.examples % 16 == 0


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, capsys):
    assert main(["bench", "--json", str(tmp_path / "nowhere" / "figures.json")]) == 1
    assert "there is no directory" in capsys.readouterr().err

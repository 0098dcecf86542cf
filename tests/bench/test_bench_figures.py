"""The figures of a bench, from rates to tables and pictures: all that can be held without measuring anything."""

import csv
from xml.etree import ElementTree

import msgspec
import pytest

from worker.bench.chart import LENGTH, draw
from worker.bench.figures import (
    Figures,
    LatencyRun,
    Lengths,
    Setup,
    Skipped,
    Stages,
    summarize_latency,
    summarize_rates,
)
from worker.bench.plan import CLIENTS, LAYERS, THROUGHPUT_LAYERS, Contestant, complete_layers, plan, rotate
from worker.bench.stages import attribute
from worker.bench.tables import to_csv, to_markdown

pytestmark = pytest.mark.fast

SVG = "{http://www.w3.org/2000/svg}"
CEILING = [40_000.0, 20_000.0, 30_000.0]


def make_figures() -> Figures:
    """Two clients and a peer, in three repetitions of which the second met a busy machine."""
    rates = {
        Contestant("model"): CEILING,
        Contestant("exactly-once", "kafka-python"): [16_000.0, 9_000.0, 12_300.0],
        Contestant("exactly-once", "librdkafka"): [32_000.0, 12_000.0, 24_000.0],
        Contestant("peer"): [4_000.0, 2_000.0, 3_000.0],
    }
    return Figures(
        setup=Setup(
            measured_at="2026-11-23T06:00:00+00:00",
            cpu="a processor",
            cores=2,
            load=0.1,
            versions={"python": "3.11"},
            bundle="tiny/0123",
            lengths=Lengths("lognormal", 28.7, 23, 108, 128),
            seed=1,
            records=60_000,
            partitions=4,
            repetitions=3,
            warm_up_runs=2,
        ),
        throughput=[summarize_rates(contestant, found, CEILING) for contestant, found in rates.items()],
        latency=[
            summarize_latency(
                "librdkafka",
                12_000.0,
                [
                    LatencyRun(1000, 10.0, 21.0, 0.5, 0.8),
                    LatencyRun(1001, 11.0, 29.0, 1.5, 1.0),
                    LatencyRun(999, 9.0, 25.0, 0.7, None),
                ],
            )
        ],
        stages=[
            Stages(
                client="kafka-python", records=10, microseconds={"decode": 5.0, "score": 20.0, "other": 5.0}, total=30.0
            ),
            Stages(
                client="librdkafka", records=10, microseconds={"decode": 5.0, "score": 15.0, "other": 0.0}, total=20.0
            ),
        ],
        skipped=[Skipped("processes", "one <core> is all there is")],
    )


def test_a_ratio_is_taken_within_its_repetition() -> None:
    [_, python, rd, _] = make_figures().throughput
    assert (python.median, python.low, python.high) == (12_300.0, 9_000.0, 16_000.0)
    # The median of .40, .45 and .41, and not the ratio of the medians.
    assert python.ratio == 0.41
    assert rd.ratio == 0.8


def test_without_the_model_there_is_no_ratio() -> None:
    assert summarize_rates(Contestant("peer"), [1.0], []).ratio is None


def test_what_is_written_can_be_read_by_its_schema_and_nothing_is_left_unsaid() -> None:
    figures = make_figures()
    encoded = msgspec.json.encode(figures)
    assert msgspec.json.decode(encoded, type=Figures) == figures
    with pytest.raises(msgspec.ValidationError, match="unknown field `extra`"):
        msgspec.json.decode(encoded.replace(b'"cores":2', b'"cores":2,"extra":1'), type=Figures)
    schema = msgspec.json.schema(Figures)
    for name in ("Setup", "Throughput", "Latency", "Stages"):
        described = schema["$defs"][name]
        assert described["additionalProperties"] is False
        assert set(described["required"]) == set(described["properties"])


def test_the_tables_say_every_figure() -> None:
    text = to_markdown(make_figures())
    assert "| exactly once, librdkafka | 24,000 | 12,000 - 32,000 | 0.80 |" in text
    # The median of 4.0, 4.5 and 4.1, and that of 8, 6 and 8.
    assert "Exactly once beside the peer: kafka-python 4.10 times, librdkafka 8.00 times as fast." in text
    assert "| librdkafka | 12,000/s | 10.0 ms | 25.0 ms | 0.7 ms | 90% |" in text
    assert "| score | 20.0 | 15.0 |" in text
    assert "| together | 30.0 | 20.0 |" in text
    assert "Not measured: processes: one <core> is all there is" in text


def test_the_rates_can_be_calculated_with() -> None:
    rows = list(csv.DictReader(to_csv(make_figures()).decode().splitlines()))
    assert [row["layer"] for row in rows] == ["model", "exactly-once", "exactly-once", "peer"]
    assert [float(row["median"]) for row in rows] == [30_000.0, 12_300.0, 24_000.0, 3_000.0]


def test_the_picture_is_drawn_to_scale() -> None:
    figures = make_figures()
    boxes = [(box.findtext(f"{SVG}title"), float(box.get("width", "0"))) for box in _parse(figures).iter(f"{SVG}rect")]
    widths = dict(boxes[:4])
    longest = max(each.high for each in figures.throughput)
    for each in figures.throughput:
        assert widths[each.title] == pytest.approx(each.median / longest * LENGTH, abs=0.1)
    assert dict(boxes)["score: 20.0"] == pytest.approx(20 / 30 * LENGTH, abs=0.1)


def test_a_picture_of_one_layer_alone_is_whole() -> None:
    figures = msgspec.structs.replace(make_figures(), throughput=[])
    assert len(list(_parse(figures).iter(f"{SVG}rect"))) == 6 + 3


def _parse(figures: Figures) -> ElementTree.Element:
    return ElementTree.fromstring(draw(figures))


def test_latency_brings_the_layer_along_whose_half_it_is_measured_at() -> None:
    assert complete_layers(["latency", "model"]) == ["model", "exactly-once", "latency"]


def test_every_throughput_layer_has_its_contestants_once() -> None:
    contestants = plan(LAYERS, CLIENTS, slice_records=[64, 2048])
    assert len(set(contestants)) == len(contestants) == 3 + 3 * len(CLIENTS) + 2 * len(CLIENTS)
    assert {contestant.layer for contestant in contestants} == set(THROUGHPUT_LAYERS)
    assert len({contestant.title for contestant in contestants}) == len(contestants)


def test_each_repetition_begins_with_another_contestant() -> None:
    contestants = plan(["model", "exactly-once"], CLIENTS, slice_records=[])
    orders = [rotate(contestants, repetition) for repetition in range(4)]
    assert [order[0] for order in orders] == [*contestants, contestants[0]]
    assert all(set(order) == set(contestants) for order in orders)


def test_what_no_stage_accounts_for_is_said() -> None:
    before = {"records": 100.0, "process": 1.0, "score": 0.5, "poll": 0.1}
    after = {"records": 1100.0, "process": 1.06, "score": 0.52, "poll": 0.11, "deliver": 0.01}
    stages = attribute("librdkafka", before, after)
    assert stages.records == 1000
    assert stages.microseconds == {"score": 20.0, "poll": 10.0, "deliver": 10.0, "other": 20.0}
    assert stages.total == 60.0


def test_threads_that_are_timed_more_finely_than_their_process_leave_nothing_unsaid() -> None:
    before = {"records": 0.0, "process": 1.0, "score": 0.0}
    stages = attribute("librdkafka", before, {"records": 1000.0, "process": 1.0, "score": 0.004})
    assert stages.microseconds == {"score": 4.0, "other": 0.0}
    assert stages.total == 4.0

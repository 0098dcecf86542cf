"""The summary: its keys, which others read, and its figures."""

import math

import msgspec
import pytest
from rich.console import Console

from deploy.local.demo.audit import Audit
from deploy.local.demo.summary import (
    BrokerFacts,
    ExportFacts,
    Summary,
    TrainFacts,
    WorkerFacts,
    build_attention_facts,
    build_stream_facts,
    quantile,
)
from deploy.local.demo.view.report import draw_summary
from worker.messages import Position

pytestmark = pytest.mark.fast


def at(offset: int) -> Position:
    return Position("in", 0, offset)


def summary(**change: object) -> Summary:
    audit = Audit(
        timestamps_ms={at(0): 1_000, at(1): 1_500, at(2): 2_000},
        predictions=2,
        dead_letters=1,
        well_formed=2,
        correct=1,
        planted_lifts=[2.0, 5.0],
    )
    whole = Summary(
        broker=BrokerFacts("Apache Kafka", "4.3.0"),
        train=TrainFacts("tff", 20, 50, 40.0, 0.9),
        export=ExportFacts(4e-8, 161),
        stream=build_stream_facts(audit, {at(0): 1_020.0, at(1): 1_530.0, at(2): 2_500.0}),
        attention=build_attention_facts(audit),
        workers=[WorkerFacts(1.25, 130_000_000)],
    )
    return msgspec.structs.replace(whole, **change)


def test_the_keys_are_the_promised_ones() -> None:
    assert msgspec.to_builtins(summary()) == {
        "broker": {"name": "Apache Kafka", "version": "4.3.0"},
        "train": {"engine": "tff", "rounds": 20, "clients": 50, "seconds": 40.0, "heldout_accuracy": 0.9},
        "export": {"max_abs_diff": 4e-8, "probes": 161},
        "stream": {
            "records_in": 3,
            "predictions": 2,
            "dead_letters": 1,
            "lost": 0,
            "duplicated": 0,
            "records_per_second": 2.0,
            "latency_ms": {"p50": 30.0, "p99": 500.0},
            "accuracy": 0.5,
        },
        "attention": {"planted_lift": 3.5},
        "workers": [{"ready_seconds": 1.25, "rss_bytes": 130_000_000}],
    }


def test_memory_that_was_never_reported_is_not_known() -> None:
    unknown = summary(workers=[WorkerFacts(1.25, None)])
    assert msgspec.to_builtins(unknown)["workers"] == [{"ready_seconds": 1.25, "rss_bytes": None}]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(draw_summary(unknown))
    assert "ready after 1.2 s, -" in capture.get()


def test_a_model_with_other_labels_than_the_records_is_not_judged() -> None:
    stream = build_stream_facts(Audit(well_formed=2, unknown_labels=1), {})
    other = summary(stream=msgspec.structs.replace(summary().stream, accuracy=stream.accuracy))
    assert msgspec.to_builtins(other)["stream"]["accuracy"] is None
    console = Console(width=100)
    with console.capture() as capture:
        console.print(draw_summary(other))
    assert "not judged: the model has other labels than the records" in capture.get()


def test_what_was_skipped_is_null() -> None:
    encoded = msgspec.to_builtins(summary(train=None, export=None, attention=build_attention_facts(Audit())))
    assert (encoded["train"], encoded["export"]) == (None, None)
    assert encoded["attention"] == {"planted_lift": None}


def test_lost_and_duplicated_are_counted() -> None:
    audit = Audit(timestamps_ms={at(0): 0, at(1): 0}, lost=[at(1)], duplicated=[at(0), at(0)])
    facts = build_stream_facts(audit, {at(0): 10.0})
    assert (facts.lost, facts.duplicated) == (1, 2)


def test_without_any_answer_there_are_no_times() -> None:
    facts = build_stream_facts(Audit(timestamps_ms={at(0): 0}, lost=[at(0)]), {})
    assert facts.records_per_second == 0
    assert msgspec.json.decode(msgspec.json.encode(facts))["latency_ms"] == {"p50": None, "p99": None}


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (50, 99, 100)
    assert quantile([7.0], 0.99) == 7
    assert math.isnan(quantile([], 0.5))


def test_the_report_says_the_same() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(draw_summary(summary()))
    text = capture.get()
    for figure in ("3 in, 2 predictions, 1 dead letters", "0 / 0", "p50 30 ms, p99 500 ms", "3.5 times", "124 MiB"):
        assert figure in text


def test_the_report_leaves_out_what_was_skipped() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(draw_summary(summary(train=None, export=None, attention=build_attention_facts(Audit()))))
    assert "rounds" not in capture.get()
    assert "ONNX" not in capture.get()
    assert "chance" not in capture.get()

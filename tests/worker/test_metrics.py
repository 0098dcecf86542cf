import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from worker.errors import RecordError
from worker.metrics import LATENCY_SECONDS, REFUSING_STAGES, STAGES, BulkHistogram, Metrics

pytestmark = pytest.mark.fast

FORBIDDEN_LABELS = {"key", "client", "offset", "partition", "id"}
seconds = st.floats(-1, 1000, allow_nan=False) | st.sampled_from(LATENCY_SECONDS)


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """Value of one line of the exposition."""
    families = text_string_to_metric_families(metrics.render().decode())
    (value,) = [s.value for family in families for s in family.samples if (s.name, s.labels) == (name, labels)]
    return value


def test_a_committed_slice_is_counted_by_result_and_by_refusing_stage() -> None:
    metrics = Metrics()
    metrics.stream.slice_committed(
        predictions=5, dead_letters={"decode": 2, "features": 1}, latencies_seconds=[0.001] * 8
    )
    metrics.stream.slice_committed(predictions=1, dead_letters={}, latencies_seconds=[0.3])

    assert sample(metrics, "limelight_records_total", result="prediction") == 6
    assert sample(metrics, "limelight_records_total", result="dead_letter") == 3
    by_stage = [sample(metrics, "limelight_dead_letters_total", stage=stage) for stage in REFUSING_STAGES]
    assert by_stage == [2, 0, 1, 0, 0, 0]
    assert sample(metrics, "limelight_slices_total", outcome="committed") == 2
    assert sample(metrics, "limelight_slice_records_sum") == 9
    assert sample(metrics, "limelight_event_to_commit_seconds_count") == 9
    assert sample(metrics, "limelight_event_to_commit_seconds_bucket", le="0.002") == 8


def test_an_aborted_slice_counts_no_record() -> None:
    metrics = Metrics()
    metrics.stream.slice_aborted()

    assert sample(metrics, "limelight_slices_total", outcome="aborted") == 1
    assert sample(metrics, "limelight_records_total", result="prediction") == 0


def test_stages_are_timed_apart() -> None:
    metrics = Metrics()
    with metrics.stream.time_stage("score"):
        sum(range(100_000))
    with metrics.stream.time_stage("poll"):
        threading.Event().wait(0.02)

    spent = {stage: sample(metrics, "limelight_stage_cpu_seconds_total", stage=stage) for stage in STAGES}
    assert spent["score"] > 0
    assert spent["poll"] < 0.02, "who waits takes no CPU time"
    assert spent["decode"] == 0
    counts = {stage: sample(metrics, "limelight_stage_seconds_count", stage=stage) for stage in STAGES}
    assert counts == {**dict.fromkeys(STAGES, 0), "score": 1, "poll": 1}


def test_every_refusing_stage_has_a_series_from_the_start() -> None:
    assert set(REFUSING_STAGES) == {kind.stage for kind in RecordError.__subclasses__()}


def test_the_model_can_be_replaced() -> None:
    metrics = Metrics()
    metrics.models.loaded(name="tiny", version="one")
    metrics.models.loaded(name="tiny", version="two")

    lines = [line for line in metrics.render().decode().splitlines() if line.startswith("limelight_model_info")]
    assert lines == ['limelight_model_info{name="tiny",version="two"} 1.0']


def test_the_exposition_parses_and_keeps_the_naming_rules() -> None:
    families = list(text_string_to_metric_families(Metrics().render().decode()))
    samples = [sample for family in families for sample in family.samples]

    assert all(family.name.startswith(("limelight_", "process_")) for family in families)
    assert all(family.documentation for family in families)
    assert [sample for sample in samples if FORBIDDEN_LABELS & sample.labels.keys()] == []
    assert [sample.name for sample in samples if sample.name.endswith("_created")] == []


def test_the_process_is_measured() -> None:
    metrics = Metrics()

    assert sample(metrics, "process_resident_memory_bytes") > 1e6
    assert sample(metrics, "process_cpu_seconds_total") > 0


def test_two_workers_in_one_process_share_nothing() -> None:
    first, second = Metrics(), Metrics()
    first.stream.ready.set(1)

    assert (sample(first, "limelight_ready"), sample(second, "limelight_ready")) == (1, 0)


@given(slices=st.lists(st.lists(seconds, max_size=20), max_size=5))
def test_a_bulk_histogram_equals_the_librarys_own(slices: list[list[float]]) -> None:
    registry, twin_registry = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("x_seconds", "x", buckets=LATENCY_SECONDS, registry=registry)
    twin = Histogram("x_seconds", "x", buckets=LATENCY_SECONDS, registry=twin_registry)
    for values in slices:
        bulk.observe(values)
        for value in values:
            twin.observe(value)

    ours = {(s.name, s.labels.get("le")): s.value for family in registry.collect() for s in family.samples}
    theirs = {(s.name, s.labels.get("le")): s.value for family in twin_registry.collect() for s in family.samples}
    assert ours == {key: pytest.approx(value) for key, value in theirs.items() if key[0] != "x_seconds_created"}


def test_no_observation_is_lost_between_threads() -> None:
    registry = CollectorRegistry()
    histogram = BulkHistogram("x_seconds", "x", buckets=[1, 2], registry=registry)
    threads = [
        threading.Thread(target=lambda: [histogram.observe([0.5, 1.5, 2.5]) for _ in range(500)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert registry.get_sample_value("x_seconds_count") == 6000
    assert registry.get_sample_value("x_seconds_bucket", {"le": "2.0"}) == 4000

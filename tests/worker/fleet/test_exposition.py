"""Pages of several processes as one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker.fleet.exposition import SUMMED, Exposition, parse, render
from worker.metrics import Metrics

pytestmark = pytest.mark.fast


class Process:
    """What a process measures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = Counter("limelight_records", "Records.", ["result"], registry=self.registry)
        self.seconds = Histogram("limelight_seconds", "Time.", buckets=[1, 2], registry=self.registry)
        self.lag = Gauge("limelight_lag_records", "Lag.", registry=self.registry)
        self.ready = Gauge("limelight_ready", "Ready.", registry=self.registry)
        self.model = Info("limelight_model", "Model.", registry=self.registry)

    @property
    def page(self) -> bytes:
        return generate_latest(self.registry)


def samples(page: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read by the library's own parser."""
    families = list(text_string_to_metric_families(page.decode()))
    assert len({family.name for family in families}) == len(families)
    found = [(each.name, frozenset(each.labels.items()), each.value) for family in families for each in family.samples]
    assert len({(name, labels) for name, labels, _ in found}) == len(found)
    return {(name, labels): value for name, labels, value in found}


def value(page: bytes, name: str, /, **labels: str) -> float:
    return samples(page)[name, frozenset(labels.items())]


def test_what_is_counted_is_summed() -> None:
    processes = [Process(), Process()]
    for number, process in enumerate(processes):
        process.records.labels("prediction").inc(3 + number)
        process.seconds.observe(0.5 + number)

    page = Exposition().merge({number: (1, process.page) for number, process in enumerate(processes)})

    assert value(page, "limelight_records_total", result="prediction") == 7
    assert value(page, "limelight_seconds_bucket", le="1.0") == 1
    assert value(page, "limelight_seconds_count") == 2
    assert value(page, "limelight_seconds_sum") == 2


def test_gauges_are_summed_only_where_they_are_parts_of_a_whole() -> None:
    processes = [Process(), Process()]
    for number, process in enumerate(processes):
        process.lag.set(10)
        process.ready.set(number)
        process.model.info({"name": 'a "b', "version": "1"})

    page = Exposition().merge({number: (1, process.page) for number, process in enumerate(processes)})

    assert value(page, "limelight_lag_records") == 20
    assert [value(page, "limelight_ready", process=str(number)) for number in (0, 1)] == [0, 1]
    assert value(page, "limelight_model_info", name='a "b', version="1", process="1") == 1


def test_a_process_that_was_started_again_takes_nothing_away() -> None:
    exposition, stable, first = Exposition(), Process(), Process()
    stable.records.labels("prediction").inc(5)
    first.records.labels("prediction").inc(7)
    first.records.labels("dead_letter").inc(1)
    first.lag.set(4)

    assert value(exposition.merge({0: (1, stable.page), 1: (1, first.page)}), "limelight_lag_records") == 4
    away = exposition.merge({0: (1, stable.page)})
    second = Process()
    second.records.labels("prediction").inc(2)
    back = exposition.merge({0: (1, stable.page), 1: (2, second.page)})

    totals = [value(page, "limelight_records_total", result="prediction") for page in (away, back)]
    assert totals == [12, 14]
    assert value(back, "limelight_records_total", result="dead_letter") == 1
    assert value(away, "limelight_lag_records") == 0
    assert ("limelight_ready", frozenset({("process", "1")})) not in samples(away)


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["count", "restart", "ask", "miss"]), st.integers(1, 9)),
        max_size=40,
    )
)
def test_a_count_never_falls_and_misses_at_most_what_nobody_asked_for(steps: list[tuple[int, str, int]]) -> None:
    exposition = Exposition()
    processes, lives, shown = [Process() for _ in range(3)], [1, 1, 1], 0.0
    counted = 0
    for number, action, amount in steps:
        if action == "count":
            processes[number].records.labels("prediction").inc(amount)
            counted += amount
        elif action == "restart":
            processes[number], lives[number] = Process(), lives[number] + 1
        else:
            answering = [each for each in range(3) if action == "ask" or each != number]
            page = exposition.merge({each: (lives[each], processes[each].page) for each in answering})
            total = samples(page).get(("limelight_records_total", frozenset({("result", "prediction")})), 0)
            assert shown <= total <= counted
            shown = total


def test_reads_and_writes_what_a_worker_says() -> None:
    page = Metrics().render()

    assert samples(render(parse(page))) == samples(page)


def test_the_names_that_are_summed_are_gauges_of_the_worker() -> None:
    families = parse(Metrics().render())

    assert {families[name].kind for name in SUMMED} == {"gauge"}

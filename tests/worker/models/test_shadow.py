import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from worker.answers.answering import Skipped
from worker.errors import DecodeError
from worker.metrics import Metrics
from worker.models.serving import Plan
from worker.models.shadow import (
    RETRY_SECONDS,
    WAITING_SLICES,
    Comparison,
    Shadow,
    Slice,
    compare_answers,
    run_when_idle,
    total_variation,
)
from worker.ports import Record

pytestmark = pytest.mark.fast

PATIENCE_SECONDS = 30
PLAN = Plan(1, Path("first"))
CHILD = """
import os, signal
from worker.errors import BundleError
from worker.models.shadow import Comparison

def build(plan):
    if plan.current.name == "damaged":
        raise BundleError("the bundle is damaged.")
    if plan.current.name == "hanging":
        signal.pause()

    def compare(taken):
        if taken.records[0].value == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return Comparison(len(taken.records), plan.generation, [0.25] * len(taken.records), len(taken.records) - 1)
    return compare
"""


class HeldClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now_ms(self) -> int:
        return 0

    def monotonic_seconds(self) -> float:
        return self.seconds


class Bench:
    def __init__(self, build: Callable[[Plan], Any]) -> None:
        self.clock, self.metrics = HeldClock(), Metrics()
        self.shadow = Shadow(build, clock=self.clock, metrics=self.metrics.shadow)

    def counts(self) -> dict[str, float]:
        families = text_string_to_metric_families(self.metrics.render().decode())
        samples = [s for family in families if family.name.startswith("limelight_shadow") for s in family.samples]
        return {s.labels.get("result", s.name): s.value for s in samples if s.name.endswith(("_total", "_count"))}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    (tmp_path / "shadowing.py").write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    import shadowing  # type: ignore[import-not-found]

    opened = Bench(shadowing.build)
    yield opened
    opened.shadow.close()
    assert multiprocessing.active_children() == []
    monkeypatch.delitem(sys.modules, "shadowing")


def records(*values: bytes) -> list[Record]:
    return [Record("events", 0, offset, 0, None, value, []) for offset, value in enumerate(values)]


def one(value: bytes = b"a") -> Slice:
    return Slice(records(value), [b"{}"])


def test_what_is_compared_is_counted(bench: Bench) -> None:
    bench.shadow.follow(PLAN)
    bench.shadow.compare(Slice(records(b"a", b"b", b"c"), [b"{}"] * 3))

    assert bench.counts() == {
        "scored": 3,
        "dropped": 0,
        "unconfirmed": 2,
        "limelight_shadow_disagreements_total": 1,
        "limelight_shadow_distance_count": 3,
    }


def test_the_stream_never_waits(bench: Bench) -> None:
    """Its thread is not even running: what does not fit is dropped, and counted."""
    bench.shadow.offer(*one())
    bench.shadow.follow(PLAN)
    answer = bench.shadow.beside(lambda asked: [b"{}"] * len(asked))
    for _ in range(WAITING_SLICES + 3):
        assert answer(records(b"a", b"b")) == [b"{}", b"{}"]

    assert bench.counts()["dropped"] == 6


def test_without_a_shadow_nothing_is_kept(bench: Bench) -> None:
    for _ in range(2 * WAITING_SLICES):
        bench.shadow.offer(*one())

    assert bench.counts()["dropped"] == 0


@pytest.mark.parametrize(
    ("plan", "value", "reason"),
    [
        (PLAN, b"kill", "it died of SIGKILL"),
        (Plan(2, Path("damaged")), b"a", "the bundle is damaged."),
    ],
)
def test_a_shadow_that_fails_is_told_once_and_tried_again_later(
    bench: Bench, plan: Plan, value: bytes, reason: str
) -> None:
    bench.shadow.follow(plan)
    with capture_logs() as logs:
        for _ in range(3):
            bench.shadow.compare(one(value))
            bench.clock.seconds += RETRY_SECONDS
        bench.clock.seconds -= RETRY_SECONDS
        bench.shadow.compare(one())
    assert [line["reason"] for line in logs] == [reason]
    assert bench.shadow.problem == f"no shadow: {reason}"
    assert bench.counts()["dropped"] == 4, "the last one was not even tried"

    bench.shadow.follow(Plan(3, Path("sound")))
    bench.shadow.compare(one())
    assert (bench.shadow.problem, bench.counts()["scored"]) == ("", 1)


def test_another_plan_gets_another_child(bench: Bench) -> None:
    for generation in (5, 7):
        bench.shadow.follow(Plan(generation, Path("sound")))
        bench.shadow.compare(one())
    assert bench.counts()["limelight_shadow_disagreements_total"] == 5 + 7

    bench.shadow.follow(None)
    bench.shadow.compare(one())
    assert multiprocessing.active_children() == []
    assert bench.counts()["scored"] == 2


def test_its_thread_compares_what_is_offered(bench: Bench) -> None:
    bench.shadow.follow(PLAN)
    compared = threading.Event()
    count = bench.metrics.shadow.compared
    bench.metrics.shadow.compared = lambda **figures: (count(**figures), compared.set())  # type: ignore[method-assign]
    bench.shadow.start()

    bench.shadow.offer(*one())

    assert compared.wait(PATIENCE_SECONDS)


def test_closing_does_not_wait_for_a_shadow_that_hangs(bench: Bench) -> None:
    bench.shadow.follow(Plan(1, Path("hanging")))
    bench.shadow.start()
    bench.shadow.offer(*one())
    started = threading.Event()
    while not multiprocessing.active_children():
        assert not started.wait(0.01)

    bench.shadow.close()

    assert bench.shadow._thread is not None
    assert not bench.shadow._thread.is_alive()


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_shadow_gets_what_others_leave_over(is_allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    niced: list[int] = []
    monkeypatch.setattr(os, "nice", niced.append)
    if not is_allowed:
        monkeypatch.setattr(os, "sched_setscheduler", lambda *_: forbid())
    found: list[int] = []

    def look() -> None:
        run_when_idle()
        found.append(os.sched_getscheduler(0))

    # The priority of a thread ends with it.
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert (found, niced) == (([os.SCHED_IDLE], []) if is_allowed else ([os.sched_getscheduler(0)], [19]))


def forbid() -> None:
    raise PermissionError


def prediction(label: str, **probabilities: float) -> bytes:
    output = {"task": "classify", "label": label, "score": 1.0, "probabilities": probabilities}
    return msgspec.json.encode({"output": output, "more": 1})


def test_only_predictions_of_both_are_compared() -> None:
    given = [
        prediction("a", a=0.75, b=0.25),
        prediction("a", a=0.75, b=0.25),
        DecodeError("no"),
        b"{}",
        Skipped.TOMBSTONE,
    ]
    shadowed = [
        prediction("b", a=0.25, b=0.75),
        prediction("a", a=0.75, b=0.125, c=0.125),
        DecodeError("no"),
        DecodeError("no"),
        Skipped.TOMBSTONE,
    ]

    assert compare_answers(given, shadowed) == Comparison(2, 1, [0.5, 0.125])


weights = st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 1), min_size=1)


@given(st.tuples(weights, weights, weights))
def test_the_distance_is_a_metric_between_0_and_1(drawn: tuple[dict[str, float], ...]) -> None:
    p, q, r = ({label: w / sum(each.values()) for label, w in each.items()} for each in drawn)

    assert total_variation(p, p) == 0
    assert 0 <= total_variation(p, q) <= 1 + 1e-9
    assert total_variation(p, q) == pytest.approx(total_variation(q, p))
    assert total_variation(p, r) <= total_variation(p, q) + total_variation(q, r) + 1e-9

"""The circuit breaker opens on a guilty model and closes when it answers again."""

import threading

import pytest

from worker.errors import BundleError, ScoringError
from worker.stream.breaker import CircuitBreaker

pytestmark = pytest.mark.fast


class Model:
    fails: Exception | None = None

    def prove(self) -> None:
        if self.fails:
            raise self.fails


@pytest.mark.parametrize("failure", [ScoringError("it raised"), BundleError("it answers differently")])
def test_it_stays_open_as_long_as_the_model_fails(failure: Exception) -> None:
    model, changes = Model(), []
    breaker = CircuitBreaker(model.prove, changed=changes.append, probe_seconds=0)
    assert not breaker.is_open
    model.fails = failure

    breaker.trip(ScoringError("batch"))
    breaker.probe(threading.Event())
    assert breaker.is_open

    model.fails = None
    breaker.probe(threading.Event())
    assert not breaker.is_open
    assert changes == [True, False]


def test_who_ends_does_not_wait_for_the_probe() -> None:
    breaker = CircuitBreaker(Model().prove, changed=lambda _: None, probe_seconds=60)
    breaker.trip(ScoringError("batch"))
    ended = threading.Event()
    ended.set()

    breaker.probe(ended)

    assert breaker.is_open

"""Whatever a delivery's steps take, and wherever it fails: all of them together end by its deadline.

The clients' calls are replaced by some that take their time on a clock of the test's own; the sinks are real.
"""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError as LibrdkafkaError
from confluent_kafka import KafkaException
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import CommitFailedError, KafkaTimeoutError, UnsupportedVersionError

from worker.errors import BrokerUnreachableError, DeliveryError, OutputRefusedError, TransportError
from worker.ports import Committed
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import producers as kafka_producers
from worker.transport.kafka_python import transactions as kafka_transactions
from worker.transport.librdkafka import producers as librdkafka_producers
from worker.transport.librdkafka import transactions as librdkafka_transactions
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.transactional import TransactionalSink

pytestmark = pytest.mark.fast

DEADLINE_SECONDS = 8.0
STEPS = ["connect", "initialise", "begin", "send_all", "send_offsets", "commit", "abort", "end_producer"]


class Brokers:
    """Each step takes as long as it is told, or fails, or waits until its time is over."""

    def __init__(self, seconds: dict[str, float], failing: set[str], error: Callable[[str], Exception]) -> None:
        self.now = 1000.0
        self.seconds, self.failing, self.error = seconds, failing, error
        self.steps: list[str] = []
        self.is_watched = False
        self.recovers = False
        """Whether a step that fails does so once."""

    def take(self, step: str, deadline: Deadline | None) -> None:
        if not self.is_watched:
            return
        self.steps.append(step)
        # What has no deadline of its own, such as `begin`, takes no time with the real clients.
        left = 0.0 if deadline is None else deadline.remaining_seconds()
        wanted = 0.0 if step == "begin" else self.seconds.get(step, 0.0)
        self.now += min(wanted, left)
        if wanted > left or step in self.failing:
            if self.recovers:
                self.failing.discard(step)
            raise self.error(step)

    def connect(self, *_: Any, deadline: Deadline | None = None, **__: Any) -> Any:
        try:
            self.take("connect", deadline)
        except Exception as error:
            raise BrokerUnreachableError("no broker") from error
        return FakeProducer()

    def end(self, _: Any, *, timeout_seconds: float) -> None:
        if self.is_watched:
            self.steps.append("end_producer")
            self.now += min(self.seconds.get("end_producer", 0.0), timeout_seconds)

    def group(self, *, anew: bool) -> str:
        if self.is_watched:
            self.steps.append("group anew" if anew else "group")
        return "membership"


class FakeProducer:
    def purge(self) -> None:
        pass


def librdkafka_error(step: str) -> Exception:
    return KafkaException(
        LibrdkafkaError(LibrdkafkaError._TIMED_OUT, step, False, False, step in ("send_all", "commit"))
    )


def open_sink(transport: str, brokers: Brokers, patch: pytest.MonkeyPatch) -> Any:
    patch.setattr("worker.transport.deadline.time.monotonic", lambda: brokers.now)
    module: Any = {"kafka-python": kafka_transactions, "librdkafka": librdkafka_transactions}[transport]
    for step in ("initialise", "begin", "send_all", "send_offsets", "commit", "abort"):
        patch.setattr(module, step, lambda *given, step=step: brokers.take(step, _deadline_of(given)))
    options: dict[str, Any] = {
        "transactional_id": "id",
        "group_id": "group",
        "transaction_timeout_seconds": 10,
        "deadline_seconds": DEADLINE_SECONDS,
    }
    producers: Any
    if transport == "librdkafka":
        patch.setattr(librdkafka_producers, "connect", brokers.connect)
        producers = librdkafka_producers.LibrdkafkaTransactionalProducers(ClientProperties({}, {}), **options)
    else:
        patch.setattr(kafka_transactions, "end_producer", brokers.end)
        patch.setattr(kafka_transactions, "tolerate_refused_coordinator", lambda _: None)
        patch.setattr(kafka_producers, "connect", brokers.connect)
        producers = kafka_producers.KafkaTransactionalProducers({}, **options)
    return TransactionalSink(producers, transactional_id="id", group=brokers.group, deadline_seconds=DEADLINE_SECONDS)


def _deadline_of(given: tuple[Any, ...]) -> Deadline | None:
    return next((each for each in given if isinstance(each, Deadline)), None)


ERRORS: dict[str, Callable[[str], Exception]] = {"kafka-python": KafkaTimeoutError, "librdkafka": librdkafka_error}
durations = st.dictionaries(st.sampled_from(STEPS), st.floats(0, 20))
failures = st.sets(st.sampled_from([step for step in STEPS if step != "end_producer"]))


@pytest.mark.parametrize("transport", ERRORS)
@given(durations, failures)
def test_no_delivery_outlives_its_deadline(transport: str, seconds: dict[str, float], failing: set[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        brokers = Brokers(seconds, failing, ERRORS[transport])
        sink = open_sink(transport, brokers, patch)
        brokers.is_watched, began = True, brokers.now

        outcome = attempt(lambda: sink.deliver([], {}))

        assert brokers.now - began <= DEADLINE_SECONDS + 1e-6
        assert brokers.steps[:1] == ["begin"]
        going_well = ["begin", "send_all", "group", "send_offsets", "commit"]
        assert (brokers.steps == going_well) == (outcome is None)

        # Once the brokers behave again, what was left open is settled, and the next delivery needs nothing else.
        brokers.seconds, brokers.failing = {}, set()
        sink.settle()
        brokers.steps.clear()
        assert attempt(lambda: sink.deliver([], {})) is None
        assert brokers.steps == going_well


@pytest.mark.parametrize("transport", ERRORS)
def test_what_is_refused_is_aborted_as_well(transport: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        brokers = Brokers({}, {"send_all"}, lambda _: OutputRefusedError("no", outputs={0: "no"}, is_too_large=False))
        sink = open_sink(transport, brokers, patch)
        brokers.is_watched = True

        assert isinstance(attempt(lambda: sink.deliver([], {})), OutputRefusedError)

        assert [s for s in brokers.steps if s != "end_producer"] == [
            "begin",
            "send_all",
            "abort",
            "connect",
            "initialise",
        ]


OUTDATED: dict[str, Exception] = {
    "kafka-python": CommitFailedError("consumer group metadata mismatch"),
    "librdkafka": KafkaException(LibrdkafkaError(LibrdkafkaError.ILLEGAL_GENERATION, "", False, False, True)),
}


@pytest.mark.parametrize("transport", ERRORS)
@pytest.mark.parametrize("helps", [True, False])
def test_an_outdated_membership_is_looked_up_anew_once(transport: str, helps: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        brokers = Brokers({}, set(), lambda _: OUTDATED[transport])
        sink = open_sink(transport, brokers, patch)
        brokers.is_watched, brokers.failing = True, {"send_offsets"}
        brokers.recovers = helps

        outcome = attempt(lambda: sink.deliver([], {}))

        # The producer stays: all sends were confirmed, and the abort went well.
        first = ["begin", "send_all", "group", "send_offsets", "abort"]
        second = ["begin", "send_all", "group anew", "send_offsets"]
        assert brokers.steps[: len(first + second)] == first + second
        assert (outcome is None) == helps
        assert brokers.steps[len(first + second) :] == (["commit"] if helps else [*RENEWAL[transport]])


UNSUPPORTED: dict[str, Exception] = {
    "kafka-python": UnsupportedVersionError("no"),
    "librdkafka": KafkaException(LibrdkafkaError(LibrdkafkaError.UNSUPPORTED_VERSION, "no", True)),
}


@pytest.mark.parametrize("transport", ERRORS)
@pytest.mark.parametrize("step", ["begin", "send_all", "send_offsets", "commit", "initialise"])
def test_what_the_brokers_will_never_take_is_not_tried_again(transport: str, step: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        brokers = Brokers({}, set(), lambda _: UNSUPPORTED[transport])
        sink = open_sink(transport, brokers, patch)
        brokers.is_watched, brokers.failing = True, {step}
        if step == "initialise":
            sink.close()

        with pytest.raises(TransportError, match=r"^the brokers do not take what the client sends: .*no") as caught:
            sink.deliver([], {})

        assert not caught.value.retriable


RENEWAL = {
    "kafka-python": ["abort", "end_producer", "connect", "initialise"],
    "librdkafka": ["abort", "connect", "initialise"],
}


def attempt(deliver: Callable[[], None]) -> DeliveryError | None:
    try:
        deliver()
    except DeliveryError as error:
        return error
    return None


def test_whatever_the_binding_raises_is_raised_where_it_is_waited_for() -> None:
    class BrokenProducer:
        def send_offsets_to_transaction(self, *_: object) -> None:
            raise SystemError("the binding broke")

    with pytest.raises(SystemError, match="the binding broke"):
        librdkafka_transactions.send_offsets(BrokenProducer(), {("t", 0): Committed(1, "")}, None, Deadline(5))

"""The broker in memory keeps what Kafka keeps of a transaction that failed: nothing that a reader sees too early."""

import pytest

from worker.errors import BrokerUnreachableError, DeliveryError
from worker.ports import Output
from worker.stream.ownership import Ownership
from worker.transport.memory import MemoryBroker, MemorySink, MemorySource

pytestmark = pytest.mark.fast

HOME = ("events", 0)
OUTPUTS = [Output("predictions", 0, None, b"answer", [], 0)] * 2


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker({"events": 1, "predictions": 1})
    for _ in range(2):
        broker.append(*HOME, b"event")
    return broker


@pytest.mark.parametrize(
    ("step", "is_pending", "visible"),
    [("send", False, 0), ("offsets", False, 0), ("commit", True, 0), ("late", True, 2)],
)
def test_nothing_is_visible_before_the_end_and_nothing_of_an_abort_after_it(
    broker: MemoryBroker, step: str, is_pending: bool, visible: int
) -> None:
    source, sink = MemorySource(broker, "events", Ownership()), MemorySink(broker)
    broker.failures.append(step)

    with pytest.raises(DeliveryError, match=step):
        sink.deliver(OUTPUTS, {HOME: 2})
    assert (broker.logs["predictions", 0], broker.committed) == ([], {})
    newcomer = MemorySource(broker, "events", Ownership())
    assert (newcomer.assignment(), newcomer.positions()) == ({HOME}, {} if is_pending else {HOME: 0})
    for ask in (source.rewind, lambda: source.committed([HOME])):
        if is_pending:
            with pytest.raises(BrokerUnreachableError):
                ask()
        else:
            ask()

    # As a successor of the same name does when it starts.
    MemorySink(broker)
    assert len(broker.logs["predictions", 0]) == broker.committed.get(HOME, 0) == visible
    source.rewind()
    assert len(newcomer.poll(max_records=9, timeout_seconds=0)) == 2 - visible


def test_a_successor_of_another_name_leaves_it_open(broker: MemoryBroker) -> None:
    sink = MemorySink(broker)
    broker.failures.append("late")
    with pytest.raises(DeliveryError):
        sink.deliver(OUTPUTS, {HOME: 2})

    MemorySink(broker, transactional_id="other")

    assert broker.committed == {}
    sink.settle()
    assert broker.committed == {HOME: 2}

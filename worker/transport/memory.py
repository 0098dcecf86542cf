"""A broker in memory, for the fast tests: partitions are lists.

Its logs are what a ``read_committed`` reader sees: of a transaction nothing before it is committed. It fails, and lets
things happen, where it is told to.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, suppress

from worker.errors import BrokerUnreachableError, DeliveryError, TopicMissingError
from worker.messages import Headers
from worker.ports import Claim, Committed, Offsets, Output, Partition, Record
from worker.stream.outputs import encoded_bytes
from worker.stream.ownership import Ownership
from worker.transport.deferred import DeferredOffsets
from worker.transport.memory_transaction import MemoryTransaction
from worker.transport.terms import refused_error

DEFAULT_RECORD_LIMIT_BYTES = 1_048_588


class MemoryBroker:
    """Topics, committed offsets and the faults to inject."""

    def __init__(self, topics: dict[str, int]) -> None:
        """
        Args:
            topics: topic -> number of partitions.
        """
        self.topics = topics
        self.logs: dict[Partition, list[Record]] = defaultdict(list)
        self.committed: dict[Partition, int] = {}
        self.metadata: dict[Partition, str] = {}
        """Of the committed offsets, where it is not empty."""
        self.refusals = 0
        """How many of the next commits of a source are refused."""
        self.limits: dict[str, int] = {}
        """Topic -> most bytes of a record, where it is not the usual."""
        self.compacted: set[str] = set()
        """Topics that take no record without a key."""
        self.names_refused = True
        """Whether it names the outputs that it refuses, or only their batch."""
        self.failures: list[str] = []
        """Steps at which the next deliveries fail, first come first. ``send`` has written half of the outputs,
        ``offsets`` all of them, and for ``commit`` the offsets are pending: all three abort. ``late`` commits, but not
        before somebody settles it; ``answer`` commits and loses the broker's answer; ``""`` succeeds."""
        self.meanwhile: dict[str, Callable[[], None]] = {}
        """What happens, once, when a delivery has ``written`` its outputs, or its offsets are ``pending``."""
        self.transactions: dict[str, MemoryTransaction] = {}
        """Those that are open, by transactional id."""

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers | None = None,
        timestamp_ms: int = 0,
    ) -> Record:
        """Adds a record to a partition's log and returns it."""
        log = self.logs[topic, partition]
        record = Record(topic, partition, len(log), timestamp_ms, key, value, headers or [])
        log.append(record)
        return record

    def write(self, outputs: Sequence[Output]) -> None:
        """Adds them to the logs that they name."""
        for topic, partition, key, value, headers, timestamp_ms in outputs:
            self.append(topic, partition, value, key=key, headers=headers, timestamp_ms=timestamp_ms)

    def begin(self, transactional_id: str) -> MemoryTransaction:
        """Opens a transaction."""
        transaction = self.transactions[transactional_id] = MemoryTransaction(self._apply)
        return transaction

    def settle(self, transactional_id: str) -> None:
        """Ends what is open under that name, as every new producer does first."""
        if transaction := self.transactions.pop(transactional_id, None):
            transaction.end()

    def is_stable(self, partitions: Collection[Partition]) -> bool:
        """False while an open transaction may change what is committed for one of them."""
        return not any(transaction.pending.keys() & set(partitions) for transaction in self.transactions.values())

    def reach(self, point: str) -> None:
        """A delivery has come so far: lets happen what happens meanwhile."""
        self.meanwhile.pop(point, lambda: None)()

    def _apply(self, outputs: Sequence[Output], offsets: Offsets) -> None:
        self.write(outputs)
        self.committed.update(offsets)
        self.metadata.update(dict.fromkeys(offsets, ""))


class MemorySource:
    """Reads all partitions of one topic, as the only member of its group."""

    def __init__(self, broker: MemoryBroker, topic: str, ownership: Ownership) -> None:
        self._broker = broker
        self._ownership = ownership
        self._paused = False
        partitions = [(topic, number) for number in range(broker.topics[topic])]
        self._positions: dict[Partition, int] = {}
        self._unplaced: set[Partition] = set()
        """Assigned, but where they begin is not known before an open transaction ends."""
        self._deferred = DeferredOffsets(self.commit)
        self.commit_soon = self._deferred.add
        self.assign(partitions)

    def assign(self, partitions: Sequence[Partition]) -> None:
        """Rebalances: what is new begins at its committed offset, what is not named is withdrawn."""
        before = self.assignment()
        withdrawn = before - set(partitions)
        self._ownership.withdraw(withdrawn)
        self._part_from(withdrawn)
        self._positions = {each: self._positions[each] for each in partitions if each in self._positions}
        self._unplaced = set(partitions) - self._positions.keys()
        self._place()
        self._ownership.grant([partition for partition in partitions if partition not in before])

    def _place(self) -> None:
        for partition in [each for each in self._unplaced if self._broker.is_stable([each])]:
            self._unplaced.remove(partition)
            self._positions[partition] = self._broker.committed.get(partition, 0)

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:  # noqa: ARG002 - never waits
        """Implements `worker.ports.Source`."""
        self._deferred.try_to_flush()
        self._place()
        records: list[Record] = []
        if self._paused:
            return records
        for partition, position in self._positions.items():
            found = self._broker.logs[partition][position : position + max_records - len(records)]
            self._positions[partition] += len(found)
            records += found
        return records

    def assignment(self) -> frozenset[Partition]:
        """Implements `worker.ports.Source`."""
        return frozenset(self._positions.keys() | self._unplaced)

    def positions(self) -> Offsets:
        """Implements `worker.ports.Source`."""
        return dict(self._positions)

    def pause(self) -> None:
        """Implements `worker.ports.Source`."""
        self._paused = True

    def resume(self) -> None:
        """Implements `worker.ports.Source`."""
        self._paused = False

    def rewind(self) -> None:
        """Implements `worker.ports.Source`."""
        self._require_stable(self.assignment())
        waiting = self._deferred.waiting(self._positions)
        for partition in self._positions:
            known = waiting[partition].offset if partition in waiting else self._broker.committed.get(partition, 0)
            self._positions[partition] = known

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """Implements `worker.ports.Source`."""
        self._deferred.flush()
        self._require_stable(partitions)
        found, metadata = self._broker.committed, self._broker.metadata
        return {each: Committed(found[each], metadata.get(each, "")) for each in partitions if each in found}

    def _require_stable(self, partitions: Collection[Partition]) -> None:
        if not self._broker.is_stable(partitions):
            raise BrokerUnreachableError("an open transaction may change the committed offsets")

    def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """Implements `worker.ports.Source`."""
        if self._broker.refusals:
            self._broker.refusals -= 1
            raise DeliveryError("the broker refused the offsets")
        self._broker.committed |= {partition: committed.offset for partition, committed in offsets.items()}
        self._broker.metadata |= {partition: committed.metadata for partition, committed in offsets.items()}

    def commit_at_departure(self, give: Callable[[Collection[Partition]], Mapping[Partition, Committed]]) -> None:
        """Implements `worker.ports.Source`."""
        self._deferred.give = give

    def _part_from(self, partitions: Collection[Partition]) -> None:
        if last := self._deferred.departing(partitions):
            with suppress(DeliveryError):
                self.commit(last)
        self._deferred.drop(partitions)

    def lag(self, committed: Offsets) -> int:
        """Implements `worker.ports.Source`."""
        return sum(len(self._broker.logs[p]) - committed.get(p, self._positions[p]) for p in self._positions)

    def close(self) -> None:
        """Implements `worker.ports.Source`."""
        self._part_from(self._positions)


class MemorySink:
    """Delivers in transactions, or fails on purpose and leaves one open."""

    def __init__(self, broker: MemoryBroker, *, transactional_id: str = "only") -> None:
        self._broker = broker
        self._transactional_id = transactional_id
        broker.settle(transactional_id)

    def partitions(self, topic: str) -> int:
        """Implements `worker.ports.Sink`."""
        try:
            return self._broker.topics[topic]
        except KeyError:
            raise TopicMissingError(f"topic {topic!r} does not exist. Create it, or name another.") from None

    def record_limits(self, topics: Collection[str]) -> dict[str, int]:
        """Implements `worker.ports.Sink`."""
        return {topic: self._broker.limits.get(topic, DEFAULT_RECORD_LIMIT_BYTES) for topic in topics}

    def deliver(self, outputs: Sequence[Output], offsets: Offsets, *, claim: Claim = nullcontext) -> None:
        """Implements `worker.ports.Sink`."""
        failure = self._broker.failures.pop(0) if self._broker.failures else ""

        def fail_at(step: str) -> None:
            if failure == step:
                raise DeliveryError(f"the broker failed at {step}")

        self._broker.settle(self._transactional_id)
        transaction = self._broker.begin(self._transactional_id)
        self._check(outputs)
        transaction.write(outputs[: len(outputs) // 2])
        fail_at("send")
        transaction.write(outputs[len(outputs) // 2 :])
        self._broker.reach("written")
        with claim():
            fail_at("offsets")
            transaction.add_offsets(offsets)
        self._broker.reach("pending")
        fail_at("commit")
        transaction.is_decided = True
        fail_at("late")
        self._broker.settle(self._transactional_id)
        fail_at("answer")

    def _check(self, outputs: Sequence[Output]) -> None:
        refused, large = {}, {}
        for number, output in enumerate(outputs):
            if output.topic in self._broker.compacted and output.key is None:
                refused[number] = "it has no key"
            elif encoded_bytes(output) > self.record_limits([output.topic])[output.topic]:
                large[number] = "it has too many bytes"
        refused |= large
        named = refused if self._broker.names_refused else []
        error = refused_error(outputs, refused, named=named, is_too_large=bool(large))
        if error is not None:
            raise error

    def settle(self) -> None:
        """Implements `worker.ports.Sink`."""
        self._broker.settle(self._transactional_id)

    def close(self) -> None:
        """Implements `worker.ports.Sink`."""


class MemoryAtLeastOnceSink(MemorySink):
    """Writes first and has the offsets committed later. A send that fails has written the first half."""

    def __init__(self, broker: MemoryBroker, *, commit_soon: Callable[[Offsets], None]) -> None:
        super().__init__(broker)
        self._commit_soon = commit_soon

    def deliver(self, outputs: Sequence[Output], offsets: Offsets, *, claim: Claim = nullcontext) -> None:
        """Implements `worker.ports.Sink`."""
        if self._broker.failures and (failure := self._broker.failures.pop(0)):
            self._broker.write(outputs[: len(outputs) // 2])
            raise DeliveryError(f"the broker failed at {failure}")
        self._check(outputs)
        self._broker.write(outputs)
        with claim():
            self._commit_soon(offsets)

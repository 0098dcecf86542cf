"""``python -m worker dlq replay``: dead letters on their way back to the input topic."""

import argparse
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from types import FrameType

from worker.clock import SystemClock
from worker.dead_letters.errors import ReplayError
from worker.dead_letters.letter import Letter, Selection
from worker.dead_letters.originals import Originals
from worker.dead_letters.progress import Outcome, Plan, ProgressStore
from worker.dead_letters.replay import Replay, Result, Target
from worker.settings import Settings
from worker.topics.facts import Absence, TopicFacts
from worker.transport.kafka_python.admin import KafkaAdmin
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader
from worker.transport.kafka_python.replay import ReplayOnlooker, ReplaySink

MAX_TOLD = 20
"""Letters that stay, each told on a line of its own; more would hide the summary."""
REASONS = {
    Outcome.EXHAUSTED: "replayed too often",
    Outcome.TOO_LARGE: "too large with the count of its replays",
    Outcome.GONE: "its record, to which it is a pointer, is gone",
    Outcome.HOMELESS: "from a topic that these settings do not read: name one with --to-topic",
    Outcome.FOREIGN: "not written by a worker",
}


def replay_letters(
    settings: Settings, reader: KafkaReader, selection: Selection, arguments: argparse.Namespace
) -> None:
    """Replays, or counts what would be replayed, and prints a summary.

    Raises:
        KeyboardInterrupt: it was asked to stop, and did so between two transactions.
        LimelightError: it cannot begin, or go on.
    """
    # With one input topic there is no question; the name is what replays began with before there were several.
    home = None if settings.routes else settings.input_topic
    asked, _ = arguments.begin
    plan = Plan(arguments.to_topic or home, arguments.max_replays, selection, asked)
    if plan.to_topic == settings.dead_letter_topic:
        raise ReplayError(f"--to-topic {plan.to_topic} is the dead-letter topic itself. Give the topic to score from.")
    targets = _find_targets(settings, [plan.to_topic] if plan.to_topic else settings.input_topics())
    told: Counter[Outcome] = Counter()

    def tell(letter: Letter, outcome: Outcome) -> None:
        told[outcome] += 1
        if told.total() <= MAX_TOLD:
            print(f"{letter.record.position} stays: {REASONS[outcome]}", file=sys.stderr)

    with ExitStack() as opened:
        store = _open_store(settings, arguments, opened)
        originals = Originals(lambda topic: KafkaReader(client_properties(settings), topic=topic, begin="beginning"))
        opened.callback(originals.close)
        stop = opened.enter_context(_stop_signals())
        result = Replay(
            reader,
            originals,
            store,
            plan,
            targets,
            slice_records=settings.slice_records,
            slice_bytes=settings.slice_bytes,
            clock=SystemClock(),
            left=tell,
            stopped=stop.is_set,
        ).run()
        print(_summarise(result, plan, arguments, stopped=stop.is_set()))
        if stop.is_set():
            raise KeyboardInterrupt


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: a transaction that is left open would hold up who reads the input.

    A second signal ends the process at once.
    """
    stop = threading.Event()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def ask_to_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's shape
        stop.set()
        restore()

    for number in previous:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        restore()


def _find_targets(settings: Settings, topics: Sequence[str]) -> dict[str, Target]:
    with closing(KafkaAdmin(client_properties(settings))) as admin:
        found = admin.describe_topics(topics)
    return {topic: _describe_target(topic, facts) for topic, facts in found.items()}


def _describe_target(topic: str, facts: TopicFacts | Absence) -> Target:
    if not isinstance(facts, TopicFacts):
        raise ReplayError(f"topic {topic!r} does not exist, or this user may not see it. Name another with --to-topic.")
    limit = facts.configs and facts.configs["max.message.bytes"]
    return Target(facts.partitions, int(limit) if limit else None)


def _open_store(settings: Settings, arguments: argparse.Namespace, opened: ExitStack) -> ProgressStore:
    client, topic = client_properties(settings), settings.dead_letter_topic
    group_id = f"{settings.group_id}.replay.{arguments.id}"
    if arguments.dry_run:
        return ReplayOnlooker(client, group_id=group_id, topic=topic)
    sink = ReplaySink(
        client,
        group_id=group_id,
        topic=topic,
        transaction_timeout_seconds=settings.transaction_timeout_seconds,
        deadline_seconds=settings.delivery_deadline_seconds,
    )
    return opened.enter_context(closing(sink))


def _summarise(result: Result, plan: Plan, arguments: argparse.Namespace, *, stopped: bool) -> str:
    now, total = result.now[Outcome.REPLAYED], result.total
    parts = [f"{now} would be sent" if arguments.dry_run else f"{now} sent"]
    if earlier := total[Outcome.REPLAYED] - now:
        parts.append(f"{earlier} sent earlier")
    if others := total[Outcome.FILTERED]:
        parts.append(f"{others} not meant")
    parts += [f"{count} stay: {reason}" for outcome, reason in REASONS.items() if (count := total[outcome])]
    if result.removed:
        parts.append(f"{result.removed} offsets were removed by retention before they were read")
    if stopped:
        parts.append("stopped before the end: the same command goes on from here")
    return f"replay {arguments.id} to {plan.to_topic or 'where they came from'}: {', '.join(parts)}"

"""Records that hurt: the model cannot score them, dies of them, or takes its time."""

import signal
from collections.abc import Sequence

from harness.arena import PROGRESS_SECONDS, Arena, Strike
from harness.ledger import Kind
from harness.model import DEADLY, POISON, SLOW, VOCABULARY
from harness.strikes import until_landed
from harness.subject import SABOTAGE

MOST_DEATHS = 6
"""Two at one offset are enough to suspect a record; some more may be needed to corner it."""
SLOW_SECONDS = 8.0
"""A batch takes longer than a session without a heartbeat, and than a member without a poll, may last."""


def sabotage_variables() -> dict[str, str]:
    """Variables of a worker whose model suffers from the planted tokens."""
    return {
        "PYTHONPATH": str(SABOTAGE),
        "SABOTAGE_DEADLY_TOKEN": str(VOCABULARY.index(DEADLY)),
        "SABOTAGE_SLOW_TOKEN": str(VOCABULARY.index(SLOW)),
        "SABOTAGE_SLOW_SECONDS": str(SLOW_SECONDS),
    }


def poison(arena: Arena) -> list[float]:
    """Sends records on which the model's answer is not a number to every partition. Returns the waits."""

    def strike_once(_: int) -> Strike:
        struck, poisoned = _inject(arena, f"the box {POISON}", range(arena.partitions), expected="dead letter")
        arena.expect(lambda: _are_refused(arena, poisoned), "the poison is dead-lettered", PROGRESS_SECONDS)
        arena.await_progress()
        return struck

    arena.await_progress()
    return [arena.longest_wait(since=struck.moment_seconds) for struck in until_landed(arena, 2, strike_once)]


def kill_by_record(arena: Arena, name: str) -> tuple[int, float]:
    """Sends a record of which the process dies, and starts the worker again whenever it has died.

    Returns:
        How often it died, and the longest wait in seconds.
    """
    deaths = 0

    def supervise() -> bool:
        nonlocal deaths
        worker = arena.workers[name]
        if worker.status is not None:
            assert worker.status == -signal.SIGKILL, worker.log()
            deaths += 1
            assert deaths <= MOST_DEATHS, f"the record was not found out after {deaths} deaths\n{worker.log()}"
            arena.start_worker(name, **sabotage_variables())
        return _are_refused(arena, killers)

    arena.await_progress()
    struck, killers = _inject(arena, f"the box {DEADLY}", [0], expected="dead letter")
    arena.expect(supervise, "the killing record is dead-lettered", 3 * PROGRESS_SECONDS)
    arena.await_progress()
    return deaths, arena.longest_wait(since=struck.moment_seconds)


def slow_model(arena: Arena) -> float:
    """Sends a record with which the model takes longer than a session may last. Returns the longest wait."""

    def strike_once(_: int) -> Strike:
        members = arena.facts.member_ids(arena.group)
        struck, [slow] = _inject(arena, f"the box {SLOW}", [0], expected="prediction")
        # The wave before it is answered in no time: only its own answer tells that the slow batch is over.
        arena.expect(lambda: arena.ledger.answer_to(slow) is not None, "the slow record is answered", PROGRESS_SECONDS)
        arena.await_progress()
        assert arena.facts.member_ids(arena.group) == members, "the group should not have noticed"
        return struck

    arena.await_progress()
    [struck] = until_landed(arena, 1, strike_once)
    return arena.longest_wait(since=struck.moment_seconds)


def _inject(arena: Arena, text: str, partitions: Sequence[int], *, expected: Kind) -> tuple[Strike, list[str]]:
    """Sends the record among others. Result: the strike, and the ids of the records."""
    identities: list[str] = []
    struck = arena.strike(
        lambda: identities.extend(arena.feeder.inject(p, text=text, expected=expected) for p in partitions)
    )
    return struck, identities


def _are_refused(arena: Arena, identities: Sequence[str]) -> bool:
    found = [arena.ledger.answer_to(identity) for identity in identities]
    return all(answer is not None and answer.kind == "dead letter" for answer in found)

"""Records that hurt: the model cannot score them, dies of them, or takes its time."""

import signal
import time
from collections.abc import Sequence
from typing import NamedTuple

from harness.arena import PROGRESS_SECONDS, Arena, Strike, wall_clock_ms
from harness.ledger import Kind
from harness.model import DEADLY, POISON, SLOW, VOCABULARY
from harness.strikes import until_landed
from harness.subject import SABOTAGE

from worker.messages import DeadLetter

MOST_DEATHS = 8
"""In all: who dies may have got further than the one before, and deaths at one offset alone count."""
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


class Deaths(NamedTuple):
    """What a record that kills has cost."""

    at_offset: int
    """Deaths while the group stood where it was found out."""
    attempts: int
    """Workers that began there, as the dead letter says."""
    wait_seconds: float


def kill_by_record(arena: Arena, name: str) -> Deaths:
    """Sends a record of which the process dies, and starts the worker again whenever it has died."""
    found: list[tuple[int, int]] = []

    def strike_once(_: int) -> Strike:
        places: list[int] = []
        """Where the group stood in the partition of the killer at each death."""
        seen_seconds = time.monotonic()
        """When it was last seen alive."""

        def supervise() -> bool:
            nonlocal struck, seen_seconds
            worker = arena.workers[name]
            if worker.status is None:
                seen_seconds = time.monotonic()
                return _are_refused(arena, killers)
            assert worker.status == -signal.SIGKILL, worker.log()
            if not places:
                # It strikes when the process dies, not when the record is sent.
                waiting = arena.ledger.pending(confirmed_before=seen_seconds)
                struck = struck._replace(pending=waiting, after_ms=wall_clock_ms())
            places.append(arena.facts.committed(arena.group, arena.input_topic)[0])
            assert len(places) <= MOST_DEATHS, f"the record was not found out: {places}\n{worker.log()}"
            arena.start_worker(name, **sabotage_variables())
            return False

        struck, killers = _inject(arena, f"the box {DEADLY}", [0], expected="dead letter")
        arena.expect(supervise, "the killing record is dead-lettered", 3 * PROGRESS_SECONDS)
        assert places, "it never killed the process"
        arena.await_progress()
        found.append((places.count(places[-1]), _attempts(arena, killers[0])))
        return struck

    arena.await_progress()
    [struck] = until_landed(arena, 1, strike_once)
    return Deaths(*found[-1], arena.longest_wait(since=struck.moment_seconds))


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


def _attempts(arena: Arena, identity: str) -> int:
    answer = arena.ledger.answer_to(identity)
    assert answer is not None
    assert answer.letter is not None
    return DeadLetter.from_headers(answer.letter[2]).attempts

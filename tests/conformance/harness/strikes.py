"""A fault counts only if it struck in the middle of work.

One that found nothing under way proves nothing: it is repeated a few times, and then the case fails.
"""

import threading
from collections.abc import Callable, Iterator, Sequence

from harness.arena import Arena, Strike

ATTEMPTS_PER_STRIKE = 3


class MissedError(AssertionError):
    """A fault never struck in the middle of work."""


def until_landed(arena: Arena, strikes: int, strike_once: Callable[[int], Strike]) -> Iterator[Strike]:
    """Yields `strikes` strikes that landed; those that did not are repeated.

    Raises:
        MissedError: too many did not.
    """
    for [struck] in until_all_landed(arena, strikes, lambda attempt: [strike_once(attempt)]):
        yield struck


def until_all_landed(
    arena: Arena, strikes: int, strike_once: Callable[[int], Sequence[Strike]]
) -> Iterator[Sequence[Strike]]:
    """The same for a fault that strikes in several places, of which none may miss."""
    landed = 0
    for attempt in range(strikes * ATTEMPTS_PER_STRIKE):
        struck = strike_once(attempt)
        if all(map(arena.has_landed, struck)):
            landed += 1
            yield struck
        if landed == strikes:
            return
    raise MissedError(f"{landed} of {strikes} strikes hit a worker at work\n{arena.account()}")


def pause(seconds: float) -> None:
    """Lets time pass, where a fault has a duration."""
    threading.Event().wait(seconds)

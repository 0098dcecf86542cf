"""Who could take part in a round, who of them gives up, and who is slow.

All of it is a pure function of (key, round, client): a resumed run finds the same clients as the one that was killed,
and a client fares the same whoever else is chosen. A number between 0 and 1 is drawn for each of them by a
counter-based generator (Philox; Salmon et al., 2011), and compared with a probability.
"""

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

Probability = Annotated[float, Meta(ge=0, le=1)]

_HABIT, _PRESENT, _DROPS, _SPEED = range(4)
"""Separate streams of numbers."""


class AvailabilitySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How clients behave; by default all of them are always there, finish, and are equally fast."""

    available: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Mean share of the clients that can be chosen in a round."""
    day_rounds: Annotated[int, Meta(ge=0)] = 0
    """Rounds in a day: clients are there around an hour of their own, as telephones are at night; 0: at random."""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Probability that a chosen client never answers."""
    straggler_sigma: Annotated[float, Meta(ge=0, le=10)] = 0.0
    """Spread of the log-normal times that clients take; their median is 1."""
    deadline: Annotated[float, Meta(gt=0)] = 3.0
    """Clients that take longer, in multiples of the median, are not waited for."""

    @property
    def always(self) -> bool:
        """Whether nothing is modelled."""
        return self.available == 1 and not self.dropout and not self.straggler_sigma


def available(settings: AvailabilitySettings, *, key: int, number: int, clients: int) -> NDArray[np.bool_]:
    """Which clients can be chosen in round `number`, `[clients]`."""
    if settings.available == 1:
        return np.ones(clients, np.bool_)
    if not settings.day_rounds:
        return _uniform(key, _PRESENT, number, clients) < settings.available
    hour = number / settings.day_rounds
    # A client is there for the share `available` of the day that surrounds its own hour.
    away = np.abs((hour - _uniform(key, _HABIT, 0, clients) + 0.5) % 1 - 0.5)
    return away < settings.available / 2


def answers(settings: AvailabilitySettings, *, key: int, number: int, clients: int) -> NDArray[np.bool_]:
    """Which clients would answer in time if they were chosen for round `number`, `[clients]`."""
    stays = _uniform(key, _DROPS, number, clients) >= settings.dropout if settings.dropout else True
    return stays & (durations(settings, key=key, number=number, clients=clients) <= settings.deadline)


def durations(settings: AvailabilitySettings, *, key: int, number: int, clients: int) -> NDArray[np.float64]:
    """How long each client would take for its part of round `number`, in multiples of the median, `[clients]`."""
    if not settings.straggler_sigma:
        return np.ones(clients)
    normal = np.random.Generator(_stream(key, _SPEED, number)).standard_normal(clients)
    return np.exp(settings.straggler_sigma * normal)


def _uniform(key: int, purpose: int, number: int, clients: int) -> NDArray[np.float64]:
    return np.random.Generator(_stream(key, purpose, number)).random(clients)


def _stream(key: int, purpose: int, number: int) -> np.random.Philox:
    # The counter says which numbers, the key whose.
    return np.random.Philox(key=key, counter=[0, 0, purpose, number])

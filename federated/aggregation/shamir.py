"""Secrets in n shares, any t of which give the secret back, and fewer of which say nothing (Shamir, 1979).

Shares are values of a random polynomial of degree t - 1 whose value at 0 is the secret, over the integers modulo a
prime. Share i belongs to place i, from 1.
"""

import secrets
from collections.abc import Mapping

PRIME = 2**521 - 1
"""A Mersenne prime; secrets of 32 bytes fit with room to spare."""


def split_secret(secret: int, *, shares: int, threshold: int) -> list[int]:
    """Returns the values at 1, 2, ... `shares`."""
    coefficients = [secret, *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]
    return [_evaluate(coefficients, place) for place in range(1, shares + 1)]


def join_shares(shares: Mapping[int, int]) -> int:
    """The secret, from at least the threshold of shares by their place; from fewer, some other number."""
    places = list(shares)
    return sum(shares[place] * _weight_at_zero(place, places) for place in places) % PRIME


def _evaluate(coefficients: list[int], place: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * place + coefficient) % PRIME
    return value


def _weight_at_zero(place: int, places: list[int]) -> int:
    """Lagrange's polynomial for `place`, at 0."""
    above, below = 1, 1
    for other in places:
        if other != place:
            above = above * other % PRIME
            below = below * (other - place) % PRIME
    return above * pow(below, -1, PRIME) % PRIME

"""What an attacker learns in fact: a lower bound on epsilon from one run, to hold against the claimed one.

**Method.** One-run auditing by guessing (Steinke, Nasr and Jagielski, 2023, https://arxiv.org/abs/2305.08846). Each
of m *canaries*, clients whose update is as conspicuous as the protocol allows, takes part or stays away by a fair
coin. From what the run releases every canary gets a score; the attacker says "in" for the highest and "out" for the
lowest scores, a number of them that is fixed beforehand, and passes on the others. Under (epsilon,
delta)-differential privacy each guess is right with probability e^epsilon / (1 + e^epsilon) at most, whatever
happened to the other canaries, up to a term in m delta (theorem 5.2). So many right guesses as were seen rule out
every epsilon under which they would have been rarer than 1 - confidence.

**What it can show.** A correct run fails the audit with a probability of 1 - confidence at most; the bound lies well
below the claim, because no attacker is perfect. The other way round the audit only finds faults that leave a trace in
the scores. Its power depends on m and on the guesses; the tests state it for the faults that they plant.
"""

from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom

CONFIDENCE = 0.95
_MOST_EPSILON = 30.0
"""Above, a bound says no more than that there is no privacy."""

Release = Callable[[NDArray[np.bool_]], NDArray[np.floating]]
"""Which canaries take part, `[m]` -> a score of each, `[m]`, higher where the released values look more like it."""


class AuditResult(Struct, frozen=True, kw_only=True):
    """The outcome of one audit."""

    canaries: int
    guesses: int
    correct: int
    claimed_epsilon: float
    delta: float
    confidence: float
    epsilon_at_least: float
    """Whatever was claimed, the run does not keep less than this, with `confidence`."""

    @property
    def refutes_claim(self) -> bool:
        """The claim is false, with `confidence`."""
        return self.epsilon_at_least > self.claimed_epsilon


def audit(
    release: Release, *, canaries: int, guesses: int, claimed_epsilon: float, delta: float, random: np.random.Generator
) -> AuditResult:
    """Runs `release` once and guesses.

    Args:
        release: the whole protocol, from the canaries that take part to their scores.
        canaries: m.
        guesses: half of them "in", half of them "out".
        claimed_epsilon: what the run promises.
        delta: with it.
        random: tosses the coins.
    """
    present = random.random(canaries) < 0.5
    order = np.argsort(release(present), kind="stable")
    half = guesses // 2
    correct = int(np.count_nonzero(present[order[-half:]]) + np.count_nonzero(~present[order[:half]]))
    return AuditResult(
        canaries=canaries,
        guesses=2 * half,
        correct=correct,
        claimed_epsilon=claimed_epsilon,
        delta=delta,
        confidence=CONFIDENCE,
        epsilon_at_least=bound_epsilon(canaries=canaries, guesses=2 * half, correct=correct, delta=delta),
    )


def bound_epsilon(*, canaries: int, guesses: int, correct: int, delta: float) -> float:
    """The least epsilon under which `correct` right guesses are not rarer than 1 - `CONFIDENCE`."""

    def surprise(epsilon: float) -> float:
        return _bound_probability(epsilon, canaries, guesses, correct, delta) - (1 - CONFIDENCE)

    if surprise(0.0) >= 0:
        return 0.0
    if surprise(_MOST_EPSILON) < 0:
        return _MOST_EPSILON
    return float(brentq(surprise, 0.0, _MOST_EPSILON))


def _bound_probability(epsilon: float, canaries: int, guesses: int, correct: int, delta: float) -> float:
    """How probable `correct` right guesses, or more, are at most: theorem 5.2 with its delta term."""
    right = expit(epsilon)
    tail = binom.sf(correct - 1, guesses, right)
    fewer = np.arange(1, correct + 1)
    slope = np.max(np.cumsum(binom.pmf(correct - fewer, guesses, right)) / fewer, initial=0.0)
    return float(min(1.0, tail + 2 * canaries * delta * slope))

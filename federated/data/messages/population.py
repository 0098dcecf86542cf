"""Who writes: clients of very different size, taste, language and style.

Representation: ``joint`` is float `[K, C, L]`: the probability that a message comes from client k, has label c and is
written in language l. A client's own taste is far from the whole population's, but over all clients together label and
language are independent: else the language, and with it every filler word, would give the label away.
"""

from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federated.data.messages.language import LABELS
from federated.data.messages.style import Style, draw_style

LABEL_SHARES = {"delivery": 0.2, "billing": 0.16, "quality": 0.2, "account": 0.12, "returns": 0.14, "praise": 0.18}
LANGUAGE_SHARES = (0.5, 0.5)
"""English, Chinese."""

_SIZE_SIGMA = 1.0
"""Sizes are log-normal: the largest of 50 clients writes about ten times as much as the median."""
_TASTE_CONCENTRATION = 4.0
"""Sum of the Dirichlet parameters: a client typically cares about two or three labels."""
_BILINGUALITY = 0.3
"""Parameter of the symmetric Beta distribution of languages: most clients write nearly always in one."""
_LEAST_SHARE = 0.005
"""Keeps every cell of the table above 0, without which balancing could fail."""
_BALANCING_STEPS = 100


class Population(NamedTuple):
    """The clients, and how likely each writes what."""

    names: list[str]
    styles: list[Style]
    joint: NDArray[np.float64]
    """`[K, C, L]`, sums to 1."""


def draw_population(clients: int, *, seed: int) -> Population:
    """Draws `clients` clients."""
    random = np.random.default_rng([seed, clients])
    sizes = random.lognormal(sigma=_SIZE_SIGMA, size=clients)
    sizes /= sizes.sum()
    shares = np.array([LABEL_SHARES[label] for label in LABELS])
    tastes = random.dirichlet(_TASTE_CONCENTRATION * shares, size=clients) + _LEAST_SHARE
    english = random.beta(_BILINGUALITY, _BILINGUALITY, size=clients)
    languages = np.stack([english, 1 - english], axis=1) + _LEAST_SHARE
    joint = np.einsum("k,kc,kl->kcl", sizes, tastes, languages)
    digits = len(str(clients - 1))
    habits = Random(f"{seed} {clients}")
    return Population(
        names=[f"client-{index:0{digits}}" for index in range(clients)],
        styles=[draw_style(habits) for _ in range(clients)],
        joint=_balance(joint, sizes=sizes, margin=np.outer(shares, LANGUAGE_SHARES)),
    )


def _balance(
    joint: NDArray[np.float64], *, sizes: NDArray[np.float64], margin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scales the table until clients have their sizes and label and language their common margin.

    Iterative proportional fitting (Deming and Stephan, 1940). It ends with the margin, which then holds exactly.
    """
    for _ in range(_BALANCING_STEPS):
        joint = joint * (sizes / joint.sum(axis=(1, 2)))[:, None, None]
        joint = joint * (margin / joint.sum(axis=0))
    return joint

"""Who is in which round, when that must stay private.

Cohorts come from the noise key: amplification by sampling holds only against those who do not know who was chosen. For
the same reason the members of a cohort are not written into any record.
"""

import numpy as np

from federated.privacy.accountant import Mechanism
from federated.privacy.keys import NoiseKey

_PURPOSE = "cohort"


def draw_private_cohort(mechanism: Mechanism, key: NoiseKey, number: int, *, cap: int) -> list[int]:
    """The clients of round `number`, from 1, as `Mechanism.sampling` says; sorted, without repetition.

    Args:
        mechanism: who could be chosen, and how many.
        key: the run's.
        number: of the round; each round is drawn by itself, so that a resumed run draws the same.
        cap: a Poisson cohort that is larger loses members at random, see `federated.privacy.plan`.

    Returns:
        Indices of clients. With ``poisson`` there may be none of them.
    """
    clients, cohort = mechanism.clients, mechanism.cohort
    if mechanism.sampling == "poisson":
        random = key.stream(_PURPOSE, number)
        chosen = np.flatnonzero(random.random(clients) < mechanism.sampling_rate)
        if len(chosen) > cap:
            chosen = random.choice(chosen, size=cap, replace=False)
    elif mechanism.sampling == "tree":
        tree, place = divmod(number - 1, mechanism.tree_rounds)
        # One order for each tree: every client comes up once in it at most, and that is what the accountant counts on.
        order = key.stream(_PURPOSE, tree).permutation(clients)
        chosen = order[place * cohort : (place + 1) * cohort]
    else:
        chosen = key.stream(_PURPOSE, number).choice(clients, size=cohort, replace=False)
    return sorted(chosen.tolist())

"""Who learns, and on whom the model is judged: disjoint populations, drawn once from the seed.

::

    all examples ─┬─ test                       central, sealed until `evaluate --final`
                  └─ clients ─┬─ validation     whole clients that never train: choices are made on them
                              └─ training ─┬─ heldout     examples of training clients that are kept from training
                                           └─ the rest    what training reads, and the vocabulary is counted on

``heldout`` tells how well the model does on people it has learned from, ``validation`` on people it has never met. A
choice (when to stop, which of a sweep is best) that looked at the test set would make its figure a flattering one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federated.data.holdout import hold_out
from federated.data.partition import Assignment, Indices, PartitionSettings, partition
from federated.errors import DataError

_TEST_STREAM, _VALIDATION_STREAM = 101, 102
"""Apart from the streams of the partition and of the held-out examples, which the seed alone keys."""


class Shares(NamedTuple):
    """How much goes to each population that is not training."""

    heldout: float
    """Of the training clients' examples; above 0, below 1."""
    validation: float = 0.0
    """Of the clients."""
    test: float = 0.0
    """Of all examples."""


class Populations(NamedTuple):
    """Rows of each population; no row is in two."""

    training: Assignment
    heldout: NDArray[np.int64]
    """Shuffled: a file that is sorted by label must not become a stream that is."""
    heldout_owner: NDArray[np.int64]
    """Training client of each of `heldout`."""
    validation: Assignment
    test: NDArray[np.int64]


def split_populations(
    labels: Indices, owners: Indices, groups: Indices, settings: PartitionSettings, shares: Shares, *, seed: int
) -> Populations:
    """Draws the populations; the same arguments give the same ones.

    Args:
        labels: of each row, `[N]`.
        owners: client of each row, `[N]`, -1 for nobody.
        groups: what each row is a part of, `[N]`, -1 for nothing; no group is in two populations.
        settings: how clients are made.
        shares: how much goes where.
        seed: same seed, same populations.

    Raises:
        DataError: the examples are too few, or cannot be dealt out so.
    """
    test = np.empty(0, np.int64)
    if shares.test:
        test = np.sort(_hold_out(labels, groups, fraction=shares.test, seed=[seed, _TEST_STREAM]))
        untested = np.ones(len(labels), bool)
        untested[test] = False
        rest = np.flatnonzero(untested)
        dealt = partition(labels[rest], owners[rest], settings, seed=seed)
        clients = dealt._replace(rows=rest[dealt.rows])
    else:
        clients = partition(labels, owners, settings, seed=seed)
    _require_whole_groups(clients, groups)
    training, validation = _set_judges_apart(clients, shares.validation, seed)
    order = _invert(training.rows, len(labels))
    rows = training.rows[order]
    kept_back = order[_hold_out(labels[rows], groups[rows], fraction=shares.heldout, seed=seed)]
    kept_back = _leave_each_client_one(training, kept_back, groups)
    learns = np.ones(len(training.rows), bool)
    learns[kept_back] = False
    return Populations(
        training=training.keep(learns),
        heldout=training.rows[kept_back],
        heldout_owner=training.owners()[kept_back],
        validation=validation,
        test=test,
    )


def _invert(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """What sorts distinct `rows` below `count`: faster than a sort, at millions of them."""
    places = np.full(count, -1)
    places[rows] = np.arange(len(rows))
    return places[places >= 0]


def _hold_out(labels: Indices, groups: Indices, *, fraction: float, seed: int | list[int]) -> NDArray[np.int64]:
    # A source names the groups of all its rows, or of none.
    grouped = groups if groups.min(initial=0) >= 0 else None
    return hold_out(labels, fraction=fraction, seed=seed, groups=grouped).heldout


def _require_whole_groups(clients: Assignment, groups: Indices) -> None:
    """A group of which one client trains and another one validates would be in two populations."""
    if groups.max(initial=-1) < 0:
        return
    of = groups[clients.rows]
    grouped = of >= 0
    pairs = np.unique(np.stack([of[grouped], clients.owners()[grouped]]), axis=1)
    _, counts = np.unique(pairs[0], return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"{np.count_nonzero(counts > 1)} groups have examples of more than one client. Partition by the clients of "
            "the data (data.partition.by=client), or name no groups."
        )


def _set_judges_apart(clients: Assignment, share: float, seed: int) -> tuple[Assignment, Assignment]:
    """Clients that train, and those that validate."""
    if not share:
        return clients, Assignment(np.empty(0, np.int64), np.zeros(1, np.int64))
    validates = _draw_judges(len(clients.sizes), share, seed)[clients.owners()]
    return clients.keep(~validates), clients.keep(validates)


def _draw_judges(clients: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Which clients validate, `[K]`."""
    count = max(1, round(share * clients))
    if count >= clients:
        raise DataError(
            f"{share:g} of {clients} clients for validation leaves none to train on. Lower data.validation_clients "
            "or make more clients."
        )
    judges = np.zeros(clients, bool)
    judges[np.random.default_rng([seed, _VALIDATION_STREAM]).permutation(clients)[:count]] = True
    return judges


def _leave_each_client_one(training: Assignment, kept_back: NDArray[np.int64], groups: Indices) -> NDArray[np.int64]:
    """Gives one example, or its group, back to each client of which all were held out: it would have none to read."""
    owners = training.owners()
    robbed = np.flatnonzero(np.bincount(owners[kept_back], minlength=len(training.sizes)) == training.sizes)
    if not len(robbed):
        return kept_back
    spared = training.offsets[robbed]
    of = groups[training.rows]
    whole = np.isin(of, np.setdiff1d(of[spared], [-1]))
    whole[spared] = True
    return kept_back[~whole[kept_back]]

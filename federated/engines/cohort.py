"""A round's clients as arrays: steps of equal batches, cut into fixed micro-shards.

Representation: a *micro-shard* is `CLIENTS` slots that follow each other, the last of a round perhaps fewer. Its
clients' batches stand one after the other in arrays `[S, B, ...]`; client i reads the steps ``bounds[i]`` to
``bounds[i + 1] - 1``. A batch that its client does not fill is filled up with rows that are marked as not kept.

How a cohort is cut depends on nothing but the order of its slots, and the results are added in that order, so the sum
does not depend on who computes which micro-shard, or when. S and T come from a short list of shapes, because each
shape is compiled once: steps beyond the last client's are never run, and positions beyond the longest row cost little.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from federated.algorithms.definition import CohortResult, Leaves
from federated.data.clients import ClientDataset
from worker.features import PAD_ID

CLIENTS = 5
"""Slots of a micro-shard: enough to make a call worth its overhead, few enough to keep two threads busy with ten."""
SMALL_SHARE = 4
"""The smaller of two sizes is this part of the larger one."""
SMALL_TOKENS = 2


class Cohort(NamedTuple):
    """Who takes part in a round, and with what."""

    seed: int
    """Of the run."""
    number: int
    """Of the round, from 1."""
    clients: list[int]
    """Index of the client in each slot."""
    data: list[ClientDataset]
    """Everything that each of them reads, in order."""
    silent: int = 0
    """How many more were chosen, begin the round and never answer."""


class MicroShard(NamedTuple):
    """See the module."""

    token_ids: NDArray[np.int32]
    """`[S, B, T]`"""
    label: NDArray[np.int32]
    """`[S, B]`"""
    kept: NDArray[np.bool_]
    """`[S, B]`"""
    bounds: NDArray[np.int32]
    """`[CLIENTS + 1]`; empty slots begin where they end."""
    keys: NDArray[np.int32]
    """`[CLIENTS, 3]`: seed, round and client."""
    clients: NDArray[np.int32]
    """Scalar: how many slots are taken."""


class Shapes(NamedTuple):
    """The sizes that micro-shards may have, smaller ones first: at most two of each, so at most four shapes."""

    batch_size: int
    steps: list[int]
    tokens: list[int]


class Engine(Protocol):
    """Runs the clients of a round."""

    def pack(self, cohort: Cohort) -> object:
        """Prepares a cohort for `run`; may be called from another thread, while another cohort runs."""

    def run(
        self, packed: object, *, broadcasts: tuple[Leaves, Leaves], client_states: list[Leaves], local: list[Leaves]
    ) -> CohortResult:
        """Trains the clients.

        Args:
            packed: from `pack`.
            broadcasts: the algorithm's and the aggregation's.
            client_states: of each slot.
            local: the aggregation's, of each slot.
        """


def plan_shapes(sizes: Sequence[int], *, epochs: int, batch_size: int, max_tokens: int) -> Shapes:
    """Chooses shapes that hold any micro-shard.

    Args:
        sizes: number of examples of each client of the federation.
        epochs: how often a client reads each of them in a round.
        batch_size: B.
        max_tokens: of the longest row.
    """
    largest = sum(_count_steps(size * epochs, batch_size) for size in sorted(sizes, reverse=True)[:CLIENTS])
    steps = sorted({-(-largest // SMALL_SHARE), largest})
    return Shapes(batch_size, steps, sorted({-(-max_tokens // SMALL_TOKENS), max_tokens}))


def cut(cohort: Cohort, shapes: Shapes) -> list[MicroShard]:
    """Packs a cohort, in slot order."""
    starts = range(0, len(cohort.data), CLIENTS)
    return [_pack(cohort, slice(start, start + CLIENTS), shapes) for start in starts]


def _pack(cohort: Cohort, slots: slice, shapes: Shapes) -> MicroShard:
    data, batch = cohort.data[slots], shapes.batch_size
    steps = [_count_steps(len(client.label), batch) for client in data]
    bounds = np.cumsum([0, *steps, *[0] * (CLIENTS - len(data))], dtype=np.int32)
    longest = max(int(np.count_nonzero(client.token_ids != PAD_ID, axis=1).max(initial=1)) for client in data)
    rows = next(size for size in shapes.steps if size >= bounds[-1]) * batch
    width = next(size for size in shapes.tokens if size >= longest)
    token_ids, label = np.full((rows, width), PAD_ID, np.int32), np.zeros(rows, np.int32)
    kept = np.zeros(rows, np.bool_)
    for client, first in zip(data, bounds[: len(data)] * batch, strict=True):
        place = slice(first, first + len(client.label))
        token_ids[place] = client.token_ids[:, :width]
        label[place], kept[place] = client.label, True
    keys = np.zeros((CLIENTS, 3), np.uint32)
    keys[: len(data)] = [[cohort.seed, cohort.number, client] for client in cohort.clients[slots]]
    return MicroShard(
        token_ids.reshape(-1, batch, width),
        label.reshape(-1, batch),
        kept.reshape(-1, batch),
        bounds,
        keys.view(np.int32),
        np.array(len(data), np.int32),
    )


def _count_steps(examples: int, batch_size: int) -> int:
    return -(-examples // batch_size)

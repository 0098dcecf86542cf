"""Who owns which example.

Representation: `labels` is int `[N]`, `owners` int `[N]` with -1 for nobody, and an example is its index into them.
Every example is in at most one part, and no part is empty: a client that would own nothing is left out, so there may be
fewer clients than were asked for.
"""

from typing import Annotated, Literal, NamedTuple

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from federated.data import partitioners
from federated.data.sorting import sort_stably
from federated.errors import DataError

Indices = NDArray[np.integer]

MAX_CLIENTS = 1_000_000
"""Each takes memory, though it own nothing: a slip of the hand must not take all."""
MAX_DRAWS = 100
"""More draws of the same distribution will hardly find what these did not."""


class PartitionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How examples are dealt out."""

    by: Literal["client", "iid", "dirichlet", "pathological", "shard", "quantity"] = "client"
    """``client``: as the data says; ``iid``: at random; ``dirichlet``: at random, with a skew in the labels;
    ``pathological``: each client gets `labels_per_client` labels; ``shard``: each gets `shards_per_client` pieces of
    the examples sorted by label; ``quantity``: at random, in shares of very different size."""
    clients: Annotated[int, Meta(ge=1, le=MAX_CLIENTS)] = 50
    """For all but ``client``: how many clients to simulate."""
    alpha: Annotated[float, Meta(ge=1e-3, le=1e6)] = 1.0
    """For ``dirichlet`` and ``quantity``: concentration; small values give each client few labels, or few clients most
    examples; large ones come near ``iid``. At far smaller ones NumPy draws for ever, far larger ones it cannot add
    up."""
    labels_per_client: Annotated[int, Meta(ge=1)] = 2
    """For ``pathological``."""
    shards_per_client: Annotated[int, Meta(ge=1)] = 2
    """For ``shard``."""
    min_examples: Annotated[int, Meta(ge=1)] = 1
    """A client has at least as many. For ``client``, smaller ones are left out; ``dirichlet`` and ``quantity`` draw
    again until it holds; what the others cannot give is refused. At 1, clients without examples are left out."""


class Assignment(NamedTuple):
    """Examples, client after client."""

    rows: NDArray[np.int64]
    """`[N]`, the parts end to end."""
    offsets: NDArray[np.int64]
    """`[K + 1]`, where each part starts."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Examples of each client, `[K]`."""
        return np.diff(self.offsets)

    def part(self, client: int) -> NDArray[np.int64]:
        """Examples of one client."""
        return self.rows[self.offsets[client] : self.offsets[client + 1]]

    def owners(self) -> NDArray[np.int64]:
        """Client of each of `rows`, `[N]`."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.sizes)

    def keep(self, kept: NDArray[np.bool_]) -> "Assignment":
        """The same without the rows where `kept`, `[N]`, is false; a client without rows is left out."""
        # They are in the order of their owners already.
        return _cut(self.rows[kept], self.owners()[kept])


def group(rows: Indices, owners: Indices) -> Assignment:
    """Sorts `rows` by their `owners`, from 0, both `[N]`, and leaves each owner's rows in their order."""
    return _cut(rows[sort_stably(owners)].astype(np.int64), owners)


def _cut(rows: NDArray[np.int64], owners: Indices) -> Assignment:
    """Cuts `rows`, owner after owner, where the next one's begin."""
    sizes = np.bincount(owners)
    return Assignment(rows, np.concatenate([[0], np.cumsum(sizes[sizes > 0])]))


def partition(labels: Indices, owners: Indices, settings: PartitionSettings, *, seed: int) -> Assignment:
    """Deals examples out as `settings` say.

    Raises:
        DataError: an example names no client, or the examples cannot be dealt out so.
    """
    if settings.by == "client":
        return _by_client(owners, settings.min_examples)
    random = np.random.default_rng(seed)
    redraws = settings.by in ("dirichlet", "quantity") and settings.min_examples > 1
    for _ in range(MAX_DRAWS if redraws else 1):
        rows, clients = _deal(labels, settings, random)
        sizes = np.bincount(clients, minlength=settings.clients)
        if settings.min_examples == 1 or sizes.min() >= settings.min_examples:
            return group(rows, clients)
    tries = f" in {MAX_DRAWS} draws" if redraws else ""
    raise DataError(
        f"dealing {len(labels)} examples out to {settings.clients} clients by {settings.by} leaves one with "
        f"{sizes.min()} examples{tries}. Lower data.partition.min_examples ({settings.min_examples}) or "
        "data.partition.clients, or raise data.partition.alpha."
    )


def _deal(labels: Indices, settings: PartitionSettings, random: np.random.Generator) -> partitioners.Dealt:
    clients = settings.clients
    match settings.by:
        case "iid":
            return partitioners.iid(labels, clients, random)
        case "dirichlet":
            return partitioners.dirichlet(labels, clients, settings.alpha, random)
        case "quantity":
            return partitioners.quantity(labels, clients, settings.alpha, random)
        case "pathological":
            return partitioners.pathological(labels, clients, settings.labels_per_client, random)
        case _:
            return partitioners.shard(labels, clients, settings.shards_per_client, random)


def _by_client(owners: Indices, min_examples: int) -> Assignment:
    if missing := int((owners < 0).sum()):
        raise DataError(
            f"{missing} of {len(owners)} examples name no client. Name the client column, or partition by another way: "
            "data.partition.by is iid, dirichlet, pathological, shard or quantity."
        )
    if min_examples == 1:
        return group(np.arange(len(owners)), owners)
    large = np.bincount(owners)[owners] >= min_examples if len(owners) else np.ones(0, bool)
    if not large.any() and len(owners):
        raise DataError(f"no client has {min_examples} examples. Lower data.partition.min_examples.")
    return group(np.flatnonzero(large), owners[large])

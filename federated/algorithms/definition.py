"""What an algorithm, an aggregation and an engine say to each other.

Representation: weights and updates are flat lists of arrays, *leaves*, in Keras layout and in the order that the model
gives (`federated.models.classifier`). A *slot* is a place in a round's cohort; everything about clients is in the order
of the slots.

::

    server                                    each client, compiled                             server
    Algorithm.broadcast(state) ─▶ Algorithm.client_update ─▶ Aggregation.client ─▶ sum over slots, or all of them
                                                                                                 │
    state ◀── Algorithm.server_update ◀────────────── Aggregation.server ◀───────────────────────┘

The middle is pure TensorFlow that XLA can compile: no variables, no Python state, no random numbers but from a key. The
two ends are NumPy, so that they are the same arithmetic whatever engine runs the middle.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from federated.privacy.settings import Sampling

if TYPE_CHECKING:
    import tensorflow as tf

Leaves = list[NDArray[Any]]
Tensors = list["tf.Tensor"]
State = Mapping[str, Leaves]
"""Name of a part -> its leaves. All that has to outlive a round, for example in a checkpoint, has this form."""
WEIGHTS = "weights"
"""The part of every server state that is the model."""


class Batches(NamedTuple):
    """What one client reads in one round: the steps ``start`` to ``stop - 1`` of arrays that clients may share."""

    features: Mapping[str, "tf.Tensor"]
    """Name, for example ``token_ids`` -> `[S, B, ...]`: S steps of B examples."""
    label: "tf.Tensor"
    """int32 `[S, B]`."""
    kept: "tf.Tensor"
    """bool `[S, B]`: false where an example only fills up its batch."""
    start: "tf.Tensor"
    """int32 scalar."""
    stop: "tf.Tensor"
    """int32 scalar."""


class ClientOutput(NamedTuple):
    """What a client gives back. Only `update`, `weight` and `metrics` leave it; clipping, noise and masks see all
    of `update`. Under local privacy `metrics` stay with the client too.
    """

    update: Tensors
    """What is added to the server's leaves: the opposite of a gradient's direction."""
    weight: "tf.Tensor"
    """Scalar, of the floating type of the weights: the share of this client in a weighted mean."""
    client_state: Tensors
    """Stays with the client; empty for most algorithms."""
    metrics: Mapping[str, "tf.Tensor"]
    """Scalars that add up over clients: ``loss`` (summed over examples), ``correct``, ``examples``."""


class Algorithm(NamedTuple):
    """A federated algorithm."""

    name: str
    init: Callable[[Leaves], State]
    """First weights -> the server's state; its part `WEIGHTS` is the model."""
    init_client: Callable[[Leaves], Leaves]
    """First weights -> the state of a client that was never chosen; empty for an algorithm that keeps none."""
    broadcast: Callable[[State, int], Leaves]
    """State and number of the round, from 1 -> what every client of the round gets, schedules applied."""
    client_update: Callable[[Tensors, Tensors, Batches, "tf.Tensor"], ClientOutput]
    """Broadcast, client state, batches, key (int32 `[3]`: seed, round, client) -> output. Pure TensorFlow."""
    server_update: Callable[[State, Leaves, int, int], State]
    """State, the aggregated update, the number of the round, how many clients' updates are in it -> the next state.
    That last number is private under differential privacy: algorithms that read it are refused there."""
    update_like: Callable[[Leaves], Leaves] = lambda weights: weights
    """Weights -> leaves of the shapes of an update: more than the weights where clients send more than a change."""


class Aggregation(Protocol):
    """How the clients' updates become one, see `federated.aggregation`."""

    stacked: bool
    """Whether `server` needs every client's update, as order statistics do; otherwise their sum is enough."""
    sampling: Sampling | None
    """Of a differentially private run, see `federated.privacy`; None where nothing is promised."""

    def broadcast(self, number: int) -> Leaves:
        """What every client of round `number` needs for its steps, for example the bound to clip to."""

    def local(self, number: int, clients: Sequence[int], *, silent: int = 0) -> list[Leaves]:
        """What each of the `clients` needs for itself, for example its own noise; the same shapes for each.

        Args:
            number: of the round.
            clients: those who will answer.
            silent: how many more begin the round and never answer.
        """

    def client(
        self, update: Tensors, weight: "tf.Tensor", broadcast: Tensors, local: Tensors
    ) -> tuple[Tensors, "tf.Tensor", Mapping[str, "tf.Tensor"]]:
        """Prepares one client's update for the sum, its weight with it. Pure TensorFlow, compiled.

        Args:
            update: leaves, from `Algorithm.client_update`.
            weight: scalar.
            broadcast: this round's `broadcast`.
            local: this client's item of this round's `local`.

        Returns:
            The update, *multiplied* by whatever weight it has in the sum; what it adds to the sum of weights; scalars
            that are added up over the clients.
        """

    def state(self) -> State:
        """What a later process needs to go on."""

    def restore(self, state: State) -> None:
        """Goes on where `state` was read."""

    def server(self, result: "CohortResult", number: int) -> Leaves:
        """The aggregated update: the mean, for example."""


class CohortResult(NamedTuple):
    """What the clients of one round have done together."""

    total: Leaves
    """Sum over the slots, in their order. Empty where `Aggregation.stacked`."""
    stack: NDArray[Any] | None
    """Every client's update, flat, `[K, D]`: leaves one after the other. Only where `Aggregation.stacked`."""
    weights: NDArray[np.floating]
    """Of each client, as `Aggregation.client` returned it, `[K]`."""
    client_states: list[Leaves]
    """Of each client."""
    metrics: dict[str, float]
    """Summed over the clients; the algorithm's and the aggregation's. None under local privacy."""

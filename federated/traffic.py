"""How many bytes a round would send between server and clients, if it ran over a network.

Counted are the leaves that the algorithm sends and their encoding; not what wraps them, nor the few numbers that an
aggregation adds (a clip, a weight), nor the keys and shares of a secure sum, whose network is not simulated.
"""

from typing import NamedTuple

from federated.algorithms.definition import WEIGHTS, Algorithm, State


class Traffic(NamedTuple):
    """Of one client in one round."""

    down: int
    """Bytes that each client gets as it begins, whether or not it answers."""
    up: int
    """Bytes that each client sends that answers."""

    def total(self, *, answered: float, silent: float) -> float:
        """Bytes of a round in which `answered` clients answered and `silent` more only began."""
        return (answered + silent) * self.down + answered * self.up


def measure_traffic(algorithm: Algorithm, state: State, *, eight_bits: bool) -> Traffic:
    """Counts what `algorithm` sends, which is the same in every round.

    Args:
        algorithm: of the run.
        state: any of its states.
        eight_bits: whether an update goes as a signed byte for each entry and a scale for each leaf. Masked, an entry
            of float32 is a word of 32 bits, no more and no less than without a mask.
    """
    update = algorithm.update_like(state[WEIGHTS])
    up = sum(leaf.size + leaf.itemsize if eight_bits else leaf.nbytes for leaf in update)
    return Traffic(sum(leaf.nbytes for leaf in algorithm.broadcast(state, 1)), up)

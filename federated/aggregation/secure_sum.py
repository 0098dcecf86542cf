"""A sum whose addends the server does not see: the arithmetic of Bonawitz et al., 2017, without its network.

Source: "Practical Secure Aggregation for Privacy-Preserving Machine Learning", https://eprint.iacr.org/2017/281.

For one round, all modulo 2^32:

1. Each client draws a key pair and the seed of a *self mask*, and deals t-of-n shares of both secrets to the cohort.
2. Each two clients agree on a seed (X25519) and thereby on a *pairwise mask*, which the one adds and the other takes
   away. A client sends its update plus its self mask plus all of its pairwise masks. Pairwise masks cancel in the sum.
3. For each client that arrived, t survivors give out shares of its self mask's seed; for each that did not, of its
   private key, from which the masks that nobody cancelled are computed. Never both for one client: together they would
   unmask its update.
4. The server takes the self masks and the orphaned pairwise masks away.

With fewer than t survivors the sum stays masked. Here one process plays all parts: what is real is the arithmetic, and
that every mask taken away in step 4 comes from joined shares, not from memory.
"""

import hashlib
import math
import secrets
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from federated.aggregation.shamir import join_shares, split_secret
from federated.errors import AbortedRoundError

Words = NDArray[np.uint32]

_SECRET_BYTES = 32


class SecureSum:
    """One round's protocol between `clients` clients, named by their slots."""

    def __init__(self, *, clients: int, threshold: float, size: int) -> None:
        """
        Args:
            clients: n.
            threshold: share of the clients that have to arrive; t is at least that many, and more than half.
            size: entries of each vector.
        """
        self._size = size
        self.least = max(math.ceil(threshold * clients), clients // 2 + 1)
        private = [X25519PrivateKey.generate() for _ in range(clients)]
        self._public = [key.public_key() for key in private]
        seeds = [secrets.token_bytes(_SECRET_BYTES) for _ in range(clients)]
        self._key_shares = [self._deal(key.private_bytes_raw()) for key in private]
        self._seed_shares = [self._deal(seed) for seed in seeds]
        self.masks = [_expand(seed, size) for seed in seeds]
        """Of each slot: what it adds to its vector before it sends it, uint32 `[size]`."""
        for slot, key in enumerate(private):
            for other in range(slot + 1, clients):
                shared = _expand(key.exchange(self._public[other]), size)
                self.masks[slot] += shared
                self.masks[other] -= shared

    def unmask(self, total: Words, arrived: Sequence[bool]) -> Words:
        """The sum of the plain vectors, modulo 2^32.

        Args:
            total: sum of the masked vectors of those who arrived, `[size]`.
            arrived: of each slot, whether its vector is in `total`.

        Raises:
            AbortedRoundError: too few arrived.
        """
        survivors = [slot for slot, present in enumerate(arrived) if present]
        if len(survivors) < self.least:
            raise AbortedRoundError(
                f"{len(survivors)} of {len(arrived)} clients arrived, and their secure sum opens only with "
                f"{self.least}. Lower aggregation.secure_threshold, or the dropout."
            )
        helpers = survivors[: self.least]
        plain = total.copy()
        for slot in survivors:
            plain -= _expand(_join(self._seed_shares[slot], helpers), self._size)
        for slot in set(range(len(arrived))) - set(survivors):
            key = X25519PrivateKey.from_private_bytes(_join(self._key_shares[slot], helpers))
            for survivor in survivors:
                shared = _expand(key.exchange(self._public[survivor]), self._size)
                # The survivor added it if its slot comes first, and took it away otherwise.
                plain += -shared if survivor < slot else shared
        return plain

    def _deal(self, secret: bytes) -> list[int]:
        return split_secret(int.from_bytes(secret, "big"), shares=len(self._public), threshold=self.least)


def _join(shares: list[int], helpers: list[int]) -> bytes:
    return join_shares({slot + 1: shares[slot] for slot in helpers}).to_bytes(_SECRET_BYTES, "big")


def _expand(seed: bytes, size: int) -> Words:
    key = int.from_bytes(hashlib.blake2b(seed, digest_size=16, person=b"secure sum").digest(), "little")
    return np.random.Generator(np.random.Philox(key=key)).integers(0, 2**32, size=size, dtype=np.uint32)

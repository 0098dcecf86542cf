"""The privacy card: what a model's training promised about the people in it, and what it did not.

It is part of the manifest, so that whoever serves the model can read the promise beside the bytes it is about.
"""

from typing import Literal

from msgspec import Struct

ReleaseStatus = Literal["dp", "public", "not covered"]


class ReleasedItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that leaves the training, in the bundle or beside it."""

    name: str
    status: ReleaseStatus
    """``dp``: covered by the epsilon; ``public``: does not depend on any client's data; ``not covered``: it does, and
    nothing is promised about it."""
    epsilon: float | None = None
    """For ``dp``."""
    note: str = ""


class PrivacyCard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Differential privacy as it was kept."""

    unit: Literal["client"] = "client"
    """Whose whole data the promise protects together."""
    relation: str
    """What two neighbouring sets of clients differ by; epsilons of different relations must not be compared."""
    epsilon: float
    """Promised."""
    epsilon_spent: float
    """By the rounds that were charged."""
    delta: float
    accountant: str
    sampling: str
    """How cohorts are chosen."""
    sampling_rate: float
    """q"""
    rounds: int
    """R, charged."""
    noise_multiplier: float
    """z: deviation of the noise over the clip."""
    clip: float
    """Longest L2 norm of one client's update, in the last round."""
    adaptive_clip: bool
    clients: int
    """N"""
    cohort: int
    """Expected; sums are divided by it."""
    cohort_cap: int
    """No cohort was larger."""
    trusted_party: str
    """Who sees what is not private yet."""
    key: Literal["secret", "reproducible simulation"]
    """A secret key was drawn at random, and removed when the model was written. With one that a person chose the noise
    can be repeated, and taken away again."""
    released: list[ReleasedItem]

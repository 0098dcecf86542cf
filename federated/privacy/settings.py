"""How much privacy a person asks for, and in which way. Imports nothing: command lines read it first."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Sampling = Literal["poisson", "fixed", "tree", "local"]
"""How cohorts are chosen and who adds the noise, see `federated.privacy.accountant`."""


class PrivacySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Differential privacy for whole clients."""

    epsilon: Annotated[float, Meta(ge=0, le=100)] = 0.0
    """What all rounds together may spend; 0 trains without differential privacy. ``--epsilon`` is short for it."""
    delta: Annotated[float, Meta(gt=0, lt=1)] = 1e-5
    """Must be less than 1 / clients: a larger one would allow to publish a client. ``--delta`` is short for it."""
    sampling: Sampling = "poisson"

"""The deployment file: which versions of a model answer, and how it came to that.

It is small, written whole, and numbered: each change makes the next generation. The changes are pure functions, so that
a change that is refused has written nothing.
"""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from worker.errors import RegistryError
from worker.versioned import VersionedFile

SCHEMA_VERSION = 1
FILE = "deployment.json"
SLOTS = 10_000
"""A record's key falls into one of so many slots; the canary answers the lowest ones."""
HISTORY_CHANGES = 100
TRAIL_VERSIONS = 20
"""How many rollbacks in a row are possible. Without bounds the polled file would grow for ever."""


class Canary(Struct, frozen=True, forbid_unknown_fields=True):
    """A version that answers a share of the records."""

    version: str
    slots: Annotated[int, Meta(ge=1, le=SLOTS)]
    """Of `SLOTS`."""


class Change(Struct, frozen=True, forbid_unknown_fields=True):
    """What a generation was, and what made it."""

    generation: int
    changed_at: str
    """RFC 3339, UTC."""
    action: str
    current: str
    canary: Canary | None
    shadow: str | None


class Deployment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    schema_version: int = SCHEMA_VERSION
    name: str
    """Of the model."""
    generation: Annotated[int, Meta(ge=1)]
    """Counted from 1."""
    current: str
    """Version that answers."""
    canary: Canary | None = None
    shadow: str | None = None
    """Version that answers on the side, into a topic of its own."""
    trail: list[str] = []
    """What was current before, the latest last: the way back of `roll_back`."""
    history: list[Change] = []
    """The latest changes, the latest last; it ends with this generation."""

    @property
    def changed_at(self) -> str:
        """When it was made, RFC 3339; empty in a file that something else has written."""
        return self.history[-1].changed_at if self.history else ""

    def versions(self) -> list[str]:
        """Every version that a worker has to load."""
        return [self.current, *([self.canary.version] if self.canary else []), *([self.shadow] if self.shadow else [])]


_FILE = VersionedFile(
    holds=Deployment,
    version=SCHEMA_VERSION,
    called="a deployment file",
    read_by="this program",
    refusal=RegistryError,
    if_other_version="Upgrade it, or write the file with the version that it is of.",
    if_malformed="Only `python -m worker models` should write it: put a whole one in its place, or remove it and "
    "promote a version.",
)


def promote(before: Deployment | None, name: str, version: str) -> Deployment:
    """Lets `version` answer everything that no canary answers; a canary or shadow of that version ends.

    Raises:
        RegistryError: it does already.
    """
    if before is None:
        return _record(Deployment(name=name, generation=1, current=version), "promote")
    if before.current == version:
        raise RegistryError(f"{version} of {name} is current already, since before generation {before.generation}.")
    trail = [*before.trail, before.current][-TRAIL_VERSIONS:]
    return _next(_without(before, version), "promote", current=version, trail=trail)


def start_canary(before: Deployment | None, name: str, version: str, *, slots: int) -> Deployment:
    """Lets `version` answer the records of the lowest `slots` slots.

    Raises:
        RegistryError: it answers everything already, or nothing is current.
    """
    deployment = _require(before, name)
    if deployment.current == version:
        raise RegistryError(f"{version} of {name} is current: it answers every record already.")
    return _next(deployment, "canary", canary=Canary(version, slots))


def stop_canary(before: Deployment | None, name: str) -> Deployment:
    """Gives the canary's records back to the current version.

    Raises:
        RegistryError: there is no canary.
    """
    deployment = _require(before, name)
    if deployment.canary is None:
        raise RegistryError(f"{name} has no canary.")
    return _next(deployment, "canary off", canary=None)


def start_shadow(before: Deployment | None, name: str, version: str) -> Deployment:
    """Lets `version` answer on the side.

    Raises:
        RegistryError: it is current, or nothing is.
    """
    deployment = _require(before, name)
    if deployment.current == version:
        raise RegistryError(f"{version} of {name} is current: there is nothing to compare it with.")
    return _next(deployment, "shadow", shadow=version)


def stop_shadow(before: Deployment | None, name: str) -> Deployment:
    """Ends the shadow.

    Raises:
        RegistryError: there is none.
    """
    deployment = _require(before, name)
    if deployment.shadow is None:
        raise RegistryError(f"{name} has no shadow.")
    return _next(deployment, "shadow off", shadow=None)


def roll_back(before: Deployment | None, name: str) -> Deployment:
    """Makes current what was current before the last promotion that was not rolled back yet. The canary ends, too.

    Raises:
        RegistryError: there is nothing to go back to.
    """
    deployment = _require(before, name)
    if not deployment.trail:
        raise RegistryError(f"{name} has no earlier version to go back to. Promote one.")
    *trail, version = deployment.trail
    return _next(_without(deployment, version), "rollback", current=version, trail=trail, canary=None)


def encode(deployment: Deployment) -> bytes:
    """The file's content."""
    return msgspec.json.format(msgspec.json.encode(deployment), indent=2) + b"\n"


def decode(data: bytes, place: str) -> Deployment:
    """Reads what `encode` wrote.

    Args:
        data: content of the file.
        place: where it came from, for errors.

    Raises:
        RegistryError: it is half-written, or follows another schema.
    """
    return _FILE.decode(data, place=place)


def _require(before: Deployment | None, name: str) -> Deployment:
    if before is None:
        raise RegistryError(f"{name} has no current version yet. Promote one first.")
    return before


def _without(deployment: Deployment, version: str) -> Deployment:
    """`deployment` in which `version` is neither canary nor shadow."""
    canary, shadow = deployment.canary, deployment.shadow
    return msgspec.structs.replace(
        deployment,
        canary=None if canary is not None and canary.version == version else canary,
        shadow=None if shadow == version else shadow,
    )


def _next(deployment: Deployment, action: str, **changes: object) -> Deployment:
    changed = msgspec.structs.replace(deployment, generation=deployment.generation + 1, **changes)
    return _record(changed, action)


def _record(deployment: Deployment, action: str) -> Deployment:
    change = Change(
        deployment.generation,
        datetime.now(UTC).isoformat(timespec="microseconds"),
        action,
        deployment.current,
        deployment.canary,
        deployment.shadow,
    )
    return msgspec.structs.replace(deployment, history=[*deployment.history, change][-HISTORY_CHANGES:])

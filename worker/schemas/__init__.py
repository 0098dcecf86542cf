"""JSON Schemas of the wire and artifact contracts, for readers who do not write Python.

The ``.json`` files beside this one are generated from the types by ``python -m worker.schemas``; a test compares them.
"""

import inspect
import re
from typing import Any

import msgspec
from msgspec import Struct

from worker.bundle import Manifest
from worker.messages import MESSAGES
from worker.models.deployment import Deployment

CONTRACTS: tuple[type[Struct], ...] = (*MESSAGES, Manifest, Deployment)
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def build_schemas() -> dict[str, bytes]:
    """File name -> JSON Schema, for every message, the bundle's manifest and the registry's deployment."""
    return {_file_name(contract): _encode(contract) for contract in CONTRACTS}


def _file_name(contract: type[Struct]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", contract.__name__).lower() + ".json"


def _encode(contract: type[Struct]) -> bytes:
    schema: dict[str, Any] = {"$schema": DIALECT, **msgspec.json.schema(contract)}
    for definition in schema["$defs"].values():
        definition["description"] = inspect.cleandoc(definition["description"])
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"

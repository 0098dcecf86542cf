"""What the trainer leaves beside the weights, in the SavedModel's ``assets.extra``. Needs no TensorFlow.

::

    assets.extra/
    ├── model.json         a `worker.bundle.ModelCard`
    ├── vocabulary.txt     one token a line; the line number is the id
    └── reference.jsonl    one {"text": ..., "label": ...} a line: the server's held-out examples
"""

import re
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from export.errors import SavedModelError
from worker import features
from worker.bundle import SCHEMA_VERSION, ModelCard, TextField, decode_vocabulary, encode_vocabulary
from worker.errors import FeatureError
from worker.features import TextEncoder
from worker.versioned import VersionedFile

DIRECTORY = "assets.extra"
CARD, VOCABULARY, REFERENCE = "model.json", "vocabulary.txt", "reference.jsonl"

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""The name becomes a directory below ``--out``: a separator or a leading dot would lead elsewhere, or hide it, and
file systems take only some 250 characters."""

MAX_TOKENS = 10_000
"""Parity is tried at every length: far longer rows would take hours and all memory."""

_CARD_FILE = VersionedFile(
    holds=ModelCard,
    version=SCHEMA_VERSION,
    called="a model card",
    read_by="this export",
    refusal=SavedModelError,
    if_other_version="Train the model again with this version, or export it with the version that trained it.",
    if_malformed="Save the model again.",
)

_READ_BY_THE_WORKER = {
    "vocabulary": VOCABULARY,
    "tokenizer": features.TOKENIZER,
    "normalizer": features.NORMALIZER,
    "pad_id": features.PAD_ID,
    "unknown_id": features.UNKNOWN_ID,
}
"""Attribute of `TextField` -> the one value that `worker.features` serves."""


class ReferenceExample(Struct, frozen=True):
    """A held-out example: golden records, probes and histograms come from these."""

    text: str
    label: str


class Reference(NamedTuple):
    """A held-out text, and the ids that the model reads."""

    text: str
    ids: list[int]


class Assets(NamedTuple):
    """The verified content of ``assets.extra``."""

    card: ModelCard
    field: TextField
    vocabulary: list[str]
    reference: list[Reference]
    """At least one; the texts are not empty."""


def read_assets(model: Path) -> Assets:
    """
    Args:
        model: directory of the SavedModel.

    Raises:
        SavedModelError: a file is missing or malformed; the message names it.
    """
    directory = model / DIRECTORY
    card = _CARD_FILE.decode(_read(directory / CARD), place=str(directory / CARD))
    field = _only_field(directory / CARD, card)
    vocabulary = _read_vocabulary(directory / VOCABULARY)
    encoder = TextEncoder(vocabulary, max_tokens=field.max_tokens)
    return Assets(card, field, vocabulary, _read_reference(directory / REFERENCE, encoder, card.labels))


def check_name(name: str) -> None:
    """
    Raises:
        SavedModelError: `name` cannot be a directory's name.
    """
    if not SAFE_NAME.fullmatch(name):
        raise SavedModelError(
            f"the name {name!r} cannot name a bundle: use up to 100 letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit (or give --name)."
        )


def _only_field(path: Path, card: ModelCard) -> TextField:
    if len(card.fields) != 1:
        raise SavedModelError(f"{path} names {len(card.fields)} fields; a classifier reads exactly one text field.")
    field = card.fields[0]
    for attribute, value in _READ_BY_THE_WORKER.items():
        if getattr(field, attribute) != value:
            raise SavedModelError(
                f"{path}: field {field.name!r} has {attribute} {getattr(field, attribute)!r}, "
                f"but the worker knows only {value!r}. Train the model with that one."
            )
    if not 1 <= field.max_tokens <= MAX_TOKENS:
        raise SavedModelError(
            f"{path}: field {field.name!r} has max_tokens {field.max_tokens}; it must be from 1 to {MAX_TOKENS:,}."
        )
    if len(set(card.labels)) != len(card.labels) or not card.labels:
        raise SavedModelError(f"{path}: labels must be present and distinct, not {card.labels}.")
    return field


def _read_vocabulary(path: Path) -> list[str]:
    data = _read(path)
    try:
        vocabulary = decode_vocabulary(data)
        is_whole = encode_vocabulary(vocabulary) == data
    except ValueError as error:
        raise SavedModelError(f"{path} is not a vocabulary: {error}. Save the model again.") from error
    if not is_whole:
        raise SavedModelError(f"{path} is not a vocabulary: the last line does not end. Save the model again.")
    if vocabulary[:2] != [features.PAD, features.UNKNOWN]:
        raise SavedModelError(
            f"{path} must begin with the lines {features.PAD} and {features.UNKNOWN}, not with {vocabulary[:2]}: "
            "otherwise a word would be read as padding."
        )
    return vocabulary


def _read_reference(path: Path, encoder: TextEncoder, labels: list[str]) -> list[Reference]:
    reference = []
    for number, line in enumerate(_read(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            example = msgspec.json.decode(line, type=ReferenceExample)
            reference.append(Reference(example.text, encoder.encode(example.text).ids))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, FeatureError) as error:
            raise SavedModelError(f"{path}, line {number}: {error}") from error
        if example.label not in labels:
            raise SavedModelError(f"{path}, line {number}: label {example.label!r} is none of {', '.join(labels)}.")
    if not reference:
        raise SavedModelError(
            f"{path} is empty: golden records, probes and drift histograms need held-out texts. "
            "Save the model with at least one held-out example."
        )
    return reference


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SavedModelError(
            f"{path} cannot be read: {error.strerror}. Export a model that `python -m federated train` saved."
        ) from error

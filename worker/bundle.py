"""The artifact contract: a bundle is a directory ``<name>/<version>/`` that says everything about the model in it.

::

    support-messages/3f6c.../
    ├── manifest.json       this module's `Manifest`
    ├── model.onnx          one or more graphs
    ├── vocabulary.txt      one token a line; the line number is the id
    ├── golden.jsonl        `GoldenRecord`s: events and the answers that the model must give
    └── signature.json      who vouches for it, if anybody does: `worker.signature`

``version`` is the sha256 of the canonical manifest without ``version`` and ``created_at``; the digests of all other
files stand in the manifest, so the version covers every byte. A bundle is written beside its final place and renamed;
loading verifies all of it and keeps the bytes that were verified, so nothing that changes on disk later can be served.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from worker import files as durable
from worker.errors import BundleDigestError, BundleError, BundleSchemaError
from worker.privacy import PrivacyCard
from worker.versioned import VersionedFile

if TYPE_CHECKING:
    # Cryptography takes 9 MB: only who verifies signatures loads it.
    from worker.signature import TrustedKeys

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 16 << 20
MAX_FILE_BYTES = 2 << 30
"""No ONNX graph is larger, and a file that is not read cannot fill the memory before its digest is known."""
PROBABILITIES = "probabilities"
"""Graph output of a ``classify`` model, `[B, C]`."""
Privacy = Literal["none"] | PrivacyCard
"""Training without differential privacy promises nothing, and says so."""


class Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """A graph input or output."""

    name: str
    datatype: str
    """In the words of the Open Inference Protocol: ``INT32``, ``FP32``, ..."""
    shape: list[int]
    """-1 where the size is free."""


class Graph(Struct, frozen=True, forbid_unknown_fields=True):
    """One ONNX file. Outputs are fetched by name: their order in the file means nothing."""

    file: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class TextField(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="text"):
    """A text that the event carries, and how it becomes token ids."""

    name: str
    input: str
    """Graph input that takes the ids, `[B, T]`."""
    vocabulary: str
    """File with one token a line."""
    max_tokens: int
    """Longer texts are cut, and their attention says ``truncated``."""
    tokenizer: str = "words_and_han"
    normalizer: str = "nfkc_casefold"
    pad_id: int = 0
    unknown_id: int = 1


class AttentionAxes(Struct, frozen=True, forbid_unknown_fields=True):
    """What an attention tensor means."""

    name: str
    output: str
    """Graph output that holds the weights, `[B, T]`."""
    field: str
    axes: list[str]
    """Meaning of each axis after the batch, e.g. ``["token"]``."""


class Parity(Struct, frozen=True, forbid_unknown_fields=True):
    """How close ONNX Runtime came to TensorFlow, over probabilities and attention."""

    max_abs_diff: float
    probes: int


class Histogram(Struct, frozen=True, forbid_unknown_fields=True):
    """What the model saw at export: drift is measured on it. Bin i is ``[edges[i], edges[i + 1])``, the last closed."""

    edges: list[float]
    counts: list[int]


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the model comes from."""

    preset: str
    engine: str
    rounds: int
    clients: int
    seed: int
    seconds: float
    metrics: dict[str, float]
    """Held-out metrics of the weights that were saved."""
    library_versions: dict[str, str]


class ModelCard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the trainer leaves in ``assets.extra/model.json`` of the SavedModel, beside ``vocabulary.txt`` and
    ``reference.jsonl`` (one ``{"text": ..., "label": ...}`` a line, from the server's own held-out examples).

    These fields go into the manifest as they are.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    task: Literal["classify"]
    fields: list[TextField]
    attention: list[AttentionAxes]
    """Empty for a model that has no attention."""
    labels: list[str]
    training: Training
    privacy: Privacy


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a consumer has to know to run the model."""

    schema_version: int = SCHEMA_VERSION
    name: str
    version: str
    created_at: str
    """RFC 3339, UTC."""
    task: Literal["classify"]
    fields: list[TextField]
    graphs: list[Graph]
    attention: list[AttentionAxes]
    labels: list[str]
    """Label of each class, in the order of the probabilities."""
    files: dict[str, str]
    """File -> sha256, for every file but the manifest."""
    opset: int
    parity: Parity
    golden: str
    """File with one `GoldenRecord` a line."""
    histograms: dict[str, Histogram]
    """``score``, ``label``, ``tokens``, ``unknown_share``."""
    training: Training
    privacy: Privacy


_MANIFEST_FILE = VersionedFile(
    holds=Manifest,
    version=SCHEMA_VERSION,
    called="a manifest",
    read_by="this worker",
    refusal=BundleSchemaError,
    if_other_version="Export the model again, or run the worker of that version.",
    if_malformed="Export the model again.",
)


class GoldenRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """An event and the answer that the model must give to it."""

    event: dict[str, str]
    probabilities: list[float]
    attention: dict[str, list[float]]
    """Attention name -> weights, unpadded."""


class Bundle(Struct, frozen=True):
    """A verified bundle in memory."""

    path: Path
    manifest: Manifest
    contents: dict[str, bytes]
    """File -> the very bytes that were hashed."""

    def without_graphs(self) -> "Bundle":
        """What is still needed of it when ONNX Runtime has read the graphs, which are most of its bytes."""
        graphs = {graph.file for graph in self.manifest.graphs}
        return msgspec.structs.replace(self, contents={n: c for n, c in self.contents.items() if n not in graphs})

    def vocabulary(self, field: TextField) -> list[str]:
        """Tokens of `field` by id."""
        return decode_vocabulary(self.contents[field.vocabulary])

    def golden_records(self) -> list[GoldenRecord]:
        """Events with the answers that the model must give."""
        return msgspec.json.Decoder(GoldenRecord).decode_lines(self.contents[self.manifest.golden])


def encode_vocabulary(tokens: list[str]) -> bytes:
    """One token a line; the first line is id 0.

    Raises:
        ValueError: a token holds a line break.
    """
    if any("\n" in token or "\r" in token for token in tokens):
        raise ValueError("a vocabulary token may not hold a line break")
    return "".join(f"{token}\n" for token in tokens).encode()


def decode_vocabulary(data: bytes) -> list[str]:
    """The inverse of `encode_vocabulary`."""
    return data.decode().split("\n")[:-1]


def compute_version(manifest: Manifest) -> str:
    """Sha256 of the manifest in canonical JSON (sorted keys, no spaces) without ``version`` and ``created_at``."""
    fields = msgspec.to_builtins(manifest)
    del fields["version"], fields["created_at"]
    return sha256(msgspec.json.encode(fields, order="sorted"))


def canonical_manifest(manifest: Manifest) -> bytes:
    """All of the manifest in canonical JSON: what a signature is over."""
    return msgspec.json.encode(manifest, order="sorted")


def sha256(data: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def write_bundle(out: Path, contents: Mapping[str, bytes], **fields: Any) -> Path:
    """Writes ``out/<name>/<version>/``; what is there already under that version is the same bundle and stays.

    Args:
        out: directory that holds bundles.
        contents: file name -> bytes, all but the manifest.
        fields: the fields of `Manifest` but ``version``, ``created_at``, ``files`` and ``schema_version``.

    Returns:
        The bundle's directory.
    """
    draft = Manifest(
        **fields,
        files={name: sha256(data) for name, data in sorted(contents.items())},
        version="",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    manifest = msgspec.structs.replace(draft, version=compute_version(draft))
    path = out / manifest.name / manifest.version
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    try:
        durable.write_directory(path, lambda directory: durable.write_files(directory, {**contents, MANIFEST: text}))
    except OSError:
        if not path.exists():  # otherwise it was there, or another export was faster
            raise
        try:
            load_bundle(path)
        except BundleError as error:
            raise type(error)(f"{path} is there already, and damaged: {error} Remove it first.") from error
    return path


def load_bundle(path: Path, *, keys: "TrustedKeys | None" = None) -> Bundle:
    """Reads and verifies a bundle.

    Args:
        path: its directory.
        keys: one of them must have signed it; by default signatures are not looked at.

    Raises:
        BundleError: there is no bundle at `path`.
        BundleSignatureError: none of `keys` has signed it.
        BundleSchemaError: the manifest is malformed or follows another schema version.
        BundleDigestError: a file is missing, differs from its digest or lies outside the bundle.
    """
    try:
        text = durable.read_file(path / MANIFEST, most_bytes=MAX_MANIFEST_BYTES)
    except OSError as error:
        raise BundleError(
            f"no bundle at {path}: {error.strerror} ({MANIFEST}). Give the directory that `python -m export` printed."
        ) from error
    manifest = decode_manifest(text, place=str(path / MANIFEST))
    if compute_version(manifest) != manifest.version:
        raise BundleDigestError(
            f"{path / MANIFEST} was changed after it was written: its content does not give version "
            f"{manifest.version}. Export the model again."
        )
    if keys is not None:
        keys.require_signature(path, canonical_manifest(manifest))
    contents = {name: _read_verified(path, name, digest) for name, digest in manifest.files.items()}
    named = {manifest.golden, *(g.file for g in manifest.graphs), *(f.vocabulary for f in manifest.fields)}
    if missing := sorted(named - contents.keys()):
        raise BundleDigestError(f"{path / MANIFEST} names files without a digest: {', '.join(missing)}.")
    bundle = Bundle(path=path, manifest=manifest, contents=contents)
    if problem := _find_contradiction(bundle):
        raise BundleSchemaError(f"{path / MANIFEST}: {problem}. Export the model again.")
    return bundle


def _find_contradiction(bundle: Bundle) -> str | None:
    """What would only fail later, when a record is scored."""
    manifest = bundle.manifest
    if not (len(manifest.fields) == len(manifest.graphs) == 1):
        return f"{len(manifest.fields)} fields and {len(manifest.graphs)} graphs; this worker runs one of each"
    outputs = {tensor.name: tensor for tensor in manifest.graphs[0].outputs}
    if unknown := [axes.output for axes in manifest.attention if axes.output not in outputs]:
        return f"attention names {', '.join(unknown)}, which the graph does not give out"
    probabilities = outputs.get(PROBABILITIES)
    if probabilities is None or probabilities.shape[-1:] != [len(manifest.labels)]:
        return f"the graph's {PROBABILITIES} do not have one column for each of {len(manifest.labels)} labels"
    try:
        golden = bundle.golden_records()
        bundle.vocabulary(manifest.fields[0])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"its golden records or its vocabulary cannot be read ({error})"
    names = {axes.name for axes in manifest.attention}
    for record in golden:
        if manifest.fields[0].name not in record.event or record.attention.keys() != names:
            return "a golden record lacks the model's field or an attention"
    return None if golden else "there is no golden record"


def decode_manifest(text: bytes, *, place: str) -> Manifest:
    """Reads a manifest, which is at `place`.

    Raises:
        BundleSchemaError: it is malformed, or follows another schema version.
    """
    return _MANIFEST_FILE.decode(text, place=place)


def _read_verified(path: Path, name: str, digest: str) -> bytes:
    try:
        target = (path / name).resolve()
        if not target.is_relative_to(path.resolve()):
            raise BundleDigestError(
                f"{path / MANIFEST} names a file outside the bundle: {name!r}. Do not use this bundle."
            )
        data = durable.read_file(target, most_bytes=MAX_FILE_BYTES)
    except (OSError, ValueError, RuntimeError) as error:  # the last two: a NUL in the name, a link to itself
        raise BundleDigestError(
            f"{name!r} in {path} cannot be read: {error}. Copy or export the bundle again."
        ) from error
    if sha256(data) != digest:
        raise BundleDigestError(f"{target} differs from its digest in {MANIFEST}. Copy or export the bundle again.")
    return data

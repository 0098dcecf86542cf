"""The whole way from a SavedModel's directory to a bundle's. Nothing is written before everything was checked."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from export import golden
from export.assets import VOCABULARY, Assets, check_name, read_assets
from export.convert import GRAPH_FILE, OPSET, Converted, convert
from export.errors import ExportError
from export.histograms import build_histograms
from export.parity import check_parity
from export.probes import build_probes
from export.saved_model import SavedModelScorer, check_saved_model, load_saved_model
from worker.bundle import Bundle, Manifest, Parity, encode_vocabulary, write_bundle
from worker.scorer import OnnxScorer

NOTE = "note"
"""Step name of something that deserves attention, though the export goes on."""

Report = Callable[[str, str], None]
"""Takes what was done and how it went."""


class Exported(Struct, frozen=True):
    """What an export did; ``--json`` writes it."""

    bundle: str
    name: str
    version: str
    max_abs_diff: float
    probes: int
    opset: int
    seconds: float


def export_model(model: Path, out: Path, *, name: str | None = None, report: Report) -> Exported:
    """Writes ``out/<name>/<version>/``.

    Args:
        model: directory of a SavedModel with ``assets.extra``.
        out: directory that holds bundles.
        name: the bundle's name; default: the model card's.
        report: told about each step.

    Raises:
        ExportError: the model cannot be exported; nothing was written.
    """
    start = time.monotonic()
    check_saved_model(model)
    assets = read_assets(model)
    name = name or assets.card.name
    check_name(name)
    saved = load_saved_model(model, assets)
    converted = convert(saved)
    report("converted", _describe(converted))
    if converted.loops:
        report(NOTE, f"{converted.loops} recurrences run as ONNX Loops: exact, but slow for small batches")

    fields = _manifest_fields(assets, converted, name)
    scorer = OnnxScorer(_draft(fields, converted))
    texts = [item.ids for item in assets.reference]
    probes = build_probes(texts, vocabulary_size=len(assets.vocabulary), max_tokens=assets.field.max_tokens)
    parity = check_parity(scorer, SavedModelScorer(saved, assets.card.attention), probes)
    report("parity", f"{parity.max_abs_diff:.1e} over {parity.probes} rows, probabilities and attention")

    records = golden.build_golden_records(scorer, assets.reference, field=assets.field.name)
    fields["parity"] = parity
    fields["histograms"] = build_histograms(
        scorer, texts, classes=len(assets.card.labels), max_tokens=assets.field.max_tokens
    )
    contents = {
        GRAPH_FILE: converted.onnx,
        VOCABULARY: encode_vocabulary(assets.vocabulary),
        golden.FILE: golden.encode_golden_records(records),
    }
    try:
        path = write_bundle(out, contents, **fields)
    except OSError as error:
        raise ExportError(f"the bundle cannot be written below {out}: {error}. Give another --out.") from error
    report("written", f"{sum(map(len, contents.values())):,} bytes, {len(records)} golden records")
    return Exported(
        bundle=str(path),
        name=name,
        version=path.name,
        max_abs_diff=parity.max_abs_diff,
        probes=parity.probes,
        opset=OPSET,
        seconds=round(time.monotonic() - start, 3),
    )


def _manifest_fields(assets: Assets, converted: Converted, name: str) -> dict[str, Any]:
    card = msgspec.structs.asdict(assets.card)
    del card["schema_version"]
    return {
        **card,
        "name": name,
        "graphs": [converted.graph],
        "opset": OPSET,
        "golden": golden.FILE,
        "parity": Parity(max_abs_diff=0.0, probes=0),
        "histograms": {},
    }


def _draft(fields: dict[str, Any], converted: Converted) -> Bundle:
    """The bundle as far as the worker's scorer needs it, in memory: parity has to be known before it is written."""
    manifest = Manifest(**fields, version="", created_at="", files={})
    return Bundle(path=Path("draft"), manifest=manifest, contents={GRAPH_FILE: converted.onnx})


def _describe(converted: Converted) -> str:
    how = f"{converted.fused} fused recurrent nodes read sequence_lens" if converted.fused else "no fused recurrent node"
    return f"signature {converted.signature!r} to ONNX opset {OPSET}, {len(converted.onnx):,} bytes; {how}"

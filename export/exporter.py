"""The whole way from a SavedModel's directory to a bundle's. Nothing is written before everything was checked."""

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from export import golden
from export.assets import VOCABULARY, check_name, read_assets
from export.convert import GRAPH_FILE, OPSET, Converted, convert
from export.errors import ExportError
from export.histograms import build_histograms
from export.manifest import build_fields, build_scorer
from export.parity import check_parity
from export.probes import build_probes
from export.saved_model import SavedModelScorer, check_saved_model, load_saved_model
from worker.bundle import encode_vocabulary, write_bundle

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
    name = assets.card.name if name is None else name
    check_name(name)
    saved = load_saved_model(model, assets)
    converted = convert(saved)
    report("converted", _describe(converted))
    if converted.loops:
        report(NOTE, "the encoder became an ONNX Loop, which is exact but slow for small batches")

    scorer = build_scorer(assets, converted)
    texts = [item.ids for item in assets.reference]
    probes = build_probes(texts, vocabulary_size=len(assets.vocabulary), max_tokens=assets.field.max_tokens)
    parity = check_parity(scorer, SavedModelScorer(saved, assets.card.attention), probes)
    report("parity", f"{parity.max_abs_diff:.1e} over {parity.probes} rows in padded batches")

    records = golden.build_golden_records(scorer, assets.reference, field=assets.field.name)
    histograms = build_histograms(scorer, texts, classes=saved.classes, max_tokens=assets.field.max_tokens)
    contents = {
        GRAPH_FILE: converted.onnx,
        VOCABULARY: encode_vocabulary(assets.vocabulary),
        golden.FILE: golden.encode_golden_records(records),
    }
    fields = build_fields(assets, converted, name=name, parity=parity, histograms=histograms)
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


def _describe(converted: Converted) -> str:
    return (
        f"signature {converted.signature!r} to ONNX opset {OPSET}, {len(converted.onnx):,} bytes, "
        f"{converted.fused} fused recurrent nodes"
    )

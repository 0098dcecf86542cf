"""The manifest's fields, and the scorer that has to run before they are complete."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from export import golden
from export.assets import Assets
from export.convert import OPSET, Converted
from worker.bundle import Bundle, Histogram, Manifest, Parity
from worker.scorer import OnnxScorer


def build_fields(
    assets: Assets, converted: Converted, *, name: str, parity: Parity, histograms: Mapping[str, Histogram]
) -> dict[str, Any]:
    """What `worker.bundle.write_bundle` takes: the model card's fields and what the export found out."""
    card = msgspec.structs.asdict(assets.card)
    del card["schema_version"]
    return {
        **card,
        "name": name,
        "graphs": [converted.graph],
        "opset": OPSET,
        "parity": parity,
        "golden": golden.FILE,
        "histograms": dict(histograms),
    }


def build_scorer(assets: Assets, converted: Converted) -> OnnxScorer:
    """The worker's own scorer on a bundle in memory: parity has to be known before anything is written.

    Raises:
        BundleTensorError: ONNX Runtime reports other tensors than the manifest would.
    """
    fields = build_fields(assets, converted, name=assets.card.name, parity=Parity(0.0, 0), histograms={})
    manifest = Manifest(**fields, version="", created_at="", files={})
    return OnnxScorer(Bundle(Path("draft"), manifest, {converted.graph.file: converted.onnx}))

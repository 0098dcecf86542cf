"""Command lines of the programs that the demo runs as children."""

from collections.abc import Mapping
from pathlib import Path

from deploy.local.demo.options import LabelledFile
from deploy.local.demo.topics import Topics

Arguments = list[str | Path]

GENERATED_PRESET = "demo"
DATA_PRESET = "reviews"


def broker(*, ready_file: Path) -> Arguments:
    """One real broker; writes its address to `ready_file` once it serves."""
    return ["deploy.local", "broker", "--ready-file", ready_file]


def generate(records: int, seed: int, output: Path) -> Arguments:
    """Messages to stream."""
    return ["federated", "generate", "--records", str(records), "--seed", str(seed), "--output", output]


def split(data: LabelledFile, *, train: Path, heldout: Path) -> Arguments:
    """The user's file in two."""
    fields = ["--text-field", data.text_field, "--label-field", data.label_field]
    return ["federated", "split", "--data", data.path, *fields, "--train-output", train, "--heldout-output", heldout]


def train(*, data: Path | None, rounds: int | None, model: Path, report: Path) -> Arguments:
    """Federated rounds, on generated messages or on the canonical file that `split` wrote."""
    preset = GENERATED_PRESET if data is None else DATA_PRESET
    source: Arguments = [] if data is None else ["--data", data, "--text-field", "text", "--label-field", "label"]
    length: Arguments = [] if rounds is None else ["--rounds", str(rounds)]
    return ["federated", "train", "--preset", preset, *source, *length, "--out", model, "--json", report]


def export(model: Path, *, bundles: Path, report: Path) -> Arguments:
    """SavedModel to bundle."""
    return ["export", "--model", model, "--out", bundles, "--json", report]


def check_bundle() -> Arguments:
    """What a worker would say of a bundle, in a moment and without a broker; it is named in the environment."""
    return ["worker", "config", "check", "--offline"]


def worker(*, ready_file: Path) -> Arguments:
    """One worker; its settings travel in the environment."""
    return ["worker", "run", "--ready-file", ready_file]


def worker_environment(*, bootstrap_servers: str, bundle: Path, topics: Topics, instance: str) -> Mapping[str, str]:
    """Settings of one worker."""
    return {
        "LIMELIGHT_BOOTSTRAP_SERVERS": bootstrap_servers,
        "LIMELIGHT_BUNDLE": str(bundle),
        "LIMELIGHT_INPUT_TOPIC": topics.events,
        "LIMELIGHT_OUTPUT_TOPIC": topics.predictions,
        "LIMELIGHT_DEAD_LETTER_TOPIC": topics.dead_letters,
        "LIMELIGHT_STATUS_TOPIC": topics.status,
        "LIMELIGHT_GROUP_ID": topics.group,
        "LIMELIGHT_INSTANCE_ID": instance,
        "LIMELIGHT_HEALTH_PORT": "0",
        "LIMELIGHT_LOG_FORMAT": "console",
    }

"""Whether a bundle can give the labels of the user's data. If not, its accuracy on them would mean nothing."""

from pathlib import Path

import msgspec

from deploy.local.demo.errors import DemoError

MAX_NAMED = 5


class _Manifest(msgspec.Struct):
    labels: list[str]


class _Line(msgspec.Struct):
    label: str


def check_labels(lines: Path, *, source: Path, bundle: Path) -> None:
    """Compares the labels of what will be streamed with the model's.

    Args:
        lines: the part of the data that is kept from training, as JSON Lines.
        source: the user's file, for the message.
        bundle: the model that will score it.

    Raises:
        DemoError: the model does not know a label, or the manifest cannot be read.
    """
    manifest = bundle / "manifest.json"
    try:
        known = msgspec.json.decode(manifest.read_bytes(), type=_Manifest).labels
    except (OSError, msgspec.DecodeError) as error:
        raise DemoError(f"{manifest} cannot be read: {error}. Export the model again.") from error
    decoder = msgspec.json.Decoder(_Line)
    with lines.open("rb") as file:
        found = {decoder.decode(line).label for line in file}
    if unknown := sorted(found - set(known)):
        names = ", ".join(map(repr, unknown[:MAX_NAMED])) + (", ..." if len(unknown) > MAX_NAMED else "")
        raise DemoError(
            f"{source} has labels that the model in {bundle} does not know: {names}; it knows {', '.join(known)}. "
            "Choose another --label-field, rename the labels in the file, or leave --bundle out to train on the file."
        )

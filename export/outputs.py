"""Where an export writes to, checked before it converts anything."""

import os
import tempfile
from pathlib import Path

from export.errors import ExportError


def check_outputs(bundles: Path, *, report: Path | None) -> None:
    """Makes sure that everything can be written, and leaves nothing behind.

    Args:
        bundles: directory that holds bundles; made if it is missing.
        report: file for what was done, if any; its directory must exist.

    Raises:
        ExportError: one of them cannot be written.
    """
    places = {"--out": next(place for place in (bundles, *bundles.parents) if os.path.lexists(place))}
    if report:
        if report.is_dir():
            raise ExportError(f"cannot write {report}: it is a directory. Change --json.")
        places["--json"] = report.parent
    for flag, place in places.items():
        try:
            # Only trying tells of a read-only disk. Hidden, because workers look for models in the first place.
            with tempfile.TemporaryDirectory(dir=place, prefix="."):
                pass
        except OSError as error:
            raise ExportError(f"cannot write below {place}: {error.strerror}. Change {flag}.") from error

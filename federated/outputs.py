"""Where a run writes to, checked before it spends minutes on training."""

import os
from pathlib import Path

from federated.errors import OutputError


def check_outputs(model: Path, *, figures: Path | None) -> None:
    """Makes the directory that will hold the model, and makes sure that both outputs can be written.

    Args:
        model: directory that must not exist yet.
        figures: file for the run's figures, if any.

    Raises:
        OutputError: one of them cannot be written.
    """
    if model.exists():
        raise OutputError(f"{model} exists already. Remove it, or name another directory with --out.")
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make {model.parent}: {error.strerror}. Name another directory with --out."
        ) from error
    for path, flag in (model, "--out"), (figures, "--json"):
        if path and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise OutputError(f"cannot write {path}: {path.parent} is no directory of yours. Change {flag}.")

"""Where a training run writes to, checked before it spends minutes on training."""

import os
import tempfile
from pathlib import Path

from federated.errors import OutputError
from worker.files import write_file

ROUNDS = "rounds.jsonl"
TENSORBOARD = "tensorboard"
"""Both in the directory of the logs, see `federated.records`."""


def check_outputs(model: Path, *, log_dir: Path, figures: Path | None, data: Path | None) -> None:
    """Makes sure that everything can be written, and leaves nothing behind.

    Args:
        model: directory that must not exist yet.
        log_dir: directory that may exist, with the logs of earlier runs.
        figures: file for the run's figures, if any; its directory must exist.
        data: file that is read, if any; it must not be replaced.

    Raises:
        OutputError: one of them cannot be written.
    """
    # A link that leads nowhere does not exist either, and yet no directory can take its name.
    if os.path.lexists(os.path.normpath(model)):
        raise OutputError(f"{model} exists already. Remove it, or name another directory with --out.")
    where, logs = (Path(os.path.realpath(path)) for path in (model, log_dir))
    if logs.is_relative_to(where):
        raise OutputError(f"the logs cannot be in {model}, which is made when they are complete. Change --log-dir.")
    _try("--out", model)
    _try("--log-dir", log_dir / ROUNDS)
    _try("--log-dir", log_dir / TENSORBOARD / "events")
    if figures:
        if not figures.parent.is_dir():
            raise OutputError(f"cannot write {figures}: there is no directory {figures.parent}. Create it first.")
        taken = {where, logs, logs / ROUNDS, *([Path(os.path.realpath(data))] if data else [])}
        if Path(os.path.realpath(figures)) in taken:
            raise OutputError(f"{figures} cannot hold the figures: the run keeps something else there. Change --json.")
        _try("--json", figures)


def write_output(path: Path, content: bytes) -> None:
    """Writes a file that a person asked for, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        write_file(path, content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. Make room, or name another file.") from error


def _try(flag: str, path: Path) -> None:
    """Makes files with the names that would be made: only trying tells of a long name or a read-only disk."""
    place = path
    try:
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a directory. Change {flag}.")
        # A device or a pipe is written to as it is.
        if path.exists() and not path.is_file():
            return
        place = next(directory for directory in path.parents if os.path.lexists(directory))
        for name in path.relative_to(place).parts:
            with tempfile.TemporaryDirectory(dir=place, prefix=f".{name}."):
                pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {place}: {error.strerror}. Change {flag}.") from error

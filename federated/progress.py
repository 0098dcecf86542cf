"""What a person sees while a run trains: a progress bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from msgspec import UNSET
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.messages import RoundRecord


@contextlib.contextmanager
def show_progress(rounds: int) -> Iterator[Callable[[RoundRecord], None]]:
    """Shows rounds on standard error, where they cannot mix with a command's result.

    Args:
        rounds: how many there will be.

    Yields:
        Takes the record of each round as soon as it is over.
    """
    note = _build_note()
    if not sys.stderr.isatty():
        yield lambda record: print(*note(record), describe(record), sep="\n", file=sys.stderr, flush=True)
        return
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=rounds)
        heldout = ""

        def update(record: RoundRecord) -> None:
            nonlocal heldout
            heldout = _describe_heldout(record) or heldout
            for line in note(record):
                progress.console.print(line)
            progress.update(task, completed=record.round, description=f"{_describe_training(record)}{heldout}")

        yield update


def _build_note() -> Callable[[RoundRecord], list[str]]:
    """Builds what says once in a run, for the first such round, that fewer clients were there than asked for."""
    noted = False

    def note(record: RoundRecord) -> list[str]:
        nonlocal noted
        if noted or not (missing := record.train.get("missing")):
            return []
        noted = True
        return [f"note: round {record.round} lacks {missing:.0f} clients that were asked for; see train.missing"]

    return note


def describe(record: RoundRecord) -> str:
    """A round in one line."""
    private = "epsilon" in record.train
    cohort = "a private cohort" if private else f"{len(record.clients)} clients, {record.examples} examples"
    said = ", ".join(filter(None, (f"{record.seconds:.1f} s", cohort, _describe_training(record))))
    return f"round {record.round}/{record.rounds}: {said}{_describe_heldout(record)}"


def _describe_training(record: RoundRecord) -> str:
    train = record.train
    if "skipped" in train:
        return "skipped, because too few clients answered"
    # Of a private round there is none where nobody came, or where clients keep their figures to themselves.
    parts = [f"loss {train['loss']:.3f}"] if "loss" in train else []
    if train.get("refused"):
        parts.append(f"{train['refused']:.0f} updates refused, not finite")
    if "epsilon" in train:
        parts.append(f"epsilon {train['epsilon']:.2f}")
    return ", ".join(parts)


def _describe_heldout(record: RoundRecord) -> str:
    if record.heldout is UNSET:
        return ""
    return f", held-out accuracy {record.heldout['accuracy']:.3f}, macro-F1 {record.heldout['macro_f1']:.3f}"

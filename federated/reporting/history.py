"""Reads the records of a run back from its logs."""

from pathlib import Path

import msgspec

from federated.errors import DataError
from federated.outputs import ROUNDS
from worker.messages import RoundRecord


def load_history(logs: Path, *, run: str | None = None) -> list[RoundRecord]:
    """Records of one run, in the order of the rounds.

    A run that was resumed may have written a round twice; the later record counts. A last line that is not complete is
    passed over: the run may still be writing it.

    Args:
        logs: the run's directory.
        run: its name; the last one in the file if it is not given.

    Raises:
        DataError: there are no records, or a line is damaged.
    """
    path = logs / ROUNDS
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Name the logs of a run.") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(msgspec.json.decode(line, type=RoundRecord))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {number} is not a round's record: {error}.") from error
    if not records:
        raise DataError(f"{path} holds no rounds yet. Wait for the first one.")
    name = run or records[-1].run
    rounds = {record.round: record for record in records if record.run == name}
    if not rounds:
        raise DataError(f"{path} holds no run {name!r}.")
    return [rounds[number] for number in sorted(rounds)]

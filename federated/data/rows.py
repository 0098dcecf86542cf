"""Files as rows: CSV, JSON Lines and Parquet, told apart by the ending of the name.

Every kind yields ``(place, row)``: where the row stands, for messages, and its values by column. Rows are counted from
1; neither the CSV header nor a blank line is a row. Where a row can span lines, or lines can be blank, the place names
the line too, the last one of the row.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import msgspec

from federated.errors import DataError

_SURROGATE = re.compile("[\udc80-\udcff]")
"""A byte that is not UTF-8, as the ``surrogateescape`` decoder leaves it."""

Rows = Iterator[tuple[str, Mapping[str, Any]]]

MAX_CSV_FIELD_CHARACTERS = 16 * 2**20
"""Python's own limit of 131,072 refuses long documents; without any, a file of one endless field would fill memory."""
PARQUET_BATCH_ROWS = 10_000


def read_rows(path: Path) -> Rows:
    """Reads `path` row by row.

    Raises:
        DataError: the file is missing, of an unknown kind or damaged; the message names the row.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path} is of an unknown kind. Give a file that ends in {', '.join(_READERS)}.")
    try:
        yield from read(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Check the name and its permissions.") from error


def _csv_rows(path: Path) -> Rows:
    # Surrogates carry bad bytes through the decoder, so that the row they stand in can be named.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file, _wide_csv_fields():
        lines = _csv_lines(path, file)
        _, header = next(lines, ("", []))
        _check_columns(path, header)
        for place, values in lines:
            if len(values) != len(header):
                raise DataError(
                    f"{place} has {len(values)} values for {len(header)} columns. Put texts that hold commas in quotes."
                )
            yield place, dict(zip(header, values, strict=True))


def _csv_lines(path: Path, file: TextIO) -> Iterator[tuple[str, list[str]]]:
    # Strict: otherwise a quote that is never closed swallows the rest of the file in silence.
    lines = csv.reader(file, strict=True)
    number = 0

    def place() -> str:
        return f"{path}, {f'row {number}' if number else 'header'} (line {lines.line_num})"

    try:
        for values in filter(None, lines):
            if _SURROGATE.search("".join(values)):
                raise DataError(f"{place()} is not UTF-8. Save the file as UTF-8.")
            yield place(), values
            number += 1
    except csv.Error as error:
        raise DataError(f"{place()} is not valid CSV: {error}. Repair it, or write the file again.") from error


def _check_columns(path: Path, names: Sequence[str]) -> None:
    # Spreadsheets leave columns without a name at the end; nobody can ask for those.
    if repeated := [name for name, count in Counter(names).items() if count > 1 and name.strip()]:
        raise DataError(f"{path} has more than one column {repeated[0]!r}. Rename or remove all but one.")


@contextmanager
def _wide_csv_fields() -> Iterator[None]:
    limit = csv.field_size_limit(MAX_CSV_FIELD_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _json_rows(path: Path) -> Rows:
    number = 0
    with path.open("rb") as file:
        for line_number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            number += 1
            place = f"{path}, row {number} (line {line_number})"
            try:
                yield place, msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"), type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise DataError(f"{place} is not a JSON object: {error}. Write one object on each line.") from error


def _parquet_rows(path: Path) -> Rows:
    # pyarrow is big, and whoever reads no Parquet can do without it.
    from pyarrow import ArrowException, parquet  # noqa: PLC0415

    number = 0
    with path.open("rb") as file:
        try:
            table = parquet.ParquetFile(file)
            _check_columns(path, table.schema_arrow.names)
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
        except (ArrowException, ValueError, OverflowError) as error:
            # The last two: a string that is not UTF-8, or a time that Python cannot hold, in whichever column.
            raise DataError(f"{path} is damaged after row {number}: {error}. Write it again.") from error


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
}

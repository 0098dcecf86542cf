"""Files as rows: CSV, JSON Lines, Parquet and SQLite, told apart by the ending of the name.

Every kind yields ``(place, row)``: where the row stands, for messages, and its values by column. Rows are counted from
1; neither the CSV header nor a blank line is a row. Where a row can span lines, or lines can be blank, the place names
the line too, the last one of the row.
"""

import csv
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
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


def read_rows(path: Path, *, table: str | None = None) -> Rows:
    """Reads `path` row by row.

    Args:
        path: the file.
        table: which table of a database to read; not needed where it has only one.

    Raises:
        DataError: the file is missing, of an unknown kind or damaged, and the message names the row; or `table` is
            needed, does not exist or does not apply.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{path} is of an unknown kind. Give a file that ends in {', '.join(KINDS)}.")
    if table and kind not in _DATABASES:
        raise DataError(f"{path} has no tables. Leave the table out, or name a database ({', '.join(_DATABASES)}).")
    try:
        yield from _sqlite_rows(path, table) if kind in _DATABASES else _READERS[kind](path)
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


def _sqlite_rows(path: Path, table: str | None) -> Rows:
    # SQLite would say only that it cannot open the file; this says why.
    path.open("rb").close()
    number = 0
    try:
        # `as_uri` escapes the characters that mean something in a URI; nothing is written beside the file.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            name = _choose_table(path, database, table).replace('"', '""')
            rows = database.execute(f'SELECT * FROM "{name}"')  # noqa: S608 - a name that the database itself gave
            columns = [column for column, *_ in rows.description]
            for values in rows:
                number += 1
                yield f"{path}, row {number}", dict(zip(columns, values, strict=True))
    except sqlite3.Error as error:
        raise DataError(f"{path} is damaged after row {number}: {error}. Write it again.") from error


def _choose_table(path: Path, database: sqlite3.Connection, table: str | None) -> str:
    query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    names = sorted(name for (name,) in database.execute(query))
    if table in names:
        return table
    if table or len(names) != 1:
        found = ", ".join(map(repr, names)) or "none"
        what = f"has no table {table!r}" if table else f"has {len(names)} tables"
        raise DataError(f"{path} {what}. Name one that it has with --table: {found}.")
    return names[0]


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
}
_DATABASES = (".sqlite", ".sqlite3", ".db")
KINDS = (*_READERS, *_DATABASES)
"""Endings that `read_rows` knows."""

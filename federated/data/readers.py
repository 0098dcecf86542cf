"""Labelled texts from files: CSV, JSON Lines and Parquet, told apart by the ending of the name.

Rows are counted from 1; a CSV header is not a row. Labels are text: the number 1 becomes ``"1"``, and so does 1.0.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from federated.data.examples import Example
from federated.errors import DataError

Row = Mapping[str, Any]

MAX_CSV_FIELD_CHARACTERS = 16 * 2**20
"""Python's own limit of 131,072 refuses long documents; without any, an unclosed quote would swallow the file."""


def read_examples(path: Path, *, text_field: str, label_field: str, client_field: str | None = None) -> list[Example]:
    """Reads all examples of `path`.

    Args:
        path: a file that ends in .csv, .jsonl, .json (one object a line) or .parquet.
        text_field: column of the text.
        label_field: column of the label.
        client_field: column that names the example's owner.

    Raises:
        DataError: the file or one of its rows cannot be used; the message says which.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path} is of an unknown kind. Give a file that ends in {', '.join(_READERS)}.")
    fields = [text_field, label_field] + ([client_field] if client_field else [])
    examples = []
    try:
        for number, row in enumerate(read(path), start=1):
            place = f"{path}, row {number}"
            if missing := [field for field in fields if field not in row]:
                raise DataError(f"{place} has no column {missing[0]!r}; it has {', '.join(map(repr, row))}.")
            examples.append(
                Example(
                    text=_text(row[text_field], text_field, place),
                    label=_name(row[label_field], label_field, place),
                    client=_name(row[client_field], client_field, place) if client_field else None,
                )
            )
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    return examples


def _text(value: Any, field: str, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: {field!r} holds no text. Remove the row or fill it.")
    return value


def _name(value: Any, field: str, place: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or not str(value).strip():
        raise DataError(f"{place}: {field!r} is empty. Remove the row or fill it.")
    return str(value).strip()


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_CSV_FIELD_CHARACTERS)
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line)


def _parquet_rows(path: Path) -> Iterator[Row]:
    # Loading pyarrow takes longer than reading most files, and only this kind needs it.
    from pyarrow import parquet  # noqa: PLC0415

    yield from parquet.read_table(path).to_pylist()


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".jsonl": _json_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
}

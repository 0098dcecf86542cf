"""Labelled texts from files of any kind that `federated.data.rows` reads.

Labels and clients are text: the number 1 becomes ``"1"``, and so does 1.0. A ``planted`` column, as the generator
writes it, is kept where the text is in the column ``text``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from federated.data.examples import Example, Spans
from federated.data.rows import read_rows
from federated.errors import DataError
from worker.features import has_tokens


class Source(NamedTuple):
    """A file and what its columns mean."""

    path: Path
    """Ends in one of `federated.data.rows.KINDS`."""
    text_field: str
    label_field: str
    client_field: str | None = None
    """Column that names the example's owner."""
    table: str | None = None
    """Of a database with more than one."""
    group_field: str | None = None
    """Column that names what the example is a part of."""


def read_examples(source: Source) -> Iterator[Example]:
    """Reads `source` row by row.

    Raises:
        DataError: the file or one of its rows cannot be used, and the message says which; or text and label are one.
    """
    path, text_field, label_field, client_field, table, group_field = source
    if text_field == label_field:
        raise DataError(f"{path}: {text_field!r} cannot be both the text and its label. Name two columns.")
    fields = [field for field in (text_field, label_field, client_field, group_field) if field]
    place = None
    for place, row in read_rows(path, table=table):
        if missing := [field for field in fields if field not in row]:
            present = ", ".join(map(repr, row)) or "none"
            raise DataError(f"{place} has no column {missing[0]!r}. Name one that it has: {present}.")
        yield Example(
            text=_text(row[text_field], text_field, place),
            label=_name(row[label_field], label_field, place),
            client=_name(row[client_field], client_field, place) if client_field else None,
            planted=_planted(row, place) if text_field == "text" else UNSET,
            group=_name(row[group_field], group_field, place) if group_field else UNSET,
        )
    if place is None:
        raise DataError(f"{path} holds no rows. Give a file with examples.")


def _text(value: Any, field: str, place: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{place}: {field!r} is empty. Fill it, or remove the row.")
    if not isinstance(value, str):
        raise DataError(f"{place}: {field!r} holds {type(value).__name__}, not text. Name the column of the text.")
    if not has_tokens(value):
        raise DataError(f"{place}: {field!r} holds no visible character. Fill it, or remove the row.")
    return value


def _name(value: Any, field: str, place: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    missing = value is None or value != value  # noqa: PLR0124 - a missing number of a Parquet column is NaN
    if missing or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{place}: {field!r} is empty. Fill it, or remove the row.")
    if not isinstance(value, str | int | float):
        raise DataError(f"{place}: {field!r} holds {type(value).__name__}; only text or a number can be a name.")
    return str(value).strip()


def _planted(row: Mapping[str, Any], place: str) -> Spans | UnsetType:
    if "planted" not in row:
        return UNSET
    try:
        return msgspec.convert(row["planted"], Spans)
    except msgspec.ValidationError as error:
        raise DataError(f"{place}: 'planted' is not a list of [start, end]: {error}. Rename the column.") from error

"""One labelled text, and its file form.

Representation: an `Example` is a text with a label. `client` names who owns it, where that is known. `planted` lists
the tokens that decided the label, one half-open ``[start, end)`` span of characters of `text` for each token, exactly
as `worker.features.split` cuts it; it is known only for generated texts. An empty list says that nothing in the text
decided the label (the label is wrong on purpose); `UNSET` says that nobody knows.

The canonical file form is JSON Lines in UTF-8, one example a line::

    {"id": 7, "text": "It is not working.", "label": "quality", "client": "c03", "planted": [[6, 9], [10, 17]]}
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from federated.errors import OutputError
from worker.files import write_file

Spans = list[tuple[int, int]]


class Example(Struct):
    """A labelled text."""

    text: str
    label: str
    client: str | None = None
    planted: Spans | UnsetType = UNSET


def encode_line(example: Example, *, identifier: int) -> bytes:
    """The example as a line of JSON, with its line break."""
    return msgspec.json.encode({"id": identifier, **msgspec.to_builtins(example)}) + b"\n"


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Writes `lines` to `path`, all of them or none.

    Raises:
        OutputError: the file cannot be written.
    """
    # A rename would replace a device or a pipe by a file, /dev/null among them.
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write {path}: it is not a regular file. Name a new or an ordinary file.")
    try:
        write_file(path, b"".join(lines))
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}. Name a file in a directory that exists and is yours."
        ) from error

"""One labelled text, and its file form.

Representation: an `Example` is a text with a label. `client` names who owns it, where that is known. `planted` lists
the tokens that decided the label, one half-open ``[start, end)`` span of characters of `text` for each token, exactly
as `worker.features.split` cuts it; it is known only for generated texts. An empty list says that nothing in the text
decided the label (the label is wrong on purpose); `UNSET` says that nobody knows. Examples of one `group` show parts of
one thing, for example windows of one speech: all of them are held out, or none is.

The canonical file form is JSON Lines in UTF-8, one example a line::

    {"id": 7, "text": "It is not working.", "label": "quality", "client": "c03", "planted": [[6, 9], [10, 17]]}
"""

import msgspec
from msgspec import UNSET, Struct, UnsetType

Spans = list[tuple[int, int]]


class Example(Struct):
    """A labelled text."""

    text: str
    label: str
    client: str | None = None
    planted: Spans | UnsetType = UNSET
    group: str | UnsetType = UNSET


def encode_line(example: Example, *, identifier: int) -> bytes:
    """The example as a line of JSON, with its line break."""
    return msgspec.json.encode({"id": identifier, **msgspec.to_builtins(example)}) + b"\n"

"""Plays as examples of a next-character model, one client for each speaker.

A play is text in which every speech starts, after an empty line, with a line ``Name:``; a paragraph without such a line
goes on with the speech before it. An example is a window of characters and the one that follows it, in the words of the
classifiers: the characters of the window stand as tokens, a blank between each two, and the following character is the
label. Two characters that are not visible get a sign: ``␣`` for a space and ``⏎`` for the end of a line.

Each paragraph is read from its own start, so no window reaches from one into the next. It is the group of its windows,
which share characters: were some of them held out and others not, the model would be asked what it has read.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from federated.data.examples import Example
from federated.errors import DataError

_NAME = re.compile(r"(?P<speaker>[^\n:]{1,60}):(?:\n|$)")
_SIGNS = str.maketrans({" ": "␣", "\n": "⏎"})


def read_plays(path: Path, *, window: int, stride: int) -> Iterator[Example]:
    """Cuts the speeches of a file into windows.

    Args:
        path: UTF-8 text.
        window: most characters of an example's text; a speech begins with shorter ones.
        stride: characters from one example to the next.

    Raises:
        DataError: the file cannot be read, or has no speeches.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}. Give a text in UTF-8.") from error
    speaker = None
    for number, paragraph in enumerate(re.split(r"\n{2,}", content)):
        words = paragraph.strip()
        if named := _NAME.match(words):
            speaker, words = named["speaker"], words[named.end() :]
        if speaker is None:
            continue
        signs = words.translate(_SIGNS)
        for end in range(1, len(signs), stride):
            seen = " ".join(signs[max(0, end - window) : end])
            yield Example(seen, signs[end], speaker, group=str(number))
    if speaker is None:
        raise DataError(f"{path} has no speeches: each starts after an empty line with a line 'Name:'.")

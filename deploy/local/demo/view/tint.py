"""A sentence, tinted by where the model looked."""

from itertools import accumulate

from rich.cells import cell_len
from rich.text import Text

from worker.messages import AttentionMap

INK = "#201600"
STEPS = (
    (0.5, f"bold {INK} on #ff8a1f"),
    (0.25, f"{INK} on #f2a44a"),
    (0.12, f"{INK} on #dcb97f"),
    (0.06, f"{INK} on #c6bda9"),
)
"""Lowest weight -> style. The steps differ in colour more than in lightness and bring their own ink, so they read the
same on a dark and on a light terminal."""
ELLIPSIS = "…"


def tint(text: str, attention: AttentionMap | None, *, width: int) -> Text:
    """The part of `text` around what the model looked at most, in at most `width` cells.

    Args:
        text: anything; what could not be printed, or would steer the terminal, becomes a space.
        attention: weights of its tokens; None tints nothing.
        width: Chinese characters take two cells each.
    """
    tinted = Text(printable(text), no_wrap=True, end="")
    focus = 0
    if attention is not None and attention.weights:
        for (start, end), weight in zip(attention.spans, attention.weights, strict=True):
            style = next((style for least, style in STEPS if weight >= least), None)
            if style is not None:
                tinted.stylize(style, start, end)
        focus = attention.spans[attention.weights.index(max(attention.weights))][1]
    return _cut(tinted, focus, width)


def printable(text: str) -> str:
    """The text with a space for each character that is not printable, so that positions in it stay the same."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cut(text: Text, focus: int, width: int) -> Text:
    """Cuts so that the characters before `focus` are seen, from the start of the text if they are near enough."""
    ends = [0, *accumulate(map(cell_len, text.plain))]
    if ends[-1] <= width:
        return text
    room, first = width - 1, 0
    if min(ends[focus] + room // 4, ends[-1]) > room:
        # Two thirds of the room for what stands before, the rest for what follows.
        room -= 1
        while first < focus - 1 and ends[focus] - ends[first] > room * 2 // 3:
            first += 1
    last = max(index for index in range(first, len(ends)) if ends[index] - ends[first] <= room)
    before, after = ELLIPSIS if first else "", ELLIPSIS if last < len(text) else ""
    return Text.assemble(before, text[first:last] if last > first else "", after, no_wrap=True, end="")

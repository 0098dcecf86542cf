"""One line of a terminal for one Prediction: label, score, and the text with the tokens that the model looked at.

A Prediction does not carry its text, only the tokens with their places. The sentence is put together from these: where
two tokens touch, as in Chinese, nothing stands between them; where the text had a gap, one space does. If only the
heaviest tokens were sent, a gap longer than one character becomes an ellipsis. Without the tokens' texts each of their
characters becomes a dot, which still shows where the model looked.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from msgspec import UNSET

from worker.messages import AttentionMap, Prediction

Mark = Callable[[Sequence[str], Sequence[float]], list[str]]
"""Marks tokens according to their weights."""

RESET = "\x1b[0m"
BOLD = "\x1b[1m"


class Step(NamedTuple):
    """How tokens of at least `weight` are painted, with 16 million colours and with 256."""

    weight: float
    truecolor: str
    palette: str


STEPS = (
    Step(0.5, "1;38;2;32;22;0;48;2;255;138;31", "1;38;5;16;48;5;208"),
    Step(0.25, "38;2;32;22;0;48;2;242;164;74", "38;5;16;48;5;215"),
    Step(0.12, "38;2;32;22;0;48;2;220;185;127", "38;5;16;48;5;180"),
    Step(0.06, "38;2;32;22;0;48;2;198;189;169", "38;5;16;48;5;250"),
)
"""They differ in colour more than in lightness and bring their own ink: the same on a dark and on a light terminal."""

TOP_TOKENS = 3
"""So many tokens have their weight written behind them where colours cannot be shown."""
WHOLE = 0.999
"""Weights that sum to this are all there are. Each is rounded to 6 decimals, so the sum of many is a little off."""
ELLIPSIS = "…"
ABSTAINED = "?"
"""In place of a label: the model was not sure enough."""
WITHHELD = "·"


def tinted_line(prediction: Prediction, *, truecolor: bool) -> str:
    """The line with colours.

    Args:
        prediction: what to show.
        truecolor: False for a terminal that knows only 256 colours.
    """
    return f"{BOLD}{_head(prediction)}{RESET}  " + _body(
        prediction,
        lambda items, weights: [
            _paint(item, weight, truecolor=truecolor) for item, weight in zip(items, weights, strict=True)
        ],
    )


def plain_line(prediction: Prediction) -> str:
    """The line without colours: the heaviest tokens as ``token(0.42)``."""
    return f"{_head(prediction)}  {_body(prediction, _annotate)}"


def printable(text: str) -> str:
    """The text with a replacement for every character that could steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _head(prediction: Prediction) -> str:
    output = prediction.output
    width = max(map(len, output.probabilities), default=0)
    return f"{printable(output.label or ABSTAINED):<{width}} {output.score:.2f}"


def _body(prediction: Prediction, mark: Mark) -> str:
    """The sentence of the first attention map; other maps look at the same text, or at one that is not classified."""
    if not prediction.attention:
        return str(prediction.source)
    attention = prediction.attention[0]
    if attention.items is UNSET:
        items = [WITHHELD * (end - start) for start, end in attention.spans]
    else:
        items = [printable(item) for item in attention.items]
    text = "".join(_join(attention, mark(items, attention.weights)))
    return f"{text} {ELLIPSIS}" if attention.truncated else text


def _paint(text: str, weight: float, *, truecolor: bool) -> str:
    step = next((step for step in STEPS if weight >= step.weight), None)
    return f"\x1b[{step.truecolor if truecolor else step.palette}m{text}{RESET}" if step else text


def _annotate(items: Sequence[str], weights: Sequence[float]) -> list[str]:
    top = set(heapq.nlargest(TOP_TOKENS, range(len(weights)), key=weights.__getitem__))
    pairs = zip(items, weights, strict=True)
    return [f"{item}({weight:.2f})" if index in top else item for index, (item, weight) in enumerate(pairs)]


def _join(attention: AttentionMap, items: Sequence[str]) -> Iterator[str]:
    is_whole = sum(attention.weights) >= WHOLE
    position = 0
    # The heaviest tokens alone may come in the order of their weights.
    for (start, end), item in sorted(zip(attention.spans, items, strict=True)):
        gap = start - position
        if gap > 1 and not is_whole:
            yield f" {ELLIPSIS} " if position else f"{ELLIPSIS} "
        elif gap and position:
            yield " "
        yield item
        position = end

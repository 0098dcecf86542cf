"""JSON text of many numbers or tokens at once, to be cut into the lists of single records.

A list of a record is a part of these bytes: each entry ends with a comma, and the last one's is left out. Writing a
span, a weight and a token so takes 0.08 us, a sixth of what it takes to make objects of them and encode those, and the
interpreter's lock is free for much of it.
"""

import numpy as np
from numpy.typing import NDArray

from worker.messages import WEIGHT_DECIMALS

_DIGITS = 4
LARGEST = 10**_DIGITS - 1
"""Numbers up to this can be written by `write_spans`."""
_FIGURES = np.frombuffer(b"".join(b"%04d" % number for number in range(LARGEST + 1)), np.uint32)
"""Number -> its four digits, as one machine word."""
_NUMBERS = np.frombuffer(b"".join((b"%d" % number).rjust(_DIGITS, b"\0") for number in range(LARGEST + 1)), np.uint32)
"""Number -> the same without leading zeros; there are NULs in their places, to be taken out."""
_WIDTHS = np.array([len(str(number)) for number in range(LARGEST + 1)], np.int64)
_BETWEEN, _END = 1, ord("\n")
"""Stand between two tokens, and between two lists, until the quotes and commas take their places."""
_SPAN = b"[....,....],"
_SPAN_WORDS = np.dtype({"names": ["start", "end"], "formats": ["u4"] * 2, "offsets": [1, 6], "itemsize": len(_SPAN)})
_WEIGHT = b"........,"
WEIGHT_BYTES = len(_WEIGHT)
_WEIGHT_WORDS = np.dtype(
    {
        "names": ["unit", "point", "thousandths", "millionths"],
        "formats": ["u1", "u1", "u4", "u4"],
        "offsets": [0, 1, 1, 4],
        "itemsize": WEIGHT_BYTES,
    }
)
WEIGHT_LIMIT = 9.5
"""Weights must be less, and not negative, to be written with one digit in front of the point."""


def write_spans(spans: NDArray[np.int64], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    """
    Args:
        spans: `[S, 2]`, each from 0 to `LARGEST`.
        begins: `[N]`, first span of each list.
        ends: `[N]`, the span behind its last; a list has at least one.

    Returns:
        The inside of `N` lists, such as ``[0,3],[4,9]``.
    """
    text = np.frombuffer(bytearray(_SPAN * len(spans)), _SPAN_WORDS)
    text["start"], text["end"] = _NUMBERS[spans[:, 0]], _NUMBERS[spans[:, 1]]
    bounds = _sum_up(_WIDTHS[spans[:, 0]] + _WIDTHS[spans[:, 1]] + len("[,],"))
    return _cut(text.tobytes().translate(None, b"\0"), bounds[begins], bounds[ends])


def quote_tokens(
    characters: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], firsts: NDArray[np.int64]
) -> list[bytes]:
    """
    Args:
        characters: `[M]` of ASCII; between the tokens of two lists there is at least one that is in none.
        starts: `[S]`, first place of each token. Characters that need an escape spoil only their own list.
        lengths: `[S]`, its characters.
        firsts: `[N]`, first token of each list.

    Returns:
        The inside of `N` lists without the first and the last quote, such as ``cold","soup``.
    """
    if not len(firsts):
        return []
    depth = np.zeros(len(characters) + 1, np.int8)
    depth[starts] = 1
    depth[starts + lengths] -= 1
    is_token = np.cumsum(depth[:-1], dtype=np.int8)
    text = characters * is_token.view(np.uint8)
    before = starts - 1
    is_glued = is_token[before] > 0
    text[before[~is_glued]] = _BETWEEN
    text[before[firsts]] = _END
    if starts[0] == 0:
        text[-1] = 0
    if is_glued.any():
        text = np.insert(text, starts[is_glued], _BETWEEN)
    # The interpreter's own loops over bytes are the fastest there are.
    between, end = bytes([_BETWEEN]), bytes([_END])
    return text.tobytes().translate(None, b"\0").replace(between, b'","').removeprefix(end).split(end)


def write_weights(weights: NDArray[np.float32]) -> bytes:
    """
    Args:
        weights: `[B, T]`, each from 0 to less than `WEIGHT_LIMIT`.

    Returns:
        `B` times `T` entries of `WEIGHT_BYTES` such as ``0.174900,``.
    """
    # float64 before rounding: that of float32 adds its own noise.
    millionths = np.rint(weights.astype(np.float64).ravel() * 10**WEIGHT_DECIMALS).astype(np.int32)
    thousandths = millionths // 1_000
    text = np.frombuffer(bytearray(_WEIGHT * len(millionths)), _WEIGHT_WORDS)
    # Both numbers have four digits: the second loses its first one, a zero, to the last of the other.
    text["millionths"] = _FIGURES[millionths - thousandths * 1_000]
    text["thousandths"] = _FIGURES[thousandths]
    text["unit"], text["point"] = text["point"], ord(".")
    return text.tobytes()


def _sum_up(widths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of `S` entries begins, and the end of the last."""
    bounds = np.zeros(len(widths) + 1, np.int64)
    np.cumsum(widths, out=bounds[1:])
    return bounds


def _cut(text: bytes, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    """Parts of `text`, without the comma behind each."""
    return [text[begin:end] for begin, end in zip(begins.tolist(), (ends - 1).tolist(), strict=True)]

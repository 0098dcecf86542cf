"""JSON text of many numbers or tokens at once, to be cut into the lists of single records.

A list of a record is a slice of a column's bytes: each entry ends with a comma, and the last one's is left out. Writing
a span, a weight and a token so takes 0.1 us, a fifth of what it takes to make objects of them and encode those, and the
interpreter's lock is free for most of it.
"""

import numpy as np
from numpy.typing import NDArray

from worker.messages import WEIGHT_DECIMALS

_DIGITS = 4
LARGEST = 10**_DIGITS - 1
"""Numbers up to this can be written by `write_spans`."""
_FIGURES = np.array([list(b"%04d" % number) for number in range(LARGEST + 1)], np.uint8)
"""Number -> its digits."""
_WIDTHS = np.array([len(str(number)) for number in range(LARGEST + 1)], np.uint8)
_IS_SHOWN = np.array([[place >= _DIGITS - width for place in range(_DIGITS)] for width in range(_DIGITS + 1)])
"""Width -> which of the digits are more than leading zeros."""
_QUOTE, _COMMA, _OPEN, _CLOSE, _POINT, _ZERO = b'",[].0'
WEIGHT_BYTES = len("0.") + WEIGHT_DECIMALS + len(",")
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
    widths = _WIDTHS[spans]
    text = np.empty((len(spans), 2 * _DIGITS + 4), np.uint8)
    text[:, 0], text[:, 1 + _DIGITS], text[:, -2], text[:, -1] = _OPEN, _COMMA, _CLOSE, _COMMA
    is_kept = np.ones(text.shape, bool)
    for number, place in enumerate((1, 2 + _DIGITS)):
        text[:, place : place + _DIGITS] = _FIGURES[spans[:, number]]
        is_kept[:, place : place + _DIGITS] = _IS_SHOWN[widths[:, number]]
    bounds = _sum_up(widths.sum(axis=1, dtype=np.int64) + 4)
    return _cut(text[is_kept].tobytes(), bounds[begins], bounds[ends])


def quote_tokens(
    characters: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> list[bytes]:
    """
    Args:
        characters: `[M]` of UTF-8, at least two more behind the last token.
        starts: `[S]`, first place of each token. Characters that need an escape spoil only their own list.
        lengths: `[S]`, its characters.
        begins: `[N]`, first token of each list.
        ends: `[N]`, the token behind its last; a list has at least one.

    Returns:
        The inside of `N` lists, such as ``"cold","soup"``.
    """
    widths = lengths + 3
    bounds = _sum_up(widths)
    # One place before the token and two behind it are copied, too, and written over.
    places = np.arange(bounds[-1]) + np.repeat(starts - 1 - bounds[:-1], widths)
    text = characters[places]
    text[bounds[:-1]] = text[bounds[1:] - 2] = _QUOTE
    text[bounds[1:] - 1] = _COMMA
    return _cut(text.tobytes(), bounds[begins], bounds[ends])


def write_weights(weights: NDArray[np.float32]) -> bytes:
    """
    Args:
        weights: `[B, T]`, each from 0 to less than `WEIGHT_LIMIT`.

    Returns:
        `B` times `T` entries of `WEIGHT_BYTES` such as ``0.174900,``.
    """
    # float64 before rounding: that of float32 adds its own noise.
    millionths = np.rint(weights.astype(np.float64).ravel() * 10**WEIGHT_DECIMALS).astype(np.int32)
    text = np.empty((len(millionths), WEIGHT_BYTES), np.uint8)
    upper, lower = np.divmod(millionths, 1_000)
    text[:, 5:8] = _FIGURES[lower, 1:]
    text[:, 1:5] = _FIGURES[upper]
    text[:, 0], text[:, 1], text[:, -1] = text[:, 1], _POINT, _COMMA
    return text.tobytes()


def _sum_up(widths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of `S` entries begins, and the end of the last."""
    bounds = np.zeros(len(widths) + 1, np.int64)
    np.cumsum(widths, out=bounds[1:])
    return bounds


def _cut(text: bytes, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    """Parts of `text`, without the comma behind each."""
    return [text[begin:end] for begin, end in zip(begins.tolist(), (ends - 1).tolist(), strict=True)]

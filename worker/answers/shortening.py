"""Makes a Prediction smaller that its topic would refuse: only the strongest weights of each attention map stay."""

from typing import TypeVar

import msgspec

from worker.answers.predictions import strongest
from worker.messages import AttentionMap, Prediction

STRONGEST = 8
"""Weights that stay: enough to say where the model looked, in less than a kilobyte."""

_Item = TypeVar("_Item")
_decode = msgspec.json.Decoder(Prediction).decode
_encode = msgspec.json.Encoder().encode


def keep_strongest(prediction: bytes) -> bytes:
    """Cuts each attention map of an encoded Prediction to its `STRONGEST` weights, in the order of the text."""
    shortened = _decode(prediction)
    shortened.attention = [_cut(attention) for attention in shortened.attention]
    return _encode(shortened)


def _cut(attention: AttentionMap) -> AttentionMap:
    kept = strongest(attention.weights, STRONGEST)

    def choose(values: list[_Item]) -> list[_Item]:
        return [values[place] for place in kept]

    items = attention.items if isinstance(attention.items, msgspec.UnsetType) else choose(attention.items)
    return msgspec.structs.replace(
        attention, spans=choose(attention.spans), weights=choose(attention.weights), items=items
    )

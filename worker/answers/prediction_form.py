"""The JSON of a Prediction, written once with blanks for what differs from record to record.

The form is what `msgspec` makes of a Prediction with blanks for values, so names and order stay those of
`worker.messages`. Filling one takes a third of the time of building and encoding the objects.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from worker.bundle import AttentionAxes
from worker.messages import WEIGHT_DECIMALS, AttentionMap, Classification, ModelRef, Position, Prediction

# No JSON holds these characters: inside a string they are escaped.
_JSON: Any = Raw(b"\x00")
_TEXT: Any = Raw(b'"\x00"')
_INTEGER: Any = Raw(b"\x01")
_DECIMALS: Any = Raw(b"\x02")
_FORMATS = {b"%": b"%%", b"\x00": b"%b", b"\x01": b"%d", b"\x02": b"%%.%df" % WEIGHT_DECIMALS}


def draw_form(
    model: ModelRef, labels: Sequence[str], axes: Sequence[AttentionAxes], *, with_items: bool, with_passthrough: bool
) -> bytes:
    """A template for the operator ``%``.

    Its values are, in this order: id (JSON); topic (JSON), partition and offset; label (JSON) and score; each label's
    probability; abstained (JSON); for each of `axes` spans, weights (the insides of lists), truncated (JSON) and, if
    asked for, items (the inside of a list but for its first and last quote); the event's and the scored timestamp; and
    passthrough, if asked for.
    """
    attention = AttentionMap(
        name="",
        axes=[],
        field="",
        spans=[_JSON],
        weights=[_JSON],
        truncated=_JSON,
        items=[_TEXT] if with_items else UNSET,
    )
    form = Prediction(
        id=_JSON,
        source=Position(_JSON, _INTEGER, _INTEGER),
        output=Classification(
            label=_JSON, score=_DECIMALS, probabilities=dict.fromkeys(labels, _DECIMALS), abstained=_JSON
        ),
        attention=[
            msgspec.structs.replace(attention, name=each.name, axes=each.axes, field=each.field) for each in axes
        ],
        model=model,
        event_timestamp_ms=_INTEGER,
        scored_timestamp_ms=_INTEGER,
        passthrough=_JSON if with_passthrough else UNSET,
    )
    text = msgspec.json.encode(form)
    for blank, format_ in _FORMATS.items():
        text = text.replace(blank, format_)
    return text

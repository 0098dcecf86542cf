"""Dead letters as JSON Lines that hold all it takes to rebuild the records, byte for byte.

Bytes that are UTF-8 stand as text under ``key`` and ``value``, others in base64 under ``key_base64`` and
``value_base64``; null is null. Headers are a list, because their names may repeat, of ``name`` and ``value``.

``pointer`` is null unless the letter does not hold its record, which is then in its own topic, if anywhere.
"""

import base64
from typing import Any

import msgspec

from worker.dead_letters.letter import Letter


def encode_letter(letter: Letter) -> bytes:
    """One line, without its end."""
    record = letter.record
    return msgspec.json.encode(
        {
            "letter": record.position,
            "timestamp_ms": record.timestamp_ms,
            "refusal": letter.refusal,
            "replays": letter.replays,
            "pointer": letter.pointer and letter.pointer._asdict(),
            **_as_text("key", record.key),
            **_as_text("value", record.value),
            "headers": [
                {**_as_text("name", name.encode()), **_as_text("value", value)} for name, value in record.headers
            ],
        }
    )


def _as_text(name: str, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}

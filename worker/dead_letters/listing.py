"""Dead letters as lines for people, and as JSON for programs."""

from typing import Any

import msgspec

from worker.dead_letters.letter import Letter

MAX_VALUE_CHARACTERS = 200


def describe(letter: Letter, *, show_value: bool) -> dict[str, Any]:
    """What is known about a letter, fit for JSON.

    Args:
        letter: what to describe.
        show_value: adds the beginning of the value. It may be personal.
    """
    record, refusal = letter.record, letter.refusal
    known = {
        "letter": msgspec.to_builtins(record.position),
        "source": refusal and msgspec.to_builtins(refusal.source),
        "stage": refusal and refusal.stage,
        "error": refusal and refusal.error,
        "message": refusal and refusal.message,
        "group_id": refusal and refusal.group_id,
        "attempts": refusal and refusal.attempts,
        "replays": letter.replays,
        "pointer": letter.pointer and letter.pointer._asdict(),
        "size_bytes": letter.size_bytes(),
        "timestamp_ms": record.timestamp_ms,
    }
    return known | ({"value": _beginning(record.value)} if show_value else {})


def line(letter: Letter, *, show_value: bool) -> str:
    """The same on one line."""
    record, refusal = letter.record, letter.refusal
    facts = [f"{letter.size_bytes()} bytes", f"letter {record.position}"]
    if letter.replays:
        facts.insert(0, f"replays: {letter.replays}")
    if letter.pointer is not None:
        facts.insert(0, f"pointer to the record and its {letter.pointer.value_bytes} bytes")
    if refusal is None:
        text = f"{record.position}  was not written by a worker"
    else:
        text = f"{refusal.source}  {refusal.stage} {refusal.error}: {refusal.message}"
        facts.insert(0, f"group {refusal.group_id}")
        if refusal.attempts > 1:
            facts.insert(1, f"attempts: {refusal.attempts}")
    value = f"  value: {_beginning(record.value)}" if show_value else ""
    return escape(f"{text} ({', '.join(facts)}){value}")


def escape(text: str) -> str:
    """Replaces what could steer a terminal, or break the line, by an escape sequence."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _beginning(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = value[: 4 * MAX_VALUE_CHARACTERS].decode(errors="backslashreplace")
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}…"

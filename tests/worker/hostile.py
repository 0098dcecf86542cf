"""Hostile records: hypothesis invents their structure, and a seeded mutator of bytes makes many of each.

JSON is written here as text and not encoded from objects: no encoder would write a key twice, NaN, half of a surrogate
pair, a number beyond every type, or thousands of brackets. `structures` holds all of these on purpose.
"""

import json
import random
from typing import NamedTuple

from hypothesis import strategies as st

from worker.messages import Headers

DEEPEST = 2_000
LONGEST_NUMBER = 5_000
"""Digits: more than Python turns into an int."""
TEXTS = [
    "late box",
    "慢 好",
    "\u202eright to left\u202c",
    "e\u0301" * 40,
    "\ufdfa" * 30,
    "👩‍👩‍👧‍👦" * 9,
    "\x00\x01\x7f",
    "a" * 5_000,
    "\u2028\u2029\ufeff",
    " \t\u00a0\u3000",
    "",
    "{}",
    "null",
]
WORDS = ["NaN", "-Infinity", "-0", "1e999", "0x10", "01", "true", "null", "'late'", '"\\x41"', '"\\udfff\\ud800"', ""]
KEYS = ["text", "id", "passthrough", "\\u0074ext"]
HEADER_NAMES = ["traceparent", "", "ключ", "__connect.errors.topic", "limelight.stage"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


class HostileRecord(NamedTuple):
    """What a producer may have written."""

    key: bytes | None
    value: bytes | None
    headers: Headers


GOOD = HostileRecord(b"key", b'{"text": "late box"}', [])


def _nest(depth: int, brackets: tuple[str, str]) -> str:
    opening, closing = brackets
    return opening * depth + "1" + closing * depth


def _write_object(pairs: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"


def _structures() -> st.SearchStrategy[str]:
    """JSON, or nearly so, as text; the text may hold lone surrogates."""
    any_text = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=()), max_size=20)
    escaped = any_text.map(json.dumps)
    raw = any_text.map(lambda text: json.dumps(text, ensure_ascii=False))
    huge = st.integers(20, LONGEST_NUMBER).map(lambda digits: "9" * digits)
    deep = st.builds(_nest, st.integers(1, DEEPEST), st.sampled_from([("[", "]"), ('{"a":', "}")]))
    leaves = st.one_of(escaped, raw, st.sampled_from(WORDS), st.integers().map(str), huge, deep)
    keys = st.sampled_from(KEYS) | escaped.map(lambda text: text[1:-1])
    values = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4).map(lambda each: f"[{','.join(each)}]")
            | st.lists(st.tuples(keys, inner), max_size=4).map(_write_object)
        ),
        max_leaves=8,
    )
    # Nearly an event, so that what is wrong is met in every place and not only at the door.
    return values | st.lists(st.tuples(keys, values), max_size=5).map(
        lambda pairs: _write_object([("text", '"late"'), *pairs])
    )


structures = _structures()
values = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.builds(lambda text, encoding: text.encode(encoding, "surrogatepass"), structures, st.sampled_from(ENCODINGS)),
)
records = st.builds(
    HostileRecord,
    key=st.none() | st.binary(max_size=8),
    value=values,
    headers=st.lists(st.tuples(st.sampled_from(HEADER_NAMES), st.none() | st.binary(max_size=4)), max_size=3),
)


def batches(size: int) -> st.SearchStrategy[list[HostileRecord]]:
    """`size` records: a good one, some that hypothesis invents, and those with their bytes changed."""
    return st.builds(
        lambda invented, seed: _multiply(invented, random.Random(seed), size),
        st.lists(records, min_size=1, max_size=20),
        st.integers(0, 2**32),
    )


def _multiply(invented: list[HostileRecord], chance: random.Random, size: int) -> list[HostileRecord]:
    batch = [GOOD, *invented]
    while len(batch) < size:
        model = chance.choice([GOOD, *invented])
        batch.append(model._replace(value=mutate(model.value or b"", chance)))
    return batch


def mutate(value: bytes, chance: random.Random) -> bytes:
    """Changes, removes, repeats or inserts bytes, one to five times."""
    changed = bytearray(value)
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[place : place + chance.randrange(4)]
            case 2:
                changed[place:place] = changed[place : place + chance.randrange(16)]
            case _:
                changed[place:place] = chance.choice([b'"', b"\\", b"\xff", b"\xed\xa0\x80", b"\x00", b",", b"{"])
    return bytes(changed)

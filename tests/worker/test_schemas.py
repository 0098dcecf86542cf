import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import worker.schemas
from worker.bundle import AttentionAxes, Graph, Histogram, Manifest, Parity, Tensor, TextField, Training
from worker.messages import (
    AttentionMap,
    Classification,
    DeadLetter,
    Event,
    ModelRef,
    Position,
    Prediction,
    RoundRecord,
    WorkerStatus,
)
from worker.models.deployment import Canary, Change, Deployment
from worker.schemas import CONTRACTS, build_schemas

pytestmark = pytest.mark.fast

HOME = Path(worker.schemas.__file__).parent
SOURCE = Position("events", 0, 7)
MODEL = ModelRef("tiny", "3f6c", 20)
EXAMPLES: dict[str, msgspec.Struct] = {
    "event.json": Event(text="good", id=7, passthrough=msgspec.Raw(b'{"a": [1]}')),
    "prediction.json": Prediction(
        id="events-0-7",
        source=SOURCE,
        output=Classification(label="good", score=0.75, probabilities={"bad": 0.25, "good": 0.75}),
        attention=[
            AttentionMap(
                name="attention",
                axes=["token"],
                field="text",
                spans=[(0, 4)],
                weights=[1.0],
                truncated=False,
                items=["good"],
            )
        ],
        model=MODEL,
        event_timestamp_ms=1,
        scored_timestamp_ms=2,
        passthrough=msgspec.Raw(b"null"),
    ),
    "dead_letter.json": DeadLetter(
        source=SOURCE, stage="decode", error="DecodeError", message="no", group_id="g", attempts=2
    ),
    "worker_status.json": WorkerStatus(
        group_id="scorers",
        instance="host-0",
        timestamp_ms=1,
        ready=True,
        model=MODEL,
        partitions=["events-0"],
        predictions_total=1,
        dead_letters_total=2,
        aborted_transactions_total=3,
        lag_records=4,
        rss_bytes=5,
    ),
    "round_record.json": RoundRecord(
        run="r",
        round=1,
        rounds=2,
        timestamp_ms=3,
        seconds=0.5,
        clients=[4],
        examples=5,
        train={"loss": 0.5},
        heldout={"accuracy": 1.0},
    ),
    "manifest.json": Manifest(
        name="tiny",
        version="3f6c",
        created_at="2026-01-01T00:00:00+00:00",
        task="classify",
        fields=[TextField(name="text", input="token_ids", vocabulary="vocabulary.txt", max_tokens=8)],
        graphs=[
            Graph("model.onnx", [Tensor("token_ids", "INT32", [-1, -1])], [Tensor("probabilities", "FP32", [-1, 2])])
        ],
        attention=[AttentionAxes("attention", "attention", "text", ["token"])],
        labels=["bad", "good"],
        files={"model.onnx": "00"},
        opset=17,
        parity=Parity(0.5, 1),
        golden="golden.jsonl",
        histograms={"score": Histogram([0.0, 1.0], [1])},
        training=Training("p", "tff", 1, 2, 3, 0.5, {"accuracy": 0.5}, {"tensorflow": "2"}),
        privacy="none",
    ),
    "deployment.json": Deployment(
        name="tiny",
        generation=1,
        current="3f6c",
        canary=Canary("91ab", 500),
        shadow="77aa",
        trail=["0000"],
        history=[Change(1, "2026-01-01T00:00:00+00:00", "promote", "3f6c", Canary("91ab", 500), "77aa")],
    ),
}
TAGS_LEFT_OUT = {"without output.task", "without fields.0.kind"}
WRONG = (None, True, 7, 1.5, "x", [], {})


def test_the_committed_schemas_are_the_generated_ones() -> None:
    committed = {path.name: path.read_bytes() for path in HOME.glob("*.json")}

    assert committed == build_schemas(), "run `python -m worker.schemas` and commit what it writes"


def test_there_is_an_example_for_every_contract() -> None:
    assert list(EXAMPLES) == list(build_schemas())
    assert [type(example) for example in EXAMPLES.values()] == list(CONTRACTS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_real_message_conforms_and_whatever_the_type_refuses_the_schema_refuses_too(name: str) -> None:
    schema = json.loads((HOME / name).read_bytes())
    example = EXAMPLES[name]
    document = json.loads(msgspec.json.encode(example))
    refused = 0

    assert conforms(schema, document, schema)
    for change, variant in variants(document):
        verdict = is_decoded(variant, type(example))
        # The decoder forgives a missing tag where only one type is possible; writers should not rely on it.
        if change not in TAGS_LEFT_OUT:
            assert conforms(schema, variant, schema) == verdict, change
        refused += not verdict
    assert refused > len(document)


def test_a_keyword_without_a_case_is_no_silent_pass() -> None:
    with pytest.raises(pytest.fail.Exception, match="the keyword 'pattern'"):
        conforms({"pattern": "^a"}, "b", {})


def variants(document: Any) -> Iterator[tuple[str, Any]]:
    """Copies of `document` with one value, at any depth, left out, added or replaced by one of another type."""
    for path in [[], *paths(document)]:
        place = ".".join(map(str, path))
        if path:
            left_out = copy.deepcopy(document)
            del find(left_out, path[:-1])[path[-1]]
            yield f"without {place}", left_out
        value = find(document, path)
        if isinstance(value, dict):
            yield f"more in {place}", replace(document, path, {**value, "unheard_of": 1})
        for wrong in WRONG:
            yield f"{place} = {wrong!r}", replace(document, path, wrong)


def paths(value: Any) -> Iterator[list[Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield [key]
        yield from ([key, *rest] for rest in paths(child))


def find(value: Any, path: list[Any]) -> Any:
    for key in path:
        value = value[key]
    return value


def replace(document: Any, path: list[Any], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    find(changed, path[:-1])[path[-1]] = value
    return changed


def is_decoded(document: Any, contract: type[msgspec.Struct]) -> bool:
    try:
        msgspec.json.decode(json.dumps(document).encode(), type=contract)
    except msgspec.ValidationError:
        return False
    return True


def conforms(schema: Any, value: Any, root: Any) -> bool:
    """As much of JSON Schema as our schemas use; an unknown keyword is an error, so that none goes unchecked."""
    if isinstance(schema, bool):
        return schema
    return all(_holds(keyword, schema, value, root) for keyword in schema)


def _holds(keyword: str, schema: Any, value: Any, root: Any) -> bool:  # noqa: PLR0911, PLR0912 - a case for each keyword
    argument = schema[keyword]
    match keyword:
        case "$schema" | "$defs" | "title" | "description" | "default":
            return True
        case "$ref":
            return conforms(find(root, argument.removeprefix("#/").split("/")), value, root)
        case "type":
            return _is_of_type(argument, value)
        case "enum":
            return value in argument
        case "anyOf":
            return any(conforms(option, value, root) for option in argument)
        case "required":
            return not isinstance(value, dict) or set(argument) <= value.keys()
        case "properties":
            known = argument.keys() & value.keys() if isinstance(value, dict) else ()
            return all(conforms(argument[name], value[name], root) for name in known)
        case "additionalProperties":
            others = value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else ()
            return all(conforms(argument, value[name], root) for name in others)
        case "prefixItems":
            return not isinstance(value, list) or all(
                conforms(item_schema, item, root) for item_schema, item in zip(argument, value, strict=False)
            )
        case "items":
            rest = value[len(schema.get("prefixItems", [])) :] if isinstance(value, list) else []
            return all(conforms(argument, item, root) for item in rest)
        case "minItems":
            return not isinstance(value, list) or len(value) >= argument
        case "maxItems":
            return not isinstance(value, list) or len(value) <= argument
        case "minimum":
            return not _is_of_type("number", value) or value >= argument
        case "maximum":
            return not _is_of_type("number", value) or value <= argument
        case _:
            pytest.fail(f"the schemas use the keyword {keyword!r}, which is not checked here: add a case for it")


def _is_of_type(name: str, value: Any) -> bool:
    kinds = {
        "null": type(None),
        "boolean": bool,
        "integer": int,
        "number": int | float,
        "string": str,
        "array": list,
        "object": dict,
    }
    return isinstance(value, kinds[name]) and (name == "boolean" or not isinstance(value, bool))

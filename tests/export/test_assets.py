"""What is refused in ``assets.extra``: every message names the file."""

import json

import pytest

from export.assets import check_name, read_assets
from export.errors import SavedModelError

pytestmark = pytest.mark.fast


@pytest.fixture
def model(tmp_path, card, write_assets):
    path = tmp_path / "model"
    write_assets(path, card)
    return path


def edit_card(model, edit):
    path = model / "assets.extra" / "model.json"
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content))


def test_valid_assets_are_read_as_the_worker_reads_text(model, card):
    assets = read_assets(model)
    assert assets.card == card
    assert assets.vocabulary[:3] == ["[PAD]", "[UNK]", "refund"]
    assert len(assets.reference) == 40
    assert max(len(item.ids) for item in assets.reference) == card.fields[0].max_tokens
    assert any(1 in item.ids for item in assets.reference)


@pytest.mark.parametrize("name", ["model.json", "vocabulary.txt", "reference.jsonl"])
def test_missing_file(model, name):
    (model / "assets.extra" / name).unlink()
    with pytest.raises(SavedModelError, match=f"{name} cannot be read: No such file"):
        read_assets(model)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.json", b"{", "model.json is not a model card"),
        ("model.json", b"\xff", "model.json is not a model card"),
        ("model.json", b'{"training": ' + b"[" * 100_000, "model.json is not a model card"),
        ("model.json", b"{}", "model.json is not a model card: .*missing required field"),
        ("vocabulary.txt", b"\xff\n", "vocabulary.txt is not a vocabulary"),
        ("vocabulary.txt", b"[PAD]\n[UNK]\nword", "the last line does not end"),
        ("vocabulary.txt", b"[PAD]\r\n[UNK]\r\n", "vocabulary.txt is not a vocabulary: .*line break"),
        ("vocabulary.txt", b"a\nb\n", "vocabulary.txt must begin with"),
        ("reference.jsonl", b"", "reference.jsonl is empty"),
        ("reference.jsonl", b"\n \n", "reference.jsonl is empty"),
        ("reference.jsonl", b'{"text": "hi", "label": "praise"}\n{', "reference.jsonl, line 2"),
        ("reference.jsonl", b'{"text": ' + b"[" * 100_000, "reference.jsonl, line 1"),
        ("reference.jsonl", b'{"text": "hi"}', "reference.jsonl, line 1: .*label"),
        ("reference.jsonl", b'{"text": "\xff", "label": "praise"}', "reference.jsonl, line 1"),
        ("reference.jsonl", b'{"text": " ", "label": "praise"}', "line 1: the text has no visible character"),
        ("reference.jsonl", b'{"text": "hi", "label": "spam"}', "label 'spam' is none of refund, praise, question"),
    ],
)
def test_malformed_file(model, name, content, message):
    (model / "assets.extra" / name).write_bytes(content)
    with pytest.raises(SavedModelError, match=message):
        read_assets(model)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda card: card.update(schema_version=2), "schema version 2; this export reads version 1"),
        (lambda card: card["fields"].append(card["fields"][0]), "names 2 fields"),
        (lambda card: card["fields"].clear(), "names 0 fields"),
        (lambda card: card["fields"][0].update(tokenizer="bytes"), "tokenizer 'bytes', but the worker knows only"),
        (lambda card: card["fields"][0].update(normalizer="none"), "normalizer 'none'"),
        (lambda card: card["fields"][0].update(pad_id=2), "pad_id 2"),
        (lambda card: card["fields"][0].update(unknown_id=2), "unknown_id 2"),
        (lambda card: card["fields"][0].update(vocabulary="../words"), "vocabulary '../words'"),
        (lambda card: card["fields"][0].update(max_tokens=0), "max_tokens 0"),
        (lambda card: card["fields"][0].update(max_tokens=10**9), "max_tokens 1000000000; it must be from 1 to 10,000"),
        (lambda card: card.update(labels=[]), "labels must be present and distinct"),
        (lambda card: card.update(labels=["a", "a"]), "labels must be present and distinct"),
        (lambda card: card.update(surprise=1), "model.json is not a model card: .*surprise"),
    ],
)
def test_refused_card(model, edit, message):
    edit_card(model, edit)
    with pytest.raises(SavedModelError, match=message):
        read_assets(model)


@pytest.mark.parametrize("name", ["", "..", "a/b", "/a", ".hidden", "a b", "a\n", 101 * "a"])
def test_name_that_is_no_directory(name):
    with pytest.raises(SavedModelError, match="cannot name a bundle"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "customer-messages", "v1.2_x", 100 * "a"])
def test_name_that_is_one(name):
    check_name(name)

"""What goes into a store comes out of it, whatever the order of arrival; what is not a store is refused."""

import shlex
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from federated.data import spill
from federated.data.encoding import build_encoding
from federated.data.examples import Example
from federated.data.ragged import flat_positions
from federated.data.spill import write_store
from federated.data.store import ClientStore
from federated.errors import DataError, OutputError
from worker.features import has_tokens, tokenize

pytestmark = pytest.mark.fast

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(has_tokens)
EXAMPLES = st.lists(
    st.builds(
        Example,
        TEXTS,
        st.sampled_from("ab"),
        st.none() | st.sampled_from([f"c{n}" for n in range(99)]),
        group=st.just(UNSET) | st.sampled_from("xyz"),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=25)  # each writes a store, and waits for the disk
@given(examples=EXAMPLES, buffered=st.sampled_from([0, 5, 2**16]))
def test_everything_comes_back(tmp_path_factory, examples, buffered):
    path = tmp_path_factory.mktemp("stores") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BUFFERED_TOKENS", buffered)
        write_store(path, iter(examples))
    store = ClientStore(path)
    assert len(store) == len(examples)
    assert store.labels == sorted({example.label for example in examples})
    assert store.client_names == list(dict.fromkeys(example.client for example in examples if example.client))
    for row, example in enumerate(examples):
        position = store.positions[row]
        start, end = store.token_offsets[position : position + 2]
        assert [store.vocabulary[token] for token in store.tokens[start:end]] == tokenize(example.text)
        assert store.labels[store.label[position]] == example.label
        client = store.client[position]
        assert (store.client_names[client] if client >= 0 else None) == example.client
        assert store.text(row) == example.text
    groups = [None if example.group is UNSET else example.group for example in examples]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for name in groups if name))}
    assert store.group[store.positions].tolist() == [numbers.get(name, -1) for name in groups]


def test_a_client_lies_in_one_piece(stored):
    store = stored(Example(f"word {n}", str(n % 2), f"c{n % 150}") for n in range(600))
    pieces = 1 + (np.diff(store.client) != 0).sum()
    assert pieces == 150
    for client in range(150):
        rows = store.row[store.client == client]
        assert rows.tolist() == sorted(rows), "in the order of arrival"


def test_a_long_text_is_cut(stored, monkeypatch):
    monkeypatch.setattr(spill, "MAX_TEXT_TOKENS", 3)
    store = stored([Example("a b c d e", "x")])
    assert store.tokens.tolist() == [0, 1, 2]
    assert store.text(0) == "a b c d e"


def test_what_is_not_language_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "MAX_DISTINCT_TOKENS", 3)
    with pytest.raises(DataError, match="more than 3 different tokens"):
        write_store(tmp_path / "store", [Example("a b c d", "x")])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_no_store(tmp_path):
    with pytest.raises(DataError, match="there are no examples"):
        write_store(tmp_path / "store", [])
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_leaves_nothing_behind(tmp_path):
    def examples():
        yield Example("good", "x")
        raise DataError("row 2 is bad")

    with pytest.raises(DataError, match="row 2"):
        write_store(tmp_path / "store", examples())
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_not_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    with pytest.raises(OutputError, match="store exists already"):
        write_store(tmp_path / "store", [Example("a", "x")])


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    script = (
        "from pathlib import Path; from federated.data.spill import write_store;"
        "from federated.data.examples import Example\n"
        "write_store(Path('store'), (Example('word ' * 50, 'x', str(n)) for n in range(4000)))"
    )
    command = f"ulimit -f 64; exec {shlex.quote(sys.executable)} -c {shlex.quote(script)}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert "OutputError: cannot write store: File too large" in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("store.json", None, "is no client store: store.json: No such file .* begin a new run with train"),
        ("store.json", b"{", "is damaged: store.json"),
        ("store.json", b'{"format": 0, "labels": [], "clients": []}', "has format 0, this program reads 2"),
        ("tokens.npy", b"", "is damaged: tokens.npy"),
        ("label.npy", None, "is damaged: label.npy"),
    ],
)
def test_a_damaged_store_is_refused(stored, name, content, message):
    path = stored([Example("a b", "x", "c")]).path
    (path / name).unlink()
    if content is not None:
        (path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        ClientStore(path)


def test_arrays_that_do_not_fit_are_refused(stored):
    path = stored([Example("a b", "x", "c")]).path
    np.save(path / "label.npy", np.zeros(2, np.int32))
    with pytest.raises(DataError, match="its arrays do not fit each other"):
        ClientStore(path)


def test_an_encoding_knows_only_what_training_has(stored):
    store = stored(Example(text, label) for text, label in (("a b b", "x"), ("b c", "y"), ("d", "z")))
    encoding = build_encoding(store, np.array([0, 1]), vocabulary_size=9, min_count=1, max_tokens=2)
    assert encoding.vocabulary == ["[PAD]", "[UNK]", "b", "a", "c"]
    assert encoding.labels == ["x", "y"]
    assert encoding.read(store, np.array([1, 0])).token_ids.tolist() == [[2, 4], [3, 2]]
    with pytest.raises(DataError, match=r"the label 'z' \(1 examples\)"):
        encoding.require_known(store, np.array([2]))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=20))
def test_flat_positions(rows):
    starts, lengths = np.array(rows, np.int64).reshape(-1, 2).T
    expected = [position for start, length in rows for position in range(start, start + length)]
    assert flat_positions(starts, lengths).tolist() == expected

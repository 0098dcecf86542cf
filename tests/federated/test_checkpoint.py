"""A checkpoint comes back bit for bit, and is either whole or the one before."""

import stat
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from federated.checkpoint import digest_config, load_checkpoint, save_checkpoint
from federated.config import Config, TrainingConfig
from federated.errors import CheckpointError

pytestmark = pytest.mark.fast

ARRAYS = arrays.arrays(
    st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.bool_, np.uint8]),
    arrays.array_shapes(min_dims=0, min_side=0, max_side=4),
)
LEAVES = (
    ARRAYS
    | st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def equal(one, other):
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return type(one) is type(other) and one == other


@settings(max_examples=30)  # each waits for the disk
@given(state=TREES)
def test_a_tree_comes_back_bit_for_bit(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "checkpoint"
    save_checkpoint(path, state, config_digest="x")
    assert equal(load_checkpoint(path, config_digest="x"), state)


def test_what_comes_back_can_be_written_to(tmp_path):
    save_checkpoint(tmp_path / "c", [np.zeros(3)], config_digest="x")
    (weights,) = load_checkpoint(tmp_path / "c", config_digest="x")
    weights += 1
    assert weights.tolist() == [1, 1, 1]


def test_only_its_owner_can_read_it(tmp_path):
    save_checkpoint(tmp_path / "c", {"key": "secret"}, config_digest="x")
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o600


@pytest.fixture
def saved(tmp_path):
    save_checkpoint(tmp_path / "c", {"weights": [np.arange(5.0)], "round": 3}, config_digest="mine")
    return tmp_path / "c"


def refusal(path, digest="mine"):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, config_digest=digest)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_every_truncation_is_refused(saved):
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        assert any(word in refusal(saved) for word in ("truncated", "no checkpoint"))


def test_every_flipped_byte_is_refused(saved):
    content = saved.read_bytes()
    for place in range(len(content)):
        saved.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert refusal(saved)


def test_another_configuration_is_refused(saved):
    assert "written with another configuration" in refusal(saved, digest="other")


def test_none_at_all_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "c")


def test_digests_tell_configurations_apart():
    one, same = (Config(preset="p", training=TrainingConfig(rounds=2)) for _ in range(2))
    assert digest_config(one) == digest_config(same) != digest_config(Config(preset="p"))


@pytest.mark.parametrize(
    "state", [{1: 2}, {"$array": 0}, object(), np.array(["text"]), np.array([None]), float("inf"), {"deep": [b"bytes"]}]
)
def test_what_is_no_tree_is_refused_and_the_last_one_stays(saved, state):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(saved, state, config_digest="mine")
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["c"]


def test_a_full_disk_leaves_the_last_one(tmp_path):
    script = """if True:
        import resource, pathlib, numpy
        from federated.checkpoint import save_checkpoint
        path = pathlib.Path("c")
        save_checkpoint(path, [numpy.zeros(10)], config_digest="x")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        save_checkpoint(path, [numpy.zeros(1000)], config_digest="x")
    """
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert "cannot write the checkpoint c: File too large. The last one is intact" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert load_checkpoint(tmp_path / "c", config_digest="x")[0].shape == (10,)


def test_a_process_that_is_killed_in_mid_write_leaves_the_last_one(tmp_path):
    """It dies at a random moment of an endless series of checkpoints; whatever is there is whole."""
    script = """if True:
        import itertools, pathlib, numpy
        from federated.checkpoint import save_checkpoint
        for number in itertools.count():
            save_checkpoint(pathlib.Path("c"), {"n": number, "w": numpy.full(200_000, number)}, config_digest="x")
            print(number, flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as writer:
        last = int([writer.stdout.readline() for _ in range(5)][-1])
        writer.kill()
        rest = writer.stdout.read().split()
    state = load_checkpoint(tmp_path / "c", config_digest="x")
    assert state["n"] in (int(rest[-1]) if rest else last, (int(rest[-1]) if rest else last) + 1)
    assert (state["w"] == state["n"]).all()

"""The steps that XLA compiles against their NumPy twins, and the whole pipeline of a client with both."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from federated.aggregation import compiled, reference
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import AggregationSettings

pytestmark = pytest.mark.train

SHAPES = [(7, 3), (5,), (2, 2, 2)]
TOLERANCES = {np.float64: 1e-9, np.float32: 1e-5}


def draw(dtype: type, size: float = 1.0) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [(size * random.normal(size=shape)).astype(dtype) for shape in SHAPES]


def run_compiled(function, *arguments):
    found = tf.function(function, jit_compile=True)(*tf.nest.map_structure(tf.constant, arguments))
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), found)


def assert_same(found, expected, tolerance: float) -> None:
    for left, right in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e30])
@pytest.mark.parametrize("bound", [1e-2, 5.0])
def test_clip(dtype, size, bound):
    arguments = draw(dtype, size), np.array(bound, dtype)
    assert_same(run_compiled(compiled.clip, *arguments), reference.clip(*arguments), TOLERANCES[dtype])


def draw_lost_squares() -> list[np.ndarray]:
    """Beside each 1 many entries whose squares are half of its last bit: added to it one by one they vanish."""
    leaf = np.full((1024, 1024), np.sqrt(0.98 * 2.0**-24), np.float32)
    leaf[::32, ::32] = 1
    return [leaf]


def draw_many() -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.normal(size=shape).astype(np.float32) for shape in [(8_000, 80), (80, 240), (400_000,)]]


@pytest.mark.parametrize("draw_update", [draw_lost_squares, draw_many])
@pytest.mark.parametrize("bound", [0.02, 0.5, 3.0])
@pytest.mark.parametrize("steps", [compiled, reference], ids=["compiled", "reference"])
def test_of_a_million_entries_no_clipped_update_is_longer_than_the_bound(steps, draw_update, bound):
    """The noise is made for the bound as the server knows it, in float64."""
    update, arrays = draw_update(), np.array(bound, np.float32)
    clipped, under = run_compiled(steps.clip, update, arrays) if steps is compiled else steps.clip(update, arrays)
    norm = np.sqrt(sum(np.square(leaf.astype(np.float64)).sum() for leaf in clipped))
    assert under == 0
    assert bound * (1 - 2 * reference.CLIP_MARGIN) <= norm <= bound
    assert all(leaf.dtype == np.float32 for leaf in clipped)


@pytest.mark.parametrize("bad", [None, np.nan, np.inf, -np.inf])
def test_screen(bad):
    update = draw(np.float32)
    if bad is not None:
        update[1][2] = bad
    assert_same(run_compiled(compiled.screen, update), reference.screen(update), 0.0)


def test_a_client_that_sends_zeros_is_not_clipped():
    arguments = [np.zeros(shape, np.float32) for shape in SHAPES], np.array(1.0, np.float32)
    assert_same(run_compiled(compiled.clip, *arguments), reference.clip(*arguments), 0.0)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_quantise(dtype):
    update, zero = draw(dtype), np.zeros(4, dtype)
    dither = [np.random.default_rng(4).random(shape).astype(dtype) for shape in [*SHAPES, (4,)]]
    arguments = [*update, zero], dither
    found, expected = run_compiled(compiled.quantise, *arguments), reference.quantise(*arguments)
    for left, right, leaf in zip(found, expected, [*update, zero], strict=True):
        unit = np.abs(leaf).max() / reference.LEVELS or 1.0
        assert np.rint(left / unit).tolist() == np.rint(right / unit).tolist()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_encode_is_equal_in_integers(dtype):
    arguments = draw(dtype, 100.0), np.array(2.0**18, dtype)
    found, expected = run_compiled(compiled.encode, *arguments), reference.encode(*arguments)
    assert [leaf.tolist() for leaf in found] == [leaf.tolist() for leaf in expected]
    assert all(leaf.dtype == np.int32 for leaf in found)


def test_masks_wrap_around_as_integers_do():
    arguments = [np.array([2**31 - 1, -(2**31)], np.int32)], [np.array([5, -7], np.int32)]
    (found,) = run_compiled(compiled.add, *arguments)
    assert found.tolist() == reference.add(*arguments)[0].tolist() == [-(2**31) + 4, 2**31 - 7]


WEIGHT, BOUND = 3.0, 0.7
SETTINGS = {
    "mean": AggregationSettings(),
    "unweighted": AggregationSettings(weighted=False, clip=BOUND, clip_quantile=0.5),
    "eight bits": AggregationSettings(clip=BOUND, eight_bits=True),
    "median": AggregationSettings(combine="median", clip=BOUND, eight_bits=True),
    "secure": AggregationSettings(clip=BOUND, secure_sum=True, weight_cap=2),
}


def clip_twin(update: list[np.ndarray], bound: float) -> tuple[list[np.ndarray], float]:
    norm = np.linalg.norm(np.concatenate([leaf.ravel() for leaf in update]).astype(np.float64))
    target = bound * (1 - reference.CLIP_MARGIN)
    # What is not clipped stays as it is, to the last bit.
    return (update, 1.0) if norm <= target else ([leaf * np.float32(target / norm) for leaf in update], 0.0)


def quantise_twin(leaf: np.ndarray, dither: np.ndarray) -> np.ndarray:
    unit = np.abs(leaf).max() / 127
    return np.floor(leaf / unit + dither) * unit


def client_twin(settings: AggregationSettings, update: list[np.ndarray], local: list[np.ndarray]) -> list[np.ndarray]:
    """The client's row of the drawing in `federated.aggregation.pipeline`, for a finite update."""
    counted = settings.weighted and settings.combine == "mean"
    weight = np.float32(min(WEIGHT, settings.weight_cap if settings.secure_sum else WEIGHT) if counted else 1)
    update, under = clip_twin(update, BOUND) if settings.clip else (update, 1.0)
    update = [leaf * weight for leaf in update]
    if settings.eight_bits:
        update = [quantise_twin(leaf, uniform) for leaf, uniform in zip(update, local, strict=True)]
    if settings.combine != "mean":
        return update
    update = [*update, np.array([weight, under], np.float32)]
    if not settings.secure_sum:
        return update
    *masks, resolution = local
    steps = [*[resolution] * len(SHAPES), 1]
    return [np.trunc(leaf * one).astype(np.int32) + mask for leaf, one, mask in zip(update, steps, masks, strict=True)]


def share_clip(steps: object, update: list[np.ndarray]) -> object:
    """The steps with the twin's clipped leaves: for integers both sides have to truncate the very same numbers."""
    clipped, under = clip_twin(update, BOUND)
    given = [tf.constant(leaf) for leaf in clipped], tf.constant(under, tf.float32)
    return SimpleNamespace(**{**vars(steps), "clip": lambda update, bound: given})


def client_distance(settings: AggregationSettings, size: float, steps: object = compiled) -> float:
    """The largest difference between what a client sends and what its twin does."""
    update = draw(np.float32, size)
    if settings.secure_sum:
        steps = share_clip(steps, update)
    pipeline = Pipeline(settings, SHAPES, steps=steps, seed=1)
    broadcast, local = pipeline.broadcast(1), pipeline.local(1, [4, 8, 9])[1]
    found, _, metrics = run_compiled(pipeline.client, update, np.array(WEIGHT, np.float32), broadcast, local)
    assert metrics["refused"] == 0
    expected = client_twin(settings, update, local)
    assert [(leaf.shape, leaf.dtype) for leaf in found] == [(leaf.shape, leaf.dtype) for leaf in expected]
    return max(np.abs(left.astype(float) - right).max() for left, right in zip(found, expected, strict=True))


@pytest.mark.parametrize("size", [1.0, 1e-3], ids=["clipped", "short"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_whole_client(name, size):
    """The same masks and dither for both: equal in integers, and in floats up to rounding."""
    assert client_distance(SETTINGS[name], size) <= (0 if name == "secure" else 1e-5)


FAULTS = {
    "mean": {"scale": lambda update, weight: update},
    "unweighted": {"clip": lambda update, bound: (update, tf.ones_like(bound))},
    "eight bits": {"quantise": lambda update, dither: compiled.quantise(update, [0 * one for one in dither])},
    "median": {"quantise": lambda update, dither: update},
    "secure": {"encode": lambda update, steps: [tf.cast(tf.round(leaf * steps), tf.int32) for leaf in update]},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_client_would_be_seen(name):
    """A secure sum's is one in the last step of an integer, which only short updates have to be truncated to."""
    steps = SimpleNamespace(**{**vars(compiled), **FAULTS[name]})
    size, tolerance = (1e-3, 0) if name == "secure" else (1.0, 1e-3)
    assert client_distance(SETTINGS[name], size, steps) > tolerance

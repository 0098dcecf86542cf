"""The steps that XLA compiles against their NumPy twins, and the whole pipeline of a client with both."""

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


@pytest.mark.parametrize(
    "settings",
    [
        AggregationSettings(),
        AggregationSettings(weighted=False, clip=0.7, clip_quantile=0.5),
        AggregationSettings(clip=0.7, eight_bits=True),
        AggregationSettings(combine="median", clip=0.7, eight_bits=True),
        AggregationSettings(clip=0.7, secure_sum=True),
    ],
    ids=["mean", "adaptive", "eight bits", "median", "secure"],
)
def test_a_whole_client(settings):
    """The same masks and dither for both: exactly equal in integers, up to rounding in floats."""
    pipeline = Pipeline(settings, SHAPES, steps=compiled, seed=1)
    twin = Pipeline(settings, SHAPES, steps=reference, seed=1)
    broadcast, local = pipeline.broadcast(1), pipeline.local(1, [4, 8, 9])[1]
    update, weight = draw(np.float32), np.array(3.0, np.float32)
    found = run_compiled(pipeline.client, update, weight, broadcast, local)
    expected = twin.client(update, weight, broadcast, local)
    if settings.secure_sum:
        # What is masked is equal but for a truncation that fell on the other side of a step.
        for left, right in zip(found[0], expected[0], strict=True):
            assert left.dtype == right.dtype == np.int32
            assert np.abs(left - right).max() <= 1
    else:
        assert_same(found[0], expected[0], 1e-5)
    assert found[1] == expected[1]
    assert found[2]["refused"] == expected[2]["refused"] == 0

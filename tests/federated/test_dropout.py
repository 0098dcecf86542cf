import numpy as np
import pytest
import tensorflow as tf

from federated.models.dropout import drop

pytestmark = pytest.mark.train

VALUES = tf.ones([100, 200])


def key(*parts: int) -> tf.Tensor:
    return tf.constant(parts, tf.int32)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_hides_its_share_and_keeps_the_mean(rate):
    dropped = drop(VALUES, rate, key(1, 2, 3)).numpy()
    assert (dropped == 0).mean() == pytest.approx(rate, abs=0.01)
    assert set(np.unique(dropped)) == {0, np.float32(1 / (1 - rate))}
    assert (dropped == 0).mean(axis=0) == pytest.approx(rate, abs=0.25), "a column stands out"


def test_is_the_same_under_xla_and_without():
    compiled = tf.function(lambda values, at: drop(values, 0.3, at), jit_compile=True)
    for at in (key(0, 0, 0), key(-1, 7, 2**31 - 1)):
        assert np.array_equal(drop(VALUES, 0.3, at), compiled(VALUES, at))


def test_each_part_of_the_key_counts():
    keys = [key(1, 2, 3), key(2, 2, 3), key(1, 3, 3), key(1, 2, 4), key(2, 1, 3), key(0, 0, 0)]
    masks = [drop(VALUES, 0.5, at).numpy().ravel() > 0 for at in keys]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert (one == other).mean() == pytest.approx(0.5, abs=0.02)


def test_a_rate_of_0_changes_nothing():
    assert drop(VALUES, 0.0, key(1)) is VALUES

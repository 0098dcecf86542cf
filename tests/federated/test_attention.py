import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federated.models.attention import attend

pytestmark = pytest.mark.train

B, T, K, D = 3, 5, 4, 2
NUMBERS = st.floats(-30, 30, width=32)


def attend_slowly(query, keys, values, kept, *, scaled):
    """The specification: one row at a time, float64, only the kept positions."""
    contexts, weights = np.zeros((len(keys), values.shape[-1])), np.zeros(keys.shape[:2])
    for row, positions in enumerate(kept):
        (indices,) = np.nonzero(positions)
        if not len(indices):
            continue
        scores = keys[row, indices].astype(np.float64) @ query
        if scaled:
            scores /= np.sqrt(len(query))
        exponentials = np.exp(scores - scores.max())
        weights[row, indices] = exponentials / exponentials.sum()
        contexts[row] = weights[row, indices] @ values[row, indices]
    return contexts, weights


def attend_now(query, keys, values, kept, *, scaled):
    context, weights = attend(*map(tf.constant, (query, keys, values, kept)), scaled=scaled)
    return context.numpy(), weights.numpy()


@pytest.mark.parametrize(
    ("scaled", "expected"), [(False, [0.1749, 0.1749, 0.1749, 0.4754]), (True, [0.2091, 0.2091, 0.2091, 0.3726])]
)
def test_the_worked_example_of_the_article(scaled, expected):
    states = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]], np.float32)
    context, weights = attend_now(np.full(3, 0.5, np.float32), states, states, np.ones((1, 4), bool), scaled=scaled)
    assert weights[0] == pytest.approx(expected, abs=5e-5)
    assert context[0] == pytest.approx([expected[0] + expected[3]] * 3, abs=1e-4)


@given(
    query=arrays(np.float32, K, elements=NUMBERS),
    keys=arrays(np.float32, (B, T, K), elements=NUMBERS),
    values=arrays(np.float32, (B, T, D), elements=NUMBERS),
    kept=arrays(bool, (B, T)),
    scaled=st.booleans(),
)
def test_agrees_with_its_slow_twin_and_keeps_its_promises(query, keys, values, kept, scaled):
    context, weights = attend_now(query, keys, values, kept, scaled=scaled)
    slow_context, slow_weights = attend_slowly(query, keys, values, kept, scaled=scaled)
    # Scores reach 3,600 here, where neighbouring float32 numbers are 2.4e-4 apart: so far may two softmaxes be.
    assert weights == pytest.approx(slow_weights, abs=5e-3)
    assert context == pytest.approx(slow_context, abs=0.5)
    assert (weights >= 0).all()
    assert not weights[~kept].any()
    assert weights.sum(axis=1) == pytest.approx(kept.any(axis=1).astype(float), abs=1e-6)


@given(
    query=arrays(np.float32, K, elements=st.floats(-1, 1, width=32)),
    keys=arrays(np.float32, (B, T, K), elements=st.floats(-1, 1, width=32)),
    padding=arrays(np.float32, (B, 3, K), elements=NUMBERS),
    scaled=st.booleans(),
)
def test_what_stands_in_the_padding_changes_nothing(query, keys, padding, scaled):
    kept = np.ones((B, T), bool)
    alone = attend_now(query, keys, keys, kept, scaled=scaled)
    padded_keys = np.concatenate([keys, padding], axis=1)
    padded_kept = np.concatenate([kept, np.zeros((B, 3), bool)], axis=1)
    context, weights = attend_now(query, padded_keys, padded_keys, padded_kept, scaled=scaled)
    assert context == pytest.approx(alone[0], abs=1e-6)
    assert weights[:, :T] == pytest.approx(alone[1], abs=1e-6)


def test_gradients_exist_even_where_nothing_is_kept():
    keys = tf.Variable(np.ones((1, 3, K), np.float32))
    with tf.GradientTape() as tape:
        context, _ = attend(tf.ones(K), keys, keys, tf.zeros((1, 3), tf.bool), scaled=True)
        loss = tf.reduce_sum(context)
    assert np.isfinite(tape.gradient(loss, keys).numpy()).all()

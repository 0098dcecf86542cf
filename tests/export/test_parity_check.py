"""What the parity check lets through, and what it says when it refuses. The models here are plain numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.errors import ParityError
from export.parity import TOLERANCE, check_parity
from worker.ports import Scores

pytestmark = pytest.mark.fast

PROBES = [[[3], [1, 2, 5, 4], [2, 2]], [[4, 1, 3]]]


class NumpyModel:
    """Attention proportional to the token ids; the answer is the mean id. `edit` spoils it."""

    def __init__(self, edit=lambda probabilities, weights: None):
        self._edit = edit

    def score(self, token_ids):
        weights = (token_ids / token_ids.sum(axis=1, keepdims=True)).astype(np.float32)
        yes = ((weights * token_ids).sum(axis=1) / 10).astype(np.float32)
        probabilities = np.stack([yes, 1 - yes], axis=1)
        self._edit(probabilities, weights)
        return Scores(probabilities, {"tokens": weights})


def test_equal_models_pass_and_every_row_counts():
    parity = check_parity(NumpyModel(), NumpyModel(), PROBES)
    assert parity.probes == 4
    assert parity.max_abs_diff <= 1e-7


@pytest.mark.parametrize("tensor", ["probabilities", "tokens"])
@pytest.mark.parametrize("amount", [TOLERANCE / 3, TOLERANCE * 3])
def test_difference_is_measured_on_each_tensor(tensor, amount):
    def shift(probabilities, weights):
        values = probabilities if tensor == "probabilities" else weights
        # Only where a row of two tokens is padded to four; its attention still sums to 1.
        if values.shape[0] == 3:
            values[2, :2] += [amount, -amount]

    if amount < TOLERANCE:
        assert check_parity(NumpyModel(shift), NumpyModel(), PROBES).max_abs_diff == pytest.approx(amount, rel=0.1)
    else:
        message = f"'{tensor}' differs by 3.0e-05 .row of 2 tokens padded to 4.; 1e-05 is allowed. Nothing was written"
        with pytest.raises(ParityError, match=message):
            check_parity(NumpyModel(shift), NumpyModel(), PROBES)


@pytest.mark.parametrize("spoiled", ["onnx", "reference"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_not_a_number_is_never_equal(spoiled, number):
    def spoil(probabilities, weights):
        probabilities[0, 0] = number

    models = {"onnx": NumpyModel(), "reference": NumpyModel(), spoiled: NumpyModel(spoil)}
    with pytest.raises(ParityError, match="'probabilities' differs by inf"):
        check_parity(models["onnx"], models["reference"], PROBES)


@given(weight=st.floats(1e-30, 1e-3))
def test_any_weight_on_padding_is_refused(weight):
    def leak(probabilities, weights):
        weights[weights == 0] = weight

    with pytest.raises(ParityError, match=r"attention 'tokens' looks at padding: weight .* .row of 1 tokens padded"):
        check_parity(NumpyModel(leak), NumpyModel(), PROBES)


@pytest.mark.parametrize("factor", [0.5, np.nan])
def test_attention_that_does_not_sum_to_one_is_refused_even_if_both_sides_agree(factor):
    def scale(probabilities, weights):
        weights[weights > 0] *= factor

    with pytest.raises(ParityError, match=r"attention 'tokens' sums to (0\.500000|nan), not to 1"):
        check_parity(NumpyModel(scale), NumpyModel(scale), PROBES)

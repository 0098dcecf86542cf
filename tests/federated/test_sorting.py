import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federated.data.sorting import sort_stably

pytestmark = pytest.mark.fast

EDGES = st.sampled_from([0, 1, 2**16 - 1, 2**16, 2**16 + 1, 2**31, 2**32 - 1])


@given(arrays(np.int64, st.integers(0, 60), elements=EDGES | st.integers(0, 2**32 - 1) | st.integers(0, 3)))
def test_it_is_numpys_stable_order(values):
    assert sort_stably(values).tolist() == np.argsort(values, kind="stable").tolist()

"""ONNX Runtime answers like TensorFlow, whatever a row is padded to and whoever shares its batch."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.errors import ParityError
from export.parity import check_parity
from export.probes import build_probes
from worker.features import pad
from worker.scorer import build_session

pytestmark = pytest.mark.export

BAR = 1e-6
"""Ten times the rounding of float32; a tenth of what the export refuses."""

rows = st.lists(st.lists(st.integers(1, 15), min_size=1, max_size=24), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def probes(load):
    assets = load("gru").assets
    return build_probes([item.ids for item in assets.reference], vocabulary_size=16, max_tokens=24)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", {}),
        ("lstm", {"bidirectional": True}),
        ("gru", {}),
        ("gru", {"bidirectional": True}),
        ("simple_rnn", {"attention": False}),
        ("lstm", {"leave_out": "unpadded"}),
    ],
)
def test_parity(load, scorer, probes, cell, options):
    parity = check_parity(scorer(cell, **options), load(cell, **options).scorer, probes)
    assert parity.max_abs_diff <= BAR
    assert parity.probes == sum(map(len, probes))


def test_graph_that_reads_padding_is_refused_and_only_padding_shows_it(load, build_scorer, probes):
    """The graph as tf2onnx makes it from `unpadded`, without lengths."""
    from export.convert import convert_signature, finish

    loaded = load("lstm", bidirectional=True)
    straight = finish(loaded.model, convert_signature(loaded.model, "unpadded"), signature="unpadded", fused=0)
    scorer = build_scorer(loaded, straight)
    with pytest.raises(ParityError, match=r"'(probabilities|tokens)' differs by .* padded to \d+"):
        check_parity(scorer, loaded.scorer, probes)
    without_padding = [[row] for batch in probes for row in batch]
    assert check_parity(scorer, loaded.scorer, without_padding).max_abs_diff <= BAR


def test_signature_that_takes_the_state_after_the_padding_is_refused(load, scorer, probes):
    """`return_sequences=False` without a mask: lengths inside the node cannot repair that."""
    options = {"attention": False}
    with pytest.raises(ParityError, match="'probabilities' differs"):
        check_parity(scorer("lstm", **options), load("lstm", **options).scorer, probes)


@pytest.fixture(scope="module", params=["lstm", "gru"])
def run(request, converted):
    """The exported bidirectional graph; gives out the recurrent states `[T, 2, B, H]` too."""
    model = onnx.load_from_string(converted(request.param, bidirectional=True).onnx)
    (recurrent,) = (node for node in model.graph.node if node.op_type == request.param.upper())
    model.graph.output.append(onnx.helper.make_tensor_value_info(recurrent.output[0], onnx.TensorProto.FLOAT, None))
    session = build_session(model.SerializeToString(), threads=1)
    names = ["probabilities", "attention", recurrent.output[0]]
    return lambda token_ids: session.run(names, {"token_ids": token_ids})


@settings(deadline=None)
@given(rows=rows, more=st.integers(0, 24))
def test_padding_and_neighbours_change_nothing(run, rows, more):
    """States bit for bit. What sums over tokens may add up in another order, and so differ in the last bit."""
    token_ids = np.pad(pad(rows), ((0, 0), (0, more)))
    probabilities, attention, states = run(token_ids)
    for index, row in enumerate(rows):
        tokens = len(row)
        alone_probabilities, alone_attention, alone_states = run(np.array([row], np.int32))
        np.testing.assert_array_equal(states[:tokens, :, index], alone_states[:, :, 0])
        np.testing.assert_allclose(probabilities[index], alone_probabilities[0], rtol=0, atol=BAR)
        np.testing.assert_allclose(attention[index, :tokens], alone_attention[0], rtol=0, atol=BAR)
        assert not attention[index, tokens:].any()
        assert attention[index].sum(dtype=float) == pytest.approx(1, abs=BAR)

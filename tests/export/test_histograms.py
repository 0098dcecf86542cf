"""Reference histograms count every text once, in bins that the manifest's contract describes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.histograms import build_histograms
from worker.ports import Scores

pytestmark = pytest.mark.fast

CLASSES = 3


class LengthModel:
    """The label is the length of the row modulo 3. The score grows with the first id, to a hair above 1."""

    def score(self, token_ids):
        score = np.minimum(0.4 + token_ids[:, 0] / 40, 1 + 1e-7).astype(np.float32)
        labels = (token_ids != 0).sum(axis=1) % CLASSES
        probabilities = np.repeat((1 - score[:, None]) / 2, CLASSES, axis=1)
        probabilities[np.arange(len(labels)), labels] = score
        return Scores(probabilities, {})


texts = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=40), min_size=1, max_size=70)


@given(texts=texts)
def test_every_text_counts_once_in_each_histogram(texts):
    histograms = build_histograms(LengthModel(), texts, classes=CLASSES, max_tokens=40)
    assert sorted(histograms) == ["label", "score", "tokens", "unknown_share"]
    for histogram in histograms.values():
        assert sum(histogram.counts) == len(texts)
        assert len(histogram.edges) == len(histogram.counts) + 1
        assert sorted(set(histogram.edges)) == histogram.edges


@given(texts=texts)
def test_labels_are_the_predicted_ones(texts):
    label = build_histograms(LengthModel(), texts, classes=CLASSES, max_tokens=40)["label"]
    assert label.edges == [0, 1, 2, 3]
    assert label.counts == [sum(len(ids) % CLASSES == c for ids in texts) for c in range(CLASSES)]


def test_values_land_in_their_bins():
    texts = [[1], [1, 1, 1, 5], [30] * 4]
    histograms = build_histograms(LengthModel(), texts, classes=CLASSES, max_tokens=4)
    assert histograms["tokens"].edges == [1, 2, 3, 4, 5]
    assert histograms["tokens"].counts == [1, 0, 0, 2]
    shares = histograms["unknown_share"]
    assert shares.edges[:3] == [0, 0.05, 0.1]
    assert {edge: count for edge, count in zip(shares.edges, shares.counts, strict=False) if count} == {
        0.0: 1,
        0.75: 1,
        0.95: 1,
    }
    scores = histograms["score"]
    assert {edge: count for edge, count in zip(scores.edges, scores.counts, strict=False) if count} == {
        0.4: 2,
        0.95: 1,
    }


@pytest.mark.parametrize("max_tokens", [1, 2, 19, 20, 21, 48, 512])
def test_length_bins_lie_between_whole_numbers_and_differ_by_one_at_most(max_tokens):
    edges = build_histograms(LengthModel(), [[1]], classes=CLASSES, max_tokens=max_tokens)["tokens"].edges
    assert (edges[0], edges[-1]) == (1, max_tokens + 1)
    widths = np.diff(edges)
    assert widths.max() - widths.min() <= 1
    assert (widths == widths.round()).all()

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from federated.evaluation.classification import score

pytestmark = pytest.mark.fast

LABELS = ["a", "b", "c", "d"]
CLASSES = st.integers(0, len(LABELS) - 1)


@given(st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=60))
def test_scores_equal_those_of_scikit_learn(pairs):
    truth, predicted = np.array(pairs).T
    result = score(truth, predicted, LABELS)
    assert result["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert result["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert result["macro_recall"] == pytest.approx(recall_score(truth, predicted, average="macro", zero_division=0))
    present = sorted(set(truth))
    each = recall_score(truth, predicted, labels=present, average=None, zero_division=0)
    assert {name: value for name, value in result.items() if name.startswith("recall.")} == pytest.approx(
        {f"recall.{LABELS[label]}": value for label, value in zip(present, each, strict=True)}
    )


def test_a_class_that_nobody_has_or_predicts_does_not_count():
    assert score(np.array([0, 1]), np.array([0, 1]), LABELS)["macro_f1"] == 1

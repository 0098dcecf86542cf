"""Who gains from a model of its own: counted by client, on the client's own examples."""

import numpy as np
import pytest

from federated.comparison import Answers, compare, describe, encode, load_comparisons
from federated.data.encoding import ClientDataset
from federated.errors import DataError

pytestmark = pytest.mark.fast

LABELS = ["a", "b"]
OWNER = np.array([4, 4, 7, 7, 7, 7, 9])
TRUTH = np.array([0, 1, 0, 0, 1, 1, 1], np.int32)
SHARED = np.array([0, 0, 0, 0, 1, 1, 1])
PERSONAL = np.array([0, 1, 0, 0, 1, 0, 1])
"""Client 4 goes from 1/2 to 1, client 7 from 1 to 3/4, client 9 stays at 1."""


def probabilities(predicted: np.ndarray) -> np.ndarray:
    return np.where(np.eye(2)[predicted] > 0, 0.9, 0.1)


@pytest.fixture
def comparison():
    data = ClientDataset(np.ones((len(TRUTH), 3), np.int32), TRUTH)
    return compare(data, OWNER, Answers(probabilities(SHARED), probabilities(PERSONAL)), LABELS)


def test_clients_are_counted_once_each(comparison):
    assert (comparison.clients, comparison.better, comparison.worse) == (3, 1, 1)
    assert comparison.mean_gain == pytest.approx((0.5 - 0.25 + 0) / 3)
    assert comparison.gain_error == pytest.approx(np.std([0.5, -0.25, 0], ddof=1) / 3**0.5)


def test_both_models_are_judged_on_all_examples(comparison):
    assert comparison.shared["accuracy"] == comparison.personal["accuracy"] == pytest.approx(6 / 7)
    assert comparison.shared["client_accuracy_worst_decile"] == 0.5
    assert comparison.personal["client_accuracy_worst_decile"] == 0.75


def test_a_single_client_has_no_error_of_the_mean():
    data = ClientDataset(np.ones((2, 3), np.int32), TRUTH[:2])
    found = compare(data, OWNER[:2], Answers(probabilities(SHARED[:2]), probabilities(PERSONAL[:2])), LABELS)
    assert (found.clients, found.mean_gain, found.gain_error) == (1, 0.5, 0.0)


def test_what_is_no_number_is_refused():
    data = ClientDataset(np.ones((2, 3), np.int32), TRUTH[:2])
    with pytest.raises(FloatingPointError):
        compare(data, OWNER[:2], Answers(probabilities(SHARED[:2]), np.full((2, 2), np.nan)), LABELS)


def test_it_comes_back_from_its_file_and_tells_both_models_apart(tmp_path, comparison):
    path = tmp_path / "personal.json"
    assert load_comparisons(path) == {}
    path.write_bytes(encode({"fine-tuned": comparison}))
    assert load_comparisons(path) == {"fine-tuned": comparison}
    lines = describe(load_comparisons(path))
    assert lines["fine-tuned"].startswith("of 3 clients 1 are served better and 1 worse, +0.0833 ± ")
    assert "client_accuracy_worst_decile 0.5" in lines["fine-tuned, shared model"]
    assert "client_accuracy_worst_decile 0.75" in lines["fine-tuned, own models"]


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "personal.json"
    path.write_text('{"fine-tuned": {}}')
    with pytest.raises(DataError, match=r"personal\.json is damaged.*Run personalize again"):
        load_comparisons(path)

"""How well a classifier does: accuracy, macro-F1 and recall from the confusion matrix.

Definitions as in scikit-learn with ``zero_division=0``: F1 of a class is 2 TP / (2 TP + FP + FN); a macro average is
the plain mean over the classes that appear in the truth or in the prediction.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_PROBABILITY = 1e-7
"""A single confident mistake would make the loss infinite."""


def score(truth: NDArray[np.integer], predicted: NDArray[np.integer], labels: Sequence[str]) -> dict[str, float]:
    """Scores predictions.

    Args:
        truth: class of each example, `[N]`.
        predicted: class that the model gave, `[N]`.
        labels: name of each class, for the keys of the result.

    Returns:
        ``accuracy``, ``macro_f1``, ``macro_recall``, and ``recall.<label>`` for each class with examples.
    """
    confusion = np.zeros((len(labels), len(labels)))
    np.add.at(confusion, (truth, predicted), 1)
    hits, support, given = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    appears = support + given > 0
    f1 = 2 * hits[appears] / (support + given)[appears]
    recall = hits / np.maximum(support, 1)
    return {
        "accuracy": float(hits.sum() / len(truth)),
        "macro_f1": float(f1.mean()),
        "macro_recall": float(recall[appears].mean()),
        **{f"recall.{label}": float(recall[i]) for i, label in enumerate(labels) if support[i]},
    }


def cross_entropy(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Mean of -log of the true class's probability, which counts as at least 1e-7, as in Keras.

    Args:
        truth: class of each example, `[N]`.
        probabilities: `[N, C]`.
    """
    given = np.take_along_axis(probabilities, truth[:, np.newaxis], axis=1)
    return float(-np.log(np.maximum(given, LEAST_PROBABILITY)).mean())

"""``python -m federated explain``: what a trained model answers to a text, and where it looked."""

import argparse
import sys
from pathlib import Path

import numpy as np

from federated.errors import DataError
from worker.errors import FeatureError
from worker.features import TextEncoder, pad

SHOWN_LABELS = 3
BAR_WIDTH = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="SavedModel that train wrote")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="default: one text a line from standard input")


def run(arguments: argparse.Namespace) -> None:
    """Prints the likeliest labels of each text, and the weight of each of its tokens.

    Raises:
        DataError: there is no model, or a text has no visible character.
    """
    # Loading TensorFlow takes seconds, and `--help` does not need it.
    from federated.loaded_model import load_model  # noqa: PLC0415

    model = load_model(arguments.model)
    encoder = TextEncoder(model.vocabulary, max_tokens=model.field.max_tokens)
    for number, text in enumerate(arguments.texts or map(str.rstrip, sys.stdin), start=1):
        try:
            encoded = encoder.encode(text)
        except FeatureError as error:
            raise DataError(f"text {number}: {error}") from error
        answer = model.answer(pad([encoded.ids]))
        weights = answer["attention"][0] if "attention" in answer else None
        tokens = [text[start:end] for start, end in encoded.spans]
        print(explain(tokens, answer["probabilities"][0], weights, model.card.labels))


def explain(tokens: list[str], probabilities: np.ndarray, weights: np.ndarray | None, labels: list[str]) -> str:
    """An answer as lines of text: the likeliest labels, then a bar for each token.

    Args:
        tokens: as they stand in the text, T of them.
        probabilities: `[C]`.
        weights: attention, `[T]`; None if the model has none.
        labels: name of each class.
    """
    likeliest = np.argsort(-probabilities)[:SHOWN_LABELS]
    lines = ["  ".join(f"{labels[label]} {probabilities[label]:.3f}" for label in likeliest)]
    if weights is not None:
        largest = weights.max()
        lines += [
            f"  {weight:.3f} {'█' * round(BAR_WIDTH * weight / largest):{BAR_WIDTH}} {token}"
            for token, weight in zip(tokens, weights, strict=True)
        ]
    return "\n".join(lines)

"""What training leaves behind: a TensorFlow SavedModel that says everything export needs.

::

    DIR/
    ├── saved_model.pb, variables/    signatures `serving_default` and `unpadded`
    └── assets.extra/
        ├── model.json                `worker.bundle.ModelCard`
        ├── vocabulary.txt            one token a line
        └── reference.jsonl           {"text": ..., "label": ...} a line

Both signatures take ``token_ids`` int32 `[B, T]` and give ``probabilities`` `[B, C]` and, with attention, ``attention``
`[B, T]`. `serving_default` is exact under padding. `unpadded` (LSTM and GRU only) has the same weights, but its encoder
reads the padding too: it is exact only for rows without any, and is there for export, which gives the recurrent nodes
each row's length.

``reference.jsonl`` holds examples that were kept from training to judge the model by.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import tensorflow as tf

from federated.data.examples import Example
from federated.errors import OutputError
from federated.models.classifier import Classifier
from worker.bundle import ModelCard, encode_vocabulary
from worker.files import write_directory, write_files

REFERENCE_EXAMPLES = 512


def write_saved_model(
    path: Path, classifier: Classifier, card: ModelCard, *, vocabulary: Sequence[str], reference: Sequence[Example]
) -> None:
    """Writes the model to `path`, whole or not at all.

    Args:
        path: a directory that does not exist yet.
        classifier: the model with its final weights.
        card: goes into ``model.json``.
        vocabulary: token of each id.
        reference: held-out examples; the first `REFERENCE_EXAMPLES` of them are kept.

    Raises:
        OutputError: `path` exists already, or cannot be written.
    """
    lines = [{"text": example.text, "label": example.label} for example in reference[:REFERENCE_EXAMPLES]]
    assets = {
        "model.json": msgspec.json.format(msgspec.json.encode(card), indent=2),
        "vocabulary.txt": encode_vocabulary(list(vocabulary)),
        "reference.jsonl": msgspec.json.Encoder().encode_lines(lines),
    }

    def fill(directory: Path) -> None:
        _save(directory, classifier)
        write_files(directory / "assets.extra", assets)

    try:
        write_directory(path, fill)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}. Name another directory.") from error
    except tf.errors.OpError as error:
        raise OutputError(f"cannot write {path}: {error.message}. Name another directory.") from error


def _save(directory: Path, classifier: Classifier) -> None:
    # The signatures read the variables; a module has to hold them, or they would not be saved.
    module = tf.Module()
    module.weights = classifier.weights
    signatures = {"serving_default": classifier.serving, "unpadded": classifier.unpadded}
    tf.saved_model.save(module, str(directory), {name: view for name, view in signatures.items() if view is not None})

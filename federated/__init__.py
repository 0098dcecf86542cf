"""Federated training of the attention model over simulated clients."""

import os

# Both must be set before TensorFlow is imported, and everything that imports it is below this package.
# Without the first, every SavedModel write fails: wrapt's compiled wrapper is not the tuple that Keras expects.
os.environ.setdefault("WRAPT_DISABLE_EXTENSIONS", "1")
# TensorFlow's greetings would stand between the lines that a user wants to read.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

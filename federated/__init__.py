"""Federated training of the attention model over simulated clients."""

import os

# All must be set before TensorFlow is imported, and everything that imports it is below this package.
# Without the first, every SavedModel write fails: wrapt's compiled wrapper is not the tuple that Keras expects.
os.environ.setdefault("WRAPT_DISABLE_EXTENSIONS", "1")
# TensorFlow's greetings would stand between the lines that a user wants to read.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Keras keeps its defaults in a file below the home directory: another float type or epsilon there would change every
# result, and a file that cannot be read ends the import. No file fits below a device.
os.environ.setdefault("KERAS_HOME", os.devnull)
# XLA would cut a product into as many parts as threads are free, and so the last bits of a sum would depend on the
# machine; the engine runs several programs side by side in place of that.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

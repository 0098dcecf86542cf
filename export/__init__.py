"""From a SavedModel to an ONNX bundle whose answers were checked against TensorFlow.

::

    SavedModel ──assets──▶ card, vocabulary, reference texts ─────────────┐
        │                                                                 ▼
        └──convert──▶ ONNX graph ──sequence_lens, canonical──▶ parity ──▶ golden, histograms ──▶ bundle
"""

import os

# The libraries read these when they are first imported, so they have to stand before any module of this package does
# that. wrapt's C extension breaks TensorFlow 2.14's own bookkeeping of saved objects.
os.environ.setdefault("WRAPT_DISABLE_EXTENSIONS", "1")
# No log lines about CPU features between ours.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Keras would make a file with its defaults below the home directory, and believe one that is there.
os.environ.setdefault("KERAS_HOME", os.devnull)
# ONNX Runtime would keep an identifier of this machine below the home directory, and complain where it cannot.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

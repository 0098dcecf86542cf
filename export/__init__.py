"""From a SavedModel to an ONNX bundle whose answers were checked against TensorFlow.

::

    SavedModel ──assets──▶ card, vocabulary, reference texts ─────────────┐
        │                                                                 ▼
        └──convert──▶ ONNX graph ──sequence_lens, canonical──▶ parity ──▶ golden, histograms ──▶ bundle
"""

import os

# TensorFlow reads both when it is first imported, so they have to stand before any module of this package does that.
# The first: wrapt's C extension breaks TensorFlow 2.14's own bookkeeping of saved objects. The second: no log lines
# about CPU features between ours.
os.environ.setdefault("WRAPT_DISABLE_EXTENSIONS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

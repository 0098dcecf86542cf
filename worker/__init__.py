"""Limelight's scoring service: Kafka records in, predictions with attention weights out. Never imports TensorFlow."""

import os

# ONNX Runtime reads it when it is first imported: it would keep an identifier of this machine below the home directory,
# and complain where it cannot.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

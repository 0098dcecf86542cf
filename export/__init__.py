"""From a SavedModel to an ONNX bundle whose answers were checked against TensorFlow."""

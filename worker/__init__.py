"""Limelight's scoring service: Kafka records in, predictions with attention weights out. Never imports TensorFlow."""

"""Examples on their way to the clients: generated or read, split, partitioned, encoded. Free of TensorFlow."""

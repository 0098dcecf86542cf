"""From a record to its answer: read, cut into tokens, scored in micro-batches, written as a Prediction."""

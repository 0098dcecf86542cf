"""How fast a federated round is: our engines beside TensorFlow Federated's own loops, with the same model."""

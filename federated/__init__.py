"""Federated training of the attention model over simulated clients."""

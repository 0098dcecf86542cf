"""How well a model does: over all examples, client by client, and how soon."""

from federated.evaluation.classification import score

__all__ = ["score"]

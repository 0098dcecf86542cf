"""What is measured: federations of a few sizes, with an LSTM and attention over random texts."""

from typing import NamedTuple

import numpy as np

from federated.config import Config, ModelConfig, TrainingConfig
from federated.data.clients import ClientDataset

BATCH_SIZE = 16
CLASSES = 2
SEED = 1


class Shape(NamedTuple):
    """One federation; every client takes part in every round, with `examples` each."""

    clients: int
    examples: int
    vocabulary: int
    hidden: int
    tokens: int

    def describe(self) -> str:
        """In a few words."""
        return f"{self.clients} clients x {self.examples} examples, V={self.vocabulary} H={self.hidden} T={self.tokens}"


SHAPES = {
    "small": Shape(clients=10, examples=64, vocabulary=1_000, hidden=32, tokens=20),
    "medium": Shape(clients=50, examples=64, vocabulary=1_000, hidden=32, tokens=20),
    "large": Shape(clients=10, examples=128, vocabulary=5_000, hidden=128, tokens=32),
    "many": Shape(clients=500, examples=64, vocabulary=1_000, hidden=32, tokens=20),
}


def build_config(shape: Shape) -> Config:
    """FedAvg with plain SGD on both sides: what every contestant can do."""
    model = ModelConfig(encoder="lstm", embedding_size=shape.hidden, hidden_size=shape.hidden, key_size=shape.hidden)
    training = TrainingConfig(
        clients_per_round=shape.clients, batch_size=BATCH_SIZE, server_optimizer="sgd", server_learning_rate=1.0
    )
    return Config(preset="bench", seed=SEED, model=model, training=training)


def draw_clients(shape: Shape) -> list[ClientDataset]:
    """Random texts of half to all of T tokens."""
    random = np.random.default_rng(SEED)
    clients = []
    for _ in range(shape.clients):
        token_ids = random.integers(1, shape.vocabulary, (shape.examples, shape.tokens), dtype=np.int32)
        lengths = random.integers(shape.tokens // 2, shape.tokens + 1, (shape.examples, 1))
        token_ids[np.arange(shape.tokens) >= lengths] = 0
        clients.append(ClientDataset(token_ids, random.integers(0, CLASSES, shape.examples, dtype=np.int32)))
    return clients

"""What a finished run says about its model: where it comes from, what it reads, and what privacy it promises."""

from importlib import metadata
from typing import Literal

from federated.config import Config
from federated.data.clients import Federation
from federated.privacy.card import build_card
from federated.privacy.opening import Privacy
from federated.rounds import Outcome
from worker.bundle import AttentionAxes, ModelCard, TextField, Training
from worker.privacy import PrivacyCard

_LIBRARIES = {
    "xla": ("tensorflow", "numpy"),
    "tff": ("tensorflow-federated", "tensorflow", "numpy"),
    "ray": ("ray", "tensorflow", "numpy"),
}
"""What decides the numbers, by engine."""


def describe_training(config: Config, outcome: Outcome, *, clients: int, seconds: float) -> Training:
    """How the model came about.

    Args:
        config: of the run.
        outcome: of its rounds.
        clients: how many there were.
        seconds: from the clients in memory to the weights.
    """
    return Training(
        preset=config.preset,
        engine=config.training.engine,
        rounds=outcome.rounds,
        clients=clients,
        seed=config.seed,
        seconds=round(seconds, 3),
        metrics=outcome.metrics,
        library_versions={name: metadata.version(name) for name in _LIBRARIES[config.training.engine]},
    )


def describe_privacy(config: Config, privacy: Privacy | None, *, clip: float) -> PrivacyCard | Literal["none"]:
    """What the run promises.

    Args:
        config: of the run.
        privacy: of a differentially private run.
        clip: of its last round.
    """
    if privacy is None:
        return "none"
    return build_card(
        privacy.plan,
        charged_rounds=privacy.ledger.charged_rounds,
        clip=clip,
        adaptive=config.aggregation.clip_quantile > 0,
        secure_sum=config.aggregation.secure_sum,
        given_key=privacy.key.given,
    )


def describe_model(
    config: Config, federation: Federation, training: Training, privacy: PrivacyCard | Literal["none"]
) -> ModelCard:
    """All of it."""
    field = TextField(name="text", input="token_ids", vocabulary="vocabulary.txt", max_tokens=federation.max_tokens)
    attention = AttentionAxes(name="tokens", output="attention", field=field.name, axes=["token"])
    return ModelCard(
        name=config.model.name,
        task="classify",
        fields=[field],
        attention=[] if config.model.attention == "none" else [attention],
        labels=federation.labels,
        training=training,
        privacy=privacy,
    )

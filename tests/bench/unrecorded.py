"""A training as every run does it, in this process, that leaves nothing behind but its figures."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from federated.algorithms.definition import Leaves
from federated.assembly import attack_data, open_server
from federated.config import Config
from federated.data.clients import Federation
from federated.engines.cohort import Engine
from federated.evaluation.judge import Judge
from federated.models.classifier import Classifier, build_classifier
from federated.privacy.opening import Privacy
from federated.rounds import Outcome, run_rounds
from federated.run_state import RunState
from federated.training import predict
from worker.messages import RoundRecord

Evaluate = Callable[[Leaves], dict[str, float]]


class Trained(NamedTuple):
    """What came out."""

    outcome: Outcome
    state: RunState
    records: list[RoundRecord]
    engine: Engine
    """It is closed; what it counted stays."""


def describe_sizes(federation: Federation) -> dict[str, int]:
    """What a model of these clients has to know."""
    return {"vocabulary_size": len(federation.vocabulary), "classes": len(federation.labels)}


def build_evaluation(config: Config, federation: Federation) -> tuple[Classifier, Evaluate]:
    """A classifier, and what judges its weights on the populations that are not sealed."""
    classifier, judge = build_classifier(config.model, **describe_sizes(federation)), Judge(federation)

    def evaluate(weights: Leaves) -> dict[str, float]:
        classifier.set_weights(weights)
        return judge(partial(predict, classifier))

    return classifier, evaluate


def train(config: Config, federation: Federation, evaluate: Evaluate, *, privacy: Privacy | None = None) -> Trained:
    """Runs all rounds of `config`."""
    records, state = [], RunState(config.training)
    with open_server(config, federation, privacy) as server:
        outcome = run_rounds(
            server,
            attack_data(config, federation),
            config,
            state,
            run="bench",
            evaluate=evaluate,
            reports=[records.append],
            save=lambda *, last: None,
            privacy=privacy,
        )
        return Trained(outcome, state, records, server._engine)

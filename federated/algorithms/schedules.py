"""Learning rates over the rounds of a run."""

import math

from federated.config import ScheduleName, TrainingConfig

FINAL_SHARE = 0.01
"""What an exponential schedule leaves of the first rate in the last round."""


def scale(name: ScheduleName, number: int, *, rounds: int, warmup: int = 0) -> float:
    """The factor on a learning rate in one round.

    Args:
        name: ``linear`` and ``cosine`` (Loshchilov and Hutter, 2017) fall from 1 towards 0 after the last round,
            ``exponential`` to `FINAL_SHARE` in the last one.
        number: of the round, from 1.
        rounds: of the whole run.
        warmup: rounds over which the factor first rises in a straight line; the schedule counts from behind them.
    """
    if number <= warmup:
        return number / (warmup + 1)
    passed = (number - 1 - warmup) / max(rounds - warmup, 1)
    if name == "linear":
        return 1 - passed
    if name == "cosine":
        return (1 + math.cos(math.pi * passed)) / 2
    if name == "exponential":
        return FINAL_SHARE ** ((number - 1 - warmup) / max(rounds - warmup - 1, 1))
    return 1.0


def client_rate(training: TrainingConfig, number: int) -> float:
    """The clients' learning rate in round `number`."""
    factor = scale(training.client_schedule, number, rounds=training.rounds, warmup=training.warmup_rounds)
    return training.client_learning_rate * factor


def server_rate(training: TrainingConfig, number: int) -> float:
    """The server's learning rate in round `number`."""
    factor = scale(training.server_schedule, number, rounds=training.rounds, warmup=training.warmup_rounds)
    return training.server_learning_rate * factor

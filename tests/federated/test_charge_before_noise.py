"""A process that is killed between a round's charge and its noise has paid for the round."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from federated.privacy.keys import load_key
from federated.privacy.ledger import open_ledger
from federated.privacy.opening import KEY, LEDGER

pytestmark = pytest.mark.fast

ROUNDS_BEFORE = 2

RUN = f"""
import os, signal, sys
from pathlib import Path
import numpy as np
from federated.aggregation import pipeline, reference
from federated.aggregation.settings import AggregationSettings
from federated.aggregation.vectors import aggregate_vectors
from federated.privacy import ledger
from federated.privacy.accountant import Mechanism
from federated.privacy.keys import draw_key
from federated.privacy.opening import KEY, LEDGER, Privacy
from federated.privacy.plan import PrivacyPlan

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

directory, where = Path(sys.argv[1]), sys.argv[2]
plan = PrivacyPlan(
    mechanism=Mechanism(sampling="poisson", clients=9, cohort=3), epsilon=9.0, delta=1e-5, rounds=5,
    noise_multiplier=2.0, cohort_cap=9, curve=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
)
key = draw_key()
key.save(directory / KEY)
privacy = Privacy(ledger.begin_ledger(directory / LEDGER, plan, key), key)
aggregation = pipeline.Pipeline(AggregationSettings(clip=1.0), [(4,)], steps=reference, seed=1, privacy=privacy)
for number in range(1, {ROUNDS_BEFORE} + 1):
    aggregate_vectors(aggregation, [], [], number=number)
print("released", flush=True)
setattr(pipeline if where == "draw_gaussian" else ledger, where, die)
aggregate_vectors(aggregation, [], [], number={ROUNDS_BEFORE} + 1)
"""


def kill(directory: Path, where: str) -> int:
    """Ends a run with SIGKILL where the next round calls `where`; returns how many rounds it has paid for."""
    command = [sys.executable, "-c", RUN, str(directory), where]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    assert (run.returncode, run.stdout) == (-signal.SIGKILL, "released\n")
    return open_ledger(directory / LEDGER, load_key(directory / KEY)).charged_rounds


def test_killed_as_it_draws_its_noise_a_round_is_charged(tmp_path):
    assert kill(tmp_path, "draw_gaussian") == ROUNDS_BEFORE + 1


def test_killed_before_its_charge_is_written_a_round_has_drawn_nothing(tmp_path):
    assert kill(tmp_path, "write_file") == ROUNDS_BEFORE

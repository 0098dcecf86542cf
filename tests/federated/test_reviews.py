"""Real data: 11,987 Chinese food-delivery reviews go all the way to clients."""

import os
from pathlib import Path

import pytest

from federated.data.clients import build_federation
from federated.data.partition import PartitionSettings
from federated.data.populations import Shares
from federated.data.readers import Source, read_examples

pytestmark = pytest.mark.fast

DATA_DIR = Path(os.environ.get("DATA_DIR", Path(__file__).parents[2] / ".." / "shared" / "data"))
REVIEWS = DATA_DIR / "waimai_10k.csv"


@pytest.mark.skipif(not REVIEWS.exists(), reason=f"{REVIEWS} is not there; set DATA_DIR to the directory that has it")
def test_reviews_become_clients(stored):
    examples = list(read_examples(Source(REVIEWS, "review", "label")))
    assert len(examples) == 11_987
    federation = build_federation(
        stored(examples),
        partition_settings=PartitionSettings(by="dirichlet", clients=50, alpha=1.0),
        shares=Shares(heldout=0.1),
        vocabulary_size=3_000,
        min_count=2,
        max_tokens=64,
        seed=1,
    )
    assert federation.labels == ["0", "1"]
    assert 45 <= len(federation.clients) <= 50
    assert sum(len(client.label) for client in federation.clients) + len(federation.heldout.label) == 11_987
    assert len(federation.heldout.label) == pytest.approx(1_199, abs=1)
    everything = sum(example.label == "1" for example in examples) / len(examples)
    assert federation.heldout.label.mean() == pytest.approx(everything, abs=0.002)

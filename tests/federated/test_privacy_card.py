import msgspec
import pytest

from federated.privacy.accountant import Mechanism
from federated.privacy.card import build_card
from federated.privacy.plan import PrivacyPlan
from worker.privacy import PrivacyCard

pytestmark = pytest.mark.fast


def build(sampling: str = "poisson", **changes: object) -> PrivacyCard:
    plan = PrivacyPlan(
        mechanism=Mechanism(sampling=sampling, clients=2_000, cohort=100),
        epsilon=8.0,
        delta=1e-5,
        rounds=3,
        noise_multiplier=0.7,
        cohort_cap=190,
        curve=[0.0, 3.0, 5.0, 7.9],
    )
    options = {"charged_rounds": 2, "clip": 0.5, "adaptive": False, "secure_sum": False, "given_key": False}
    return build_card(plan, **{**options, **changes})


def test_the_card_says_what_was_charged_not_what_was_planned():
    card = build()
    assert (card.epsilon, card.epsilon_spent, card.rounds) == (8.0, 5.0, 2)
    assert (card.sampling_rate, card.cohort, card.cohort_cap, card.clients) == (0.05, 100, 190, 2_000)
    assert (card.relation, card.accountant) == ("add or remove one client", "PLD")


def test_every_released_item_is_covered_public_or_said_not_to_be_covered():
    items = {item.name: item for item in build().released}
    assert [item.name for item in items.values() if item.status == "dp"] == ["model weights"]
    assert items["model weights"].epsilon == 5.0
    uncovered = ["vocabulary", "labels", "histograms", "golden records", "held-out metrics", "test set metrics"]
    for name in (*uncovered, "round metrics", "durations", "personal models"):
        assert items[name].status == "not covered", name
    assert items["clip"].status == "public"
    assert "the number of its examples can be computed" in items["round metrics"].note
    assert "who was chosen" in items["personal models"].note


def test_a_clip_that_followed_the_updates_is_covered_and_not_public():
    (clip,) = (item for item in build(adaptive=True).released if item.name == "clip")
    assert (clip.status, clip.epsilon) == ("dp", 5.0)


def test_a_locally_private_run_has_no_round_metrics_to_list():
    assert "round metrics" not in {item.name for item in build("local").released}


def test_a_given_key_makes_the_run_a_simulation():
    assert build().key == "secret"
    assert build(given_key=True).key == "reproducible simulation"


@pytest.mark.parametrize(
    ("sampling", "secure_sum", "words"),
    [("poisson", False, "sees each client's update"), ("fixed", True, "sees the sum"), ("local", False, "nobody")],
)
def test_the_card_names_whom_clients_have_to_trust(sampling, secure_sum, words):
    assert words in build(sampling, secure_sum=secure_sum).trusted_party


def test_the_card_survives_json():
    assert msgspec.json.decode(msgspec.json.encode(build()), type=PrivacyCard) == build()

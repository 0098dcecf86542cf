"""The privacy card of a finished run: see `worker.privacy`."""

from federated.privacy.plan import PrivacyPlan
from worker.privacy import PrivacyCard, ReleasedItem

_NOT_COVERED = {
    "vocabulary": "tokens that enough of the clients' texts share, counted without noise",
    "labels": "their names, as the clients' examples use them",
    "golden records": "texts of held-out examples, in clear",
    "histograms": "of held-out examples, counted without noise",
    "held-out metrics": "about people whose examples were held out, computed without noise",
    "test set metrics": "where a test set was kept and opened: about people whose examples are in it, without noise",
    "round metrics": "loss, accuracy and refused updates of each cohort, exact: the number of its examples can be "
    "computed from them, and a round without them had nobody",
    "durations": "of each round and of the run: longer where more clients came, and where they have more examples",
    "personal models": "Ditto's and fine-tuned ones, each made from one client's examples; figures in personal.json. "
    "The names of Ditto's files tell who was chosen and when, and sampling counts only against those who do not know",
}
_PUBLIC = {
    "configuration": "preset, architecture, rounds, public seed",
    "number of clients": "taken as known; the sampling rate is computed from it",
    "noise multiplier": "solved from the budget",
    "cohort size": "the expected size, by which rounds count their bytes",
}


def build_card(
    plan: PrivacyPlan, *, charged_rounds: int, clip: float, adaptive: bool, secure_sum: bool, given_key: bool
) -> PrivacyCard:
    """Says what was kept.

    Args:
        plan: the ledger's.
        charged_rounds: the ledger's.
        clip: of the last round.
        adaptive: the clip followed the updates; with privacy this is part of the noise's budget.
        secure_sum: the server saw sums only.
        given_key: a person chose the noise key.
    """
    spent = plan.curve[charged_rounds]
    covered = {"model weights": "of every round, and their mean"}
    public = dict(_PUBLIC)
    # A clip that follows the updates is released with part of the noise's budget.
    (covered if adaptive else public)["clip"] = "in the last round"
    return PrivacyCard(
        relation=plan.relation,
        epsilon=plan.epsilon,
        epsilon_spent=spent,
        delta=plan.delta,
        accountant=plan.accountant,
        sampling=plan.mechanism.sampling,
        sampling_rate=plan.mechanism.sampling_rate,
        rounds=charged_rounds,
        noise_multiplier=plan.noise_multiplier,
        clip=clip,
        adaptive_clip=adaptive,
        clients=plan.mechanism.clients,
        cohort=plan.mechanism.cohort,
        cohort_cap=plan.cohort_cap,
        trusted_party=_name_trusted_party(plan, secure_sum=secure_sum),
        key="reproducible simulation" if given_key else "secret",
        released=[
            *(ReleasedItem(name=name, status="dp", epsilon=spent, note=note) for name, note in covered.items()),
            *(ReleasedItem(name=name, status="not covered", note=note) for name, note in _list_uncovered(plan)),
            *(ReleasedItem(name=name, status="public", note=note) for name, note in public.items()),
        ],
    )


def _list_uncovered(plan: PrivacyPlan) -> list[tuple[str, str]]:
    # Where clients add their own noise, their figures stay with them.
    absent = {"round metrics"} if plan.mechanism.sampling == "local" else set()
    return [(name, note) for name, note in _NOT_COVERED.items() if name not in absent]


def _name_trusted_party(plan: PrivacyPlan, *, secure_sum: bool) -> str:
    if plan.mechanism.sampling == "local":
        return "nobody in a round: each client adds its own noise before anything leaves it"
    seen = "the sum of each round" if secure_sum else "each client's update"
    return f"the server: it sees {seen}, chooses the cohorts, adds the noise, and removes its key with the last round"

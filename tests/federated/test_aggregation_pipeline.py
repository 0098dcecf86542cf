import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.aggregation import reference
from federated.aggregation.adaptive_clip import move_clip, split_noise
from federated.aggregation.noise import draw_gaussian, draw_tree_step
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import REFUSED, AggregationSettings, check_combination, list_features
from federated.aggregation.vectors import aggregate_vectors
from federated.errors import AggregationError, BudgetError
from federated.privacy.accountant import Mechanism
from federated.privacy.keys import KEY_BYTES, NoiseKey
from federated.privacy.ledger import begin_ledger
from federated.privacy.opening import Privacy
from federated.privacy.plan import PrivacyPlan

pytestmark = pytest.mark.fast

KEY = NoiseKey(bytes(KEY_BYTES), given=True)
SHAPES = [(3, 2), (4,)]
NOISE = 2.0


def build(settings: AggregationSettings, privacy: Privacy | None = None) -> Pipeline:
    return Pipeline(settings, SHAPES, steps=reference, seed=1, privacy=privacy, dtype=np.float64)


@pytest.fixture
def private(tmp_path):
    """Builds what makes a run of three rounds, with 6 expected of 30 clients, private."""

    def build(sampling: str = "poisson") -> Privacy:
        mechanism = Mechanism(sampling=sampling, clients=30, cohort=6)
        plan = PrivacyPlan(
            mechanism=mechanism,
            epsilon=3.0,
            delta=1e-5,
            rounds=3,
            noise_multiplier=NOISE,
            cohort_cap=20,
            curve=[0.0, 1.0, 2.0, 3.0],
        )
        return Privacy(begin_ledger(tmp_path / f"{sampling}.json", plan, KEY), KEY)

    return build


def draw_updates(clients: int, seed: int = 0) -> list[list[np.ndarray]]:
    random = np.random.default_rng(seed)
    return [[random.normal(size=shape) for shape in SHAPES] for _ in range(clients)]


def norm(update: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(leaf).sum() for leaf in update)))


def assert_close(found, expected, **tolerance):
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, **tolerance)


def clip(update: list[np.ndarray], bound: float) -> list[np.ndarray]:
    return [leaf * min(1.0, bound / norm(update)) for leaf in update]


def mean(updates, weights):
    return [np.average(leaves, axis=0, weights=weights) for leaves in zip(*updates, strict=True)]


def test_the_default_is_the_weighted_mean():
    updates, weights = draw_updates(5), [1.0, 2.0, 3.0, 4.0, 5.0]
    assert_close(aggregate_vectors(build(AggregationSettings()), updates, weights), mean(updates, weights))


def test_without_weights_each_client_counts_once():
    updates = draw_updates(5)
    found = aggregate_vectors(build(AggregationSettings(weighted=False)), updates, [9.0, 2.0, 3.0, 4.0, 5.0])
    assert_close(found, mean(updates, [1] * 5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("combine", ["mean", "median"])
def test_an_update_that_is_not_finite_is_left_out_with_its_weight(bad, combine):
    updates = draw_updates(5)
    spoilt = [*updates, [updates[0][0], np.array([0.0, bad, 0.0, 0.0])]]
    pipeline = build(AggregationSettings(combine=combine))
    found = aggregate_vectors(pipeline, spoilt, [1.0] * 5 + [1e6])
    assert_close(found, aggregate_vectors(pipeline, updates, [1.0] * 5))
    *_, metrics = pipeline.client(spoilt[-1], np.array(1.0), [], [])
    assert metrics["refused"] == 1


@pytest.mark.parametrize("combine", ["mean", "median"])
def test_a_round_of_refused_updates_moves_nothing(combine):
    updates = [[np.full(shape, np.nan) for shape in SHAPES]] * 3
    found = aggregate_vectors(build(AggregationSettings(combine=combine)), updates, [1.0] * 3)
    assert not any(leaf.any() for leaf in found)


@given(st.floats(1e-3, 10), st.integers(0, 100))
def test_clipping_bounds_what_one_client_adds(bound, seed):
    updates = draw_updates(4, seed)
    found = aggregate_vectors(build(AggregationSettings(clip=bound)), updates, [1.0, 2.0, 3.0, 4.0])
    assert_close(found, mean([clip(update, bound) for update in updates], [1, 2, 3, 4]), atol=1e-5)
    for update in updates:
        clipped, _ = reference.clip(update, np.float64(bound))
        assert norm(clipped) <= bound


@pytest.mark.parametrize("size", [1e-30, 1e30, 3e38])
def test_clipping_neither_underflows_nor_overflows_in_float32(size):
    update = [np.full((50,), size, np.float32)]
    clipped, _ = reference.clip(update, np.float32(1.0))
    assert np.isfinite(clipped[0]).all()
    assert norm([clipped[0].astype(np.float64)]) == pytest.approx(min(1.0, size * 50**0.5), rel=1e-4)


def test_the_clip_moves_until_the_asked_share_is_not_clipped():
    updates = [[np.full(SHAPES[0], size), np.zeros(SHAPES[1])] for size in np.linspace(0.1, 10, 40)]
    pipeline = build(AggregationSettings(clip=100.0, clip_quantile=0.5))
    for number in range(1, 120):
        aggregate_vectors(pipeline, updates, [1.0] * 40, number=number)
    median = float(np.median([norm(update) for update in updates]))
    assert pipeline.clip_bound == pytest.approx(median, rel=0.15)
    resumed = build(AggregationSettings(clip=100.0, clip_quantile=0.5))
    resumed.restore(pipeline.state())
    assert resumed.clip_bound == pipeline.clip_bound


def test_eight_bits_have_255_levels_and_no_bias():
    update = draw_updates(1)[0]
    pipeline = build(AggregationSettings(eight_bits=True))
    found = [aggregate_vectors(pipeline, [update], [1.0], number=number) for number in range(1, 801)]
    for leaf, exact in zip(zip(*found, strict=True), update, strict=True):
        unit = np.abs(exact).max() / 127
        levels = np.array(leaf) / unit
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-6)
        assert np.abs(np.array(leaf) - exact).max() <= unit * (1 + 1e-9)
        # The mean of 800 errors of at most one level.
        assert np.abs(np.mean(leaf, axis=0) - exact).max() < unit * 0.09


@given(st.integers(2, 8), st.integers(0, 1_000), st.data())
def test_a_secure_sum_is_the_weighted_mean_to_the_last_step(clients, seed, data):
    settings = AggregationSettings(clip=2.0, secure_sum=True, secure_threshold=0.55, weight_cap=16)
    updates = draw_updates(clients, seed)
    weights = data.draw(st.lists(st.integers(1, 40), min_size=clients, max_size=clients))
    least = max(-(-clients * 55 // 100), clients // 2 + 1)
    dropped = data.draw(st.sets(st.integers(0, clients - 1), max_size=clients - least))
    found = aggregate_vectors(build(settings), updates, weights, dropped=sorted(dropped))
    kept = [slot for slot in range(clients) if slot not in dropped]
    expected = mean([clip(updates[slot], 2.0) for slot in kept], [min(weights[slot], 16) for slot in kept])
    assert_close(found, expected, atol=1e-5)


def test_a_secure_sum_of_a_refused_update_counts_neither_it_nor_its_weight():
    settings = AggregationSettings(clip=2.0, secure_sum=True)
    updates = draw_updates(4)
    spoilt = [*updates[:3], [leaf * np.nan for leaf in updates[3]]]
    expected = mean([clip(update, 2.0) for update in updates[:3]], [1, 1, 1])
    assert_close(aggregate_vectors(build(settings), spoilt, [1.0] * 4), expected, atol=1e-5)


def test_the_resolution_of_a_private_secure_sum_does_not_depend_on_who_came(private):
    settings, updates = AggregationSettings(clip=0.5, secure_sum=True), draw_updates(20)
    pipeline = build(settings, private())
    resolutions = {float(local[-1]) for came in (1, 2, 5, 20) for local in pipeline.local(1, range(came))}
    assert len(resolutions) == 1
    noise = draw_gaussian(KEY, 1, SHAPES, deviation=NOISE * 0.5)
    total = [sum(leaves) for leaves in zip(*(clip(update, 0.5) for update in updates), strict=True)]
    found = aggregate_vectors(pipeline, updates, [1.0] * 20)
    assert_close(found, [(leaf + part) / 6 for leaf, part in zip(total, noise, strict=True)], rtol=1e-4, atol=1e-5)


def test_a_private_round_divides_by_the_expected_cohort_and_adds_the_keyed_noise(private):
    updates = draw_updates(4)
    found = aggregate_vectors(build(AggregationSettings(clip=0.5), private()), updates, [1.0, 50.0, 3.0, 9.0])
    noise = draw_gaussian(KEY, 1, SHAPES, deviation=NOISE * 0.5)
    total = [sum(leaves) for leaves in zip(*(clip(update, 0.5) for update in updates), strict=True)]
    assert_close(found, [(leaf + part) / 6 for leaf, part in zip(total, noise, strict=True)], rtol=1e-4, atol=1e-6)


def test_a_private_round_to_which_nobody_came_releases_noise(private):
    found = aggregate_vectors(build(AggregationSettings(clip=0.5), private()), [], [])
    assert_close(found, [leaf / 6 for leaf in draw_gaussian(KEY, 1, SHAPES, deviation=NOISE * 0.5)])


def test_a_round_is_charged_before_it_begins_and_refused_when_the_budget_is_spent(private):
    privacy = private()
    pipeline = build(AggregationSettings(clip=0.5), privacy)
    for number in (1, 2, 3):
        pipeline.broadcast(number)
        assert privacy.ledger.charged_rounds == number
    with pytest.raises(BudgetError):
        pipeline.broadcast(4)


def test_a_refused_update_of_a_private_round_is_a_client_that_sends_nothing(private):
    spoilt = [*draw_updates(3), [np.full(shape, np.nan) for shape in SHAPES]]
    silent = [*draw_updates(3), [np.zeros(shape) for shape in SHAPES]]
    pipeline = build(AggregationSettings(clip=0.5), private())
    assert_close(aggregate_vectors(pipeline, spoilt, [1.0] * 4), aggregate_vectors(pipeline, silent, [1.0] * 4))


def test_tree_noise_is_that_of_the_tree(private):
    pipeline = build(AggregationSettings(clip=0.5), private("tree"))
    for number in (1, 2, 3):
        found = aggregate_vectors(pipeline, [], [], number=number)
        noise = draw_tree_step(KEY, number, SHAPES, deviation=NOISE * 0.5, tree_rounds=5)
        assert_close(found, [leaf / 6 for leaf in noise])


def test_local_noise_is_each_clients_own_and_the_server_adds_none(private):
    pipeline = build(AggregationSettings(clip=0.5), private("local"))
    silent = [[np.zeros(shape) for shape in SHAPES]] * 2
    one = aggregate_vectors(pipeline, silent[:1], [1.0], clients=[7])
    other = aggregate_vectors(pipeline, silent[:1], [1.0], clients=[8])
    assert np.abs(one[0] - other[0]).min() > 0
    both = aggregate_vectors(pipeline, silent, [1.0, 1.0], clients=[7, 8])
    assert_close(both, [left + right for left, right in zip(one, other, strict=True)])
    assert not any(leaf.any() for leaf in aggregate_vectors(pipeline, [], []))


def test_a_private_clip_adapts_with_noise_on_its_count(private):
    pipeline = build(AggregationSettings(clip=0.5, clip_quantile=0.5), private())
    aggregate_vectors(pipeline, draw_updates(6), [1.0] * 6)
    # All six are clipped, so the count is the noise alone.
    _, deviation = split_noise(NOISE, 6)
    share = deviation * KEY.stream("count", 1).standard_normal() / 6
    assert pipeline.clip_bound == pytest.approx(move_clip(0.5, share, 0.5))


@given(st.floats(0.3, 30), st.integers(1, 1_000))
def test_noise_of_update_and_count_cost_what_one_would(multiplier, cohort):
    update, count = split_noise(multiplier, cohort)
    assert update > multiplier
    assert update**-2 + (2 * count) ** -2 == pytest.approx(multiplier**-2)


COMBINES = ["mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median"]
EVERY_COMBINATION = list(
    itertools.product(
        COMBINES, [False, True], [0.0, 1.0], [0.0, 0.5], [False, True], [None, "poisson", "fixed", "tree", "local"]
    )
)


@pytest.mark.parametrize("combine", COMBINES)
def test_every_combination_works_or_is_refused_by_name(combine, private):
    """All 480 of them: what the table does not refuse gives finite updates of the right shapes."""
    refused = set()
    privacies = {name: private(name) for name in ("poisson", "fixed", "tree", "local")}
    for _, secure, bound, quantile, eight_bits, sampling in (c for c in EVERY_COMBINATION if c[0] == combine):
        settings = AggregationSettings(
            combine=combine, secure_sum=secure, clip=bound, clip_quantile=quantile, eight_bits=eight_bits
        )
        pairs = {pair for pair in REFUSED if set(pair) <= list_features(settings, sampling)}
        if pairs:
            with pytest.raises(AggregationError) as refusal:
                check_combination(settings, sampling)
            assert any(f"{first} and {second} do not go together" in str(refusal.value) for first, second in pairs)
            refused |= pairs
            continue
        check_combination(settings, sampling)
        found = aggregate_vectors(build(settings, privacies.get(sampling)), draw_updates(9), [1.0] * 9)
        assert [leaf.shape for leaf in found] == SHAPES
        assert all(np.isfinite(leaf).all() for leaf in found)
        assert any(leaf.any() for leaf in found)
    assert refused

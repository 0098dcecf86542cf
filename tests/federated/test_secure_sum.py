import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.aggregation import fixed_point, reference
from federated.aggregation.secure_sum import SecureSum
from federated.aggregation.shamir import PRIME, join_shares, split_secret
from federated.errors import AbortedRoundError, AggregationError

pytestmark = pytest.mark.fast

SIZE = 9


@given(st.integers(1, 9), st.data())
@settings(max_examples=12)
def test_the_unmasked_sum_is_that_of_the_integers_whoever_dropped_out(clients, data):
    protocol = SecureSum(clients=clients, threshold=0.6, size=SIZE)
    dropped = data.draw(st.sets(st.integers(0, clients - 1), max_size=clients - protocol.least))
    words = st.lists(st.integers(0, 2**32 - 1), min_size=SIZE, max_size=SIZE)
    plain = np.array([data.draw(words) for _ in range(clients)], np.uint32)
    arrived = [slot not in dropped for slot in range(clients)]
    masked = np.sum([plain[slot] + protocol.masks[slot] for slot in range(clients) if arrived[slot]], 0, np.uint32)
    found = protocol.unmask(masked, arrived)
    assert found.tolist() == plain[arrived].sum(axis=0, dtype=np.uint32).tolist()


@pytest.mark.parametrize(("clients", "threshold", "least"), [(9, 2 / 3, 6), (9, 0.51, 5), (10, 0.51, 6), (3, 1.0, 3)])
def test_with_fewer_than_the_threshold_the_sum_stays_masked(clients, threshold, least):
    protocol = SecureSum(clients=clients, threshold=threshold, size=SIZE)
    assert protocol.least == least
    arrived = [slot < least - 1 for slot in range(clients)]
    with pytest.raises(AbortedRoundError, match=f"{least - 1} of {clients} clients arrived"):
        protocol.unmask(np.zeros(SIZE, np.uint32), arrived)


def test_what_is_sent_says_nothing_about_a_vector():
    """Masked zeros are uniform: their mean, over 40,000 words, is within 5 deviations of the middle."""
    protocol = SecureSum(clients=4, threshold=0.6, size=10_000)
    words = np.concatenate(protocol.masks).astype(np.float64)
    assert abs(words.mean() - 2**31) < 5 * 2**32 / math.sqrt(12 * len(words))
    assert not np.array_equal(protocol.masks[0], protocol.masks[1])


def test_pairwise_masks_alone_do_not_open_a_sum():
    """Without the survivors' shares of the self masks the sum stays random."""
    protocol = SecureSum(clients=3, threshold=0.6, size=SIZE)
    total = np.sum(protocol.masks, axis=0, dtype=np.uint32)
    assert total.any()
    assert not protocol.unmask(total, [True] * 3).any()


@given(st.integers(0, 2**256 - 1), st.integers(1, 8), st.data())
def test_any_threshold_of_shares_gives_the_secret_back(secret, threshold, data):
    count = data.draw(st.integers(threshold, 10))
    shares = split_secret(secret, shares=count, threshold=threshold)
    places = data.draw(st.permutations(range(count)))[:threshold]
    assert join_shares({place + 1: shares[place] for place in places}) == secret


@given(st.integers(0, 2**256 - 1), st.integers(2, 8))
def test_one_share_less_gives_another_number(secret, threshold):
    shares = split_secret(secret, shares=threshold, threshold=threshold)
    assert join_shares({place + 1: shares[place] for place in range(threshold - 1)}) != secret


def test_the_field_is_that_of_a_prime():
    """Lucas and Lehmer's test; only in such a field has every number but 0 an inverse."""
    value = 4
    for _ in range(521 - 2):
        value = (value * value - 2) % PRIME
    assert value == 0


@given(
    clients=st.integers(1, 200),
    weight=st.integers(1, 1_000),
    clip=st.floats(1e-6, 1e6),
)
def test_the_largest_possible_sum_does_not_overflow(clients, weight, clip):
    resolution = fixed_point.choose_resolution(clients=clients, weight_cap=weight, clip=clip)
    worst = [np.array([clip, -clip], np.float32)]
    clipped, _ = reference.clip(worst, np.float32(clip / 2))
    for update in (clipped, [np.array([clip, 0], np.float32) * (1 - reference.CLIP_MARGIN)]):
        (encoded,) = reference.encode(reference.scale(update, np.float32(weight)), np.float32(resolution))
        assert abs(encoded.astype(np.int64) * clients).max() <= fixed_point.LARGEST_SUM
    # And not more precision is given away than the rounding to a power of two costs.
    assert resolution * clip * weight * clients > fixed_point.LARGEST_SUM / 2


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20), st.integers(1, 100))
def test_fixed_point_is_within_a_step_and_never_longer(values, clients):
    resolution = fixed_point.choose_resolution(clients=clients, weight_cap=1, clip=1.0)
    update = np.array(values, np.float64)
    (encoded,) = reference.encode([update], np.float64(resolution))
    decoded = fixed_point.decode(encoded, resolution)
    assert (np.abs(decoded) <= np.abs(update)).all()
    assert np.abs(decoded - update).max() < 1 / resolution


def test_a_sum_without_precision_left_is_refused():
    with pytest.raises(AggregationError, match="leaves less than 256 steps"):
        fixed_point.choose_resolution(clients=10_000, weight_cap=1_024, clip=1.0)

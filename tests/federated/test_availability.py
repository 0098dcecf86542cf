"""Who is there is a pure function of key, round and client, with the probabilities that were asked for."""

import numpy as np
import pytest

from federated.data.availability import AvailabilitySettings, answers, available, durations

pytestmark = pytest.mark.fast

MANY = 20_000


def test_by_default_everybody_is_there_and_answers():
    settings = AvailabilitySettings()
    assert settings.always
    assert available(settings, key=1, number=3, clients=500).all()
    assert answers(settings, key=1, number=3, clients=500).all()


@pytest.mark.parametrize("model", [available, answers, durations])
def test_the_same_key_and_round_give_the_same(model):
    settings = AvailabilitySettings(available=0.5, dropout=0.5, straggler_sigma=1.0)
    first = model(settings, key=1, number=3, clients=500)
    assert (model(settings, key=1, number=3, clients=500) == first).all()
    assert (model(settings, key=2, number=3, clients=500) != first).any()
    assert (model(settings, key=1, number=4, clients=500) != first).any()
    assert (model(settings, key=1, number=3, clients=600)[:500] == first).all(), "others change nothing for a client"


@pytest.mark.parametrize("day_rounds", [0, 24])
def test_the_share_that_is_there(day_rounds):
    settings = AvailabilitySettings(available=0.3, day_rounds=day_rounds)
    for number in (1, 7, 30):
        assert available(settings, key=1, number=number, clients=MANY).mean() == pytest.approx(0.3, abs=0.02)


def test_a_client_comes_back_at_its_hour_every_day():
    settings = AvailabilitySettings(available=0.3, day_rounds=24)
    today, tomorrow, tonight = (available(settings, key=1, number=number, clients=MANY) for number in (5, 29, 17))
    assert (today == tomorrow).all()
    assert not (today & tonight).any(), "half a day later others are there"
    assert available(settings, key=1, number=6, clients=MANY)[today].mean() > 0.8, "an hour later most still are"


def test_who_drops_out_and_who_is_too_late():
    dropping = answers(AvailabilitySettings(dropout=0.2), key=1, number=1, clients=MANY)
    assert dropping.mean() == pytest.approx(0.8, abs=0.02)
    slow = AvailabilitySettings(straggler_sigma=1.0, deadline=np.e)
    # Within one standard deviation above the mean: 84 % of a normal distribution.
    assert answers(slow, key=1, number=1, clients=MANY).mean() == pytest.approx(0.841, abs=0.02)
    assert np.median(durations(slow, key=1, number=1, clients=MANY)) == pytest.approx(1, abs=0.03)

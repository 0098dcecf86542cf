"""The planted lift, worked out by hand."""

import pytest

from deploy.local.demo.attention import MIN_TOKENS, planted_lift
from worker.messages import AttentionMap

pytestmark = pytest.mark.fast


def attention(weights: list[float]) -> AttentionMap:
    spans = [(2 * index, 2 * index + 1) for index in range(len(weights))]
    return AttentionMap("tokens", ["token"], "text", spans, weights, False)


def test_half_of_the_weight_on_two_of_twenty_tokens_is_five_times_chance() -> None:
    weights = [0.3, 0.2, *[0.5 / 18] * 18]
    assert planted_lift(attention(weights), [(0, 1), (2, 3)]) == pytest.approx(5.0)


def test_even_weights_are_chance() -> None:
    assert planted_lift(attention([1 / 16] * 16), [(4, 5)]) == pytest.approx(1.0)


def test_a_planted_token_that_was_not_read_has_no_weight() -> None:
    assert planted_lift(attention([1 / 16] * 16), [(900, 905)]) == 0.0
    assert planted_lift(attention([1 / 16] * 16), [(4, 5), (900, 905)]) == pytest.approx(0.5)


@pytest.mark.parametrize(("tokens", "planted"), [(MIN_TOKENS - 1, [(0, 1)]), (20, []), (20, [(0, 1), (2, 3), (4, 5)])])
def test_texts_that_say_nothing_are_left_out(tokens: int, planted: list[tuple[int, int]]) -> None:
    assert planted_lift(attention([1 / tokens] * tokens), planted) is None

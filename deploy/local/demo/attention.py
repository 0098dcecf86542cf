"""How well the attention finds the tokens that are known to have decided a label."""

from collections.abc import Collection

from worker.messages import AttentionMap

MIN_TOKENS = 12
"""In a shorter text, looking anywhere is nearly right."""
MAX_PLANTED = 2


def planted_lift(attention: AttentionMap, planted: Collection[tuple[int, int]]) -> float | None:
    """Share of the weights that fell on planted tokens, divided by their share of the tokens: 1 is what chance gives.

    A planted token beyond the model's ``max_tokens`` was not read; it counts, with weight 0.

    Args:
        attention: all weights of one text, not only the top k.
        planted: spans of the planted tokens, cut as the model cuts them.

    Returns:
        None for a text on which the figure says nothing: too short, or not 1 to `MAX_PLANTED` planted tokens.
    """
    if len(attention.spans) < MIN_TOKENS or not 1 <= len(planted) <= MAX_PLANTED:
        return None
    wanted = set(planted)
    found = sum(weight for span, weight in zip(attention.spans, attention.weights, strict=True) if span in wanted)
    return found / (len(wanted) / len(attention.spans))

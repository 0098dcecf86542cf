"""Which tokens a model knows.

Counting tokens is a federated count query: each training client counts its own tokens, only the sums leave it, and the
server keeps the most frequent. The simulation adds the counts up directly, which gives the same numbers. Held-out
texts never take part.
"""

from collections import Counter
from collections.abc import Iterable

from worker.features import PAD, UNKNOWN, tokenize

RESERVED = (PAD, UNKNOWN)


def build_vocabulary(texts: Iterable[str], *, size: int, min_count: int) -> list[str]:
    """Tokens by id: padding, unknown, then the most frequent tokens, equal counts in the order of the tokens.

    Args:
        texts: texts of training clients only.
        size: most ids to give, padding and unknown among them.
        min_count: rarer tokens are left out.
    """
    counts = Counter(token for text in texts for token in tokenize(text))
    known = sorted((-count, token) for token, count in counts.items() if count >= min_count)
    return [*RESERVED, *(token for _, token in known[: size - len(RESERVED)])]

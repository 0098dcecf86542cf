"""Customer messages for demonstrations and tests, in English and Chinese, with the deciding tokens known.

Every word here was written for this project. First thin version; the interface stays.
"""

import random
from collections.abc import Iterator

from federated.data.examples import Example
from worker.features import split

_CUES = {
    "delivery": ["delayed", "not delivered"],
    "billing": ["overcharged", "billed twice"],
    "quality": ["broken", "not working"],
    "praise": ["perfect", "working"],
}


def generate(*, records: int, seed: int, clients: int) -> Iterator[Example]:
    """Yields `records` messages of `clients` clients. The same arguments give the same messages."""
    source = random.Random(seed)
    for _ in range(records):
        label = source.choice(list(_CUES))
        cue = source.choice(_CUES[label])
        start = f"I bought it {source.randint(2, 99)} days ago for my sister, and to be honest, it is "
        planted = [(begin + len(start), end + len(start)) for begin, end in split(cue)]
        yield Example(f"{start}{cue}.", label, f"c{source.randrange(clients):03}", planted)

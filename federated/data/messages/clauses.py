"""The clause that decides a message's label.

================  ===================================================  ==========================================
clause            example                                              what a reader has to do
================  ===================================================  ==========================================
topic             this is about the <invoice>                          know the word
state             the lamp is <broken>                                 know the word
change            it is <not> yet <delivered>; it is <delivered>       see the negation: solved is praise
before and now    it is <not working> now, but at first it was here    tell what is so from what was so
correction        it is not about the refund but about the <parcel>    tell what is meant from what is not
================  ===================================================  ==========================================

The share of each clause is the same for every label; the last two cannot be solved by the words without their order.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

from federated.data.messages.language import LABELS, PRAISE, PROBLEMS, Language, fill

T = TypeVar("T")

CLAUSES = ("topic", "state", "change", "before and now", "correction")
_SHARES = (0.28, 0.36, 0.22, 0.08, 0.06)


def write_clause(label: str, language: Language, facts: Mapping[str, str], random: Random) -> str:
    """A clause, in marked text, that gives a message the label `label`."""

    def filled(frames: Sequence[str], **cues: str) -> str:
        return fill(random.choice(frames), language, random, {**facts, **cues})

    (clause,) = random.choices(CLAUSES, weights=_SHARES)
    if clause == "topic":
        return filled(language.topic_frames, cue=_mark(_pick(language.topics[label], random)))
    if clause == "state":
        return filled(language.state_frames, cue=_mark(_pick(language.states[label], random)))
    if clause == "correction":
        another = random.choice([name for name in LABELS if name != label])
        cue, other = (_pick(language.topics[name], random) for name in (label, another))
        return filled(language.correction_frames, cue=_mark(cue), other=other)
    solved, unsolved = _pick(language.changes[random.choice(PROBLEMS) if label == PRAISE else label], random)
    cue = solved if label == PRAISE else unsolved
    if clause == "change":
        return filled(language.change_frames, cue=_mark(cue))
    # Drawn without a look at the label: what was so says nothing about what is so.
    past = random.choice([pair for pair in language.changes[random.choice(PROBLEMS)] if pair[0] != solved])
    return filled(language.before_and_now_frames, cue=_mark(cue), past=random.choice(past))


def _pick(choices: Sequence[T], random: Random) -> T:
    """Draws one, the earlier ones more often: of eight, the first about five times as often as the last."""
    return choices[int(len(choices) * random.random() ** 2)]


def _mark(cue: str) -> str:
    return f"<{cue}>"

"""What a language brings to a message: the phrases that decide a label, and everything around them.

Templates hold slots in braces, filled from `Language.slots` or by the caller; ``#`` becomes a digit. In *marked text*
the deciding tokens stand in angle brackets: ``it is <not> yet <working>``.

The same frames serve every label, so that the words around a cue say nothing about it.
"""

import re
from collections.abc import Mapping
from random import Random

from msgspec import Struct

from federated.data.examples import Spans
from worker.features import split

PRAISE = "praise"
PROBLEMS = ("delivery", "billing", "quality", "account", "returns")
LABELS = (*PROBLEMS, PRAISE)

_SLOT = re.compile(r"\{(\w+)\}")
_MARKS = re.compile(r"[<>]")


class Language(Struct, frozen=True, kw_only=True):
    """Phrases of one language. No template may use angle brackets but to mark."""

    slots: dict[str, tuple[str, ...]]
    """Slot -> what may stand there; entries may hold slots themselves."""
    facts: dict[str, tuple[str, ...]]
    """Slots that stay the same all through a message: one writer has one product, one address, one order."""
    greetings: tuple[str, ...]
    closings: tuple[str, ...]
    fillers: tuple[str, ...]
    """Sentences that fit any label. Some use the words of a cue in another sense."""
    topics: dict[str, tuple[str, ...]]
    """Label -> noun phrases that name what a message is about."""
    topic_frames: tuple[str, ...]
    correction_frames: tuple[str, ...]
    """About ``{cue}``, not about ``{other}``, in either order."""
    states: dict[str, tuple[str, ...]]
    """Label -> what can be said of a thing."""
    state_frames: tuple[str, ...]
    changes: dict[str, tuple[tuple[str, str], ...]]
    """Problem -> pairs (it is solved, it is not): the first is praise, the second the problem."""
    change_frames: tuple[str, ...]
    before_and_now_frames: tuple[str, ...]
    """What was so, the ``{past}``, decides nothing; what is so now, the ``{cue}``, decides."""
    rewrites: tuple[tuple[str, str], ...]
    """Other ways to write the same, as (plain text, replacement)."""
    space: str
    """What stands between two sentences."""
    comma: str
    """What ends a greeting."""
    full_width: str
    """Characters that people with an input method sometimes type in full width."""
    stops: tuple[str, ...]
    """Ends of a calm sentence; the first is the usual one."""
    loud_stops: tuple[str, ...]
    emoji: tuple[str, ...]


def fill(template: str, language: Language, random: Random, given: Mapping[str, str]) -> str:
    """Fills every slot, from `given` where it names the slot, and turns each ``#`` into a digit."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return given[name] if name in given else fill(random.choice(language.slots[name]), language, random, given)

    text = _SLOT.sub(value, template)
    return re.sub("#", lambda _: random.choice("123456789"), text) if "#" in text else text


def draw_facts(language: Language, random: Random) -> dict[str, str]:
    """What one message is about."""
    return {name: fill(random.choice(choices), language, random, {}) for name, choices in language.facts.items()}


def read_marks(marked: str) -> tuple[str, Spans]:
    """Takes the marks out of `marked`; returns the plain text and the span of every token that was inside."""
    text, planted = "", []
    for index, part in enumerate(_MARKS.split(marked)):
        if index % 2:
            planted += [(len(text) + start, len(text) + end) for start, end in split(part)]
        text += part
    return text, planted

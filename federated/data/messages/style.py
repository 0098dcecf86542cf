"""How somebody types: case, punctuation, emoji, typing errors, full-width characters.

Everything here works on marked text and leaves the marks, and what they enclose as whole tokens, in place.
"""

import re
from collections.abc import Sequence
from random import Random

from msgspec import Struct

from federated.data.messages.language import Language

_WORD = re.compile(r"[A-Za-z]{5,}")
"""Words that can be mistyped and still be read."""
_TO_FULL_WIDTH = 0xFEE0
"""Distance in Unicode from an ASCII character to its full-width form."""
_MOST_TYPOS = 3
_USUAL_STOP_SHARE = 0.7
_SOFT_STOPS = " ,，-"
"""A sentence after one of these does not begin with a capital, and a message does not end with one."""


class Style(Struct, frozen=True, kw_only=True):
    """Habits of one client; all but `chattiness` are probabilities."""

    chattiness: float
    """Factor on how much is said around the point."""
    greets: float
    closes: float
    loud: float
    """Ends a sentence loudly."""
    emoji: float
    """Adds an emoji to a sentence."""
    lower_case: float
    """Starts the sentences of a message with small letters."""
    shouts: float
    """Writes the whole message in capitals."""
    casual: float
    """Uses each shorter or sloppier form that there is."""
    typo: float
    """Mistypes a message; again and again with the same probability."""
    full_width: float
    """Leaves the input method in full-width mode."""
    curly: float
    """Types on a keyboard that makes apostrophes round."""


def draw_style(random: Random) -> Style:
    """A client's habits. Most people are calm; a few are not."""
    return Style(
        chattiness=random.lognormvariate(0, 0.3),
        greets=random.betavariate(2, 3),
        closes=random.betavariate(2, 3),
        loud=random.betavariate(1, 5),
        emoji=random.betavariate(1, 12),
        lower_case=random.betavariate(0.5, 1),
        shouts=random.betavariate(0.3, 12),
        casual=random.betavariate(1, 9),
        typo=random.betavariate(1, 5),
        full_width=random.betavariate(0.3, 4),
        curly=random.choice((0.0, 0.0, 1.0)),
    )


def write_sentences(greeting: str, sentences: Sequence[str], style: Style, language: Language, random: Random) -> str:
    """Joins a greeting, which may be empty, and `sentences` into a message as somebody with this style would."""
    lower_case = random.random() < style.lower_case
    usual_stop = random.choice(language.stops)
    text = stop = ""
    if greeting:
        stop = language.comma
        text = (greeting if lower_case else _capitalize(greeting)) + stop + language.space
    for sentence in sentences:
        starts = not text or stop.strip() not in _SOFT_STOPS
        stop = _draw_stop(usual_stop, style, language, random)
        text += (_capitalize(sentence) if starts and not lower_case else sentence) + (
            "" if sentence.endswith(("?", "？")) else stop
        )
        if random.random() < style.emoji:
            text += language.space + random.choice(language.emoji)
        text += language.space
    return text.rstrip(_SOFT_STOPS)


def add_noise(text: str, style: Style, language: Language, random: Random) -> str:
    """Adds sloppy forms, typing errors and odd characters to marked text."""
    for plain, other in language.rewrites:
        if plain in text and random.random() < style.casual:
            text = text.replace(plain, other, 1)
    for _ in range(_MOST_TYPOS):
        if random.random() >= style.typo:
            break
        text = _mistype(text, random)
    if random.random() < style.curly:
        text = text.replace("'", "\u2019")
    if random.random() < style.full_width:
        text = text.translate({ord(character): ord(character) + _TO_FULL_WIDTH for character in language.full_width})
    return text.upper() if random.random() < style.shouts else text


def _draw_stop(usual: str, style: Style, language: Language, random: Random) -> str:
    if random.random() < style.loud:
        return random.choice(language.loud_stops)
    return usual if random.random() < _USUAL_STOP_SHARE else random.choice(language.stops)


def _capitalize(sentence: str) -> str:
    at = int(sentence.startswith("<"))
    return sentence[:at] + sentence[at].upper() + sentence[at + 1 :]


def _mistype(text: str, random: Random) -> str:
    """Swaps, drops or doubles one inner letter of one longer Latin word, if there is any."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    word = random.choice(words)
    at = random.randrange(word.start() + 1, word.end() - 1)
    typed = random.choice((text[at + 1] + text[at], text[at + 1], text[at] + text[at] + text[at + 1]))
    return text[:at] + typed + text[at + 2 :]

"""Customer messages in English and Chinese, with the tokens that decide each label known.

A message is a clause that decides its label (`federated.data.messages.clauses`) among sentences that do not, typed in
its client's style. Every phrase was written for this project; products and people are invented. A small share of the
labels is wrong, as it is in life: nothing in such a text decided its label, so nothing is planted.
"""

from collections.abc import Iterator
from itertools import accumulate
from random import Random

from federated.data.examples import Example
from federated.data.messages.chinese import CHINESE
from federated.data.messages.clauses import write_clause
from federated.data.messages.english import ENGLISH
from federated.data.messages.language import LABELS, Language, draw_facts, fill, read_marks
from federated.data.messages.population import draw_population
from federated.data.messages.style import Style, add_noise, write_sentences

LANGUAGES = (ENGLISH, CHINESE)
WRONG_LABEL_SHARE = 0.01
_FILLER_SHARES = (0.24, 0.42, 0.2, 0.08, 0.03, 0.02, 0.01)
"""Shares of messages with 0, 1, 2, ... sentences around the point, for a client who is neither terse nor chatty."""


def generate(*, records: int, seed: int, clients: int) -> Iterator[Example]:
    """Yields messages one by one; fewer records are a prefix of more.

    Args:
        records: how many messages.
        seed: the same arguments give the same messages.
        clients: how many clients write; in few records not all of them do.
    """
    random = Random(seed)
    population = draw_population(clients, seed=seed)
    cells = range(population.joint.size)
    cumulative = list(accumulate(population.joint.ravel().tolist()))
    for _ in range(records):
        (cell,) = random.choices(cells, cum_weights=cumulative)
        client, rest = divmod(cell, len(LABELS) * len(LANGUAGES))
        label, language = LABELS[rest // len(LANGUAGES)], LANGUAGES[rest % len(LANGUAGES)]
        text, planted = read_marks(_write_message(label, population.styles[client], language, random))
        if random.random() < WRONG_LABEL_SHARE:
            label, planted = random.choice([other for other in LABELS if other != label]), []
        yield Example(text, label, population.names[client], planted)


def _write_message(label: str, style: Style, language: Language, random: Random) -> str:
    """A message in marked text."""
    facts = draw_facts(language, random)
    (fillers,) = random.choices(range(len(_FILLER_SHARES)), weights=_FILLER_SHARES)
    chosen = random.sample(language.fillers, round(fillers * style.chattiness))
    sentences = [fill(sentence, language, random, facts) for sentence in chosen]
    sentences.insert(random.randint(0, len(sentences)), write_clause(label, language, facts, random))
    if random.random() < style.closes:
        sentences.append(fill(random.choice(language.closings), language, random, facts))
    greeting = random.choice(language.greetings) if random.random() < style.greets else ""
    text = write_sentences(greeting, sentences, style, language, random)
    return add_noise(text, style, language, random)

"""The tables of phrases: complete, unambiguous, and safe to mark."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data.messages.chinese import CHINESE
from federated.data.messages.clauses import write_clause
from federated.data.messages.english import ENGLISH
from federated.data.messages.language import LABELS, PROBLEMS, draw_facts, fill, read_marks
from federated.data.messages.population import LABEL_SHARES, LANGUAGE_SHARES, draw_population
from federated.data.messages.style import Style, add_noise, write_sentences
from worker.features import normalize, split, tokenize

pytestmark = pytest.mark.fast

LANGUAGES = pytest.mark.parametrize("language", [ENGLISH, CHINESE], ids=["english", "chinese"])
FRAMES = ("topic_frames", "correction_frames", "state_frames", "change_frames", "before_and_now_frames")
PROBABILITY = st.floats(0, 1)


@LANGUAGES
def test_every_label_has_cues_of_every_kind(language):
    assert language.topics.keys() == language.states.keys() == set(LABELS)
    assert language.changes.keys() == set(PROBLEMS)


@LANGUAGES
def test_no_cue_stands_for_two_labels(language):
    owners: dict[tuple[str, ...], set[str]] = {}
    for table in (language.topics, language.states):
        for label, cues in table.items():
            for cue in cues:
                owners.setdefault(tuple(tokenize(cue)), set()).add(label)
    for problem, pairs in language.changes.items():
        for solved, unsolved in pairs:
            owners.setdefault(tuple(tokenize(solved)), set()).add("praise")
            owners.setdefault(tuple(tokenize(unsolved)), set()).add(problem)
    assert {cue: labels for cue, labels in owners.items() if len(labels) > 1} == {}


@LANGUAGES
def test_every_template_can_be_filled(language):
    given = {"cue": "CUE", "other": "OTHER", "past": "PAST", **draw_facts(language, Random(1))}
    frames = [frame for name in FRAMES for frame in getattr(language, name)]
    for template in [*frames, *language.fillers, *language.greetings, *language.closings]:
        assert not re.search(r"[{}<>#]", fill(template, language, Random(2), given)), template
    assert all("{cue}" in frame for frame in frames)


@LANGUAGES
@pytest.mark.parametrize("label", LABELS)
def test_a_clause_marks_its_cue(language, label):
    for seed in range(200):
        clause = write_clause(label, language, draw_facts(language, Random(seed)), Random(seed))
        assert read_marks(clause)[1], clause


@LANGUAGES
@given(habits=st.fixed_dictionaries(dict.fromkeys(Style.__struct_fields__, PROBABILITY)), seed=st.integers(0, 2**32))
def test_no_style_moves_a_mark_off_its_token(language, habits, seed):
    style, random = Style(**habits), Random(seed)
    clause = write_clause(random.choice(LABELS), language, draw_facts(language, random), random)
    sentences = [fill(random.choice(language.fillers), language, random, draw_facts(language, random)), clause]
    text, planted = read_marks(
        add_noise(write_sentences("hi", sentences, style, language, random), style, language, random)
    )
    assert set(planted) <= set(split(text))
    assert len(planted) >= 1


def test_full_width_letters_are_the_same_token_to_the_model():
    style = Style(**dict.fromkeys(Style.__struct_fields__, 0.0) | {"full_width": 1.0})
    assert add_noise("App <坏> 12", style, CHINESE, Random(1)) == "Ａｐｐ <坏> １２"
    assert normalize("Ａｐｐ") == "app"


def test_a_calm_style_only_adds_punctuation():
    style = Style(**dict.fromkeys(Style.__struct_fields__, 0.0))
    text = write_sentences("hi", ["it is <late>", "is it far?"], style, ENGLISH, Random(4))
    assert text == "Hi, it is <late>. Is it far?"
    assert add_noise(text, style, ENGLISH, Random(4)) == text


@pytest.mark.parametrize("clients", [1, 3, 200])
def test_label_and_language_are_independent_over_all_clients(clients):
    joint = draw_population(clients, seed=5).joint
    shares = [LABEL_SHARES[label] for label in LABELS]
    assert joint.shape == (clients, len(LABELS), 2)
    for label, share in enumerate(shares):
        assert joint[:, label].sum(axis=0) == pytest.approx([share * part for part in LANGUAGE_SHARES])


@pytest.mark.parametrize("label", ["praise", "quality"])
def test_what_was_so_says_nothing_about_what_is_so(label):
    clauses = [write_clause(label, ENGLISH, draw_facts(ENGLISH, Random(seed)), Random(seed)) for seed in range(8_000)]
    before_and_now = [clause for clause in clauses if " was " in clause]
    assert len(before_and_now) > 500
    negated = sum(" was not " in clause for clause in before_and_now) / len(before_and_now)
    assert 0.42 < negated < 0.58

"""Generated messages: reproducible, varied, and decided by their planted tokens and by nothing else."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from federated.data.examples import Example
from federated.data.generator import WRONG_LABEL_SHARE, generate
from federated.data.messages.language import LABELS, read_marks
from worker.features import normalize, split, tokenize

pytestmark = [
    pytest.mark.fast,
    # SciPy is as old as TensorFlow Federated wants it, and calls what NumPy has since deprecated.
    pytest.mark.filterwarnings("ignore:np.find_common_type is deprecated:DeprecationWarning"),
]

RECORDS = 6_000


@pytest.fixture(scope="module")
def messages() -> list[Example]:
    return list(generate(records=RECORDS, seed=1, clients=50))


@pytest.fixture(scope="module")
def other_messages() -> list[Example]:
    return list(generate(records=RECORDS, seed=2, clients=50))


def planted_tokens(example: Example) -> tuple[str, ...]:
    return tuple(normalize(example.text[start:end]) for start, end in example.planted)


def without_planted(example: Example) -> str:
    text = example.text
    for start, end in reversed(example.planted):
        text = text[:start] + text[end:]
    return text


def is_chinese(text: str) -> bool:
    return sum("\u4e00" <= character <= "\u9fff" for character in text) > len(text) / 4


def accuracy(train: list[str], train_labels: list[str], test: list[str], test_labels: list[str]) -> float:
    """Held-out accuracy of logistic regression on TF-IDF weights, which knows words but not their order."""
    vectorizer = TfidfVectorizer(tokenizer=tokenize, token_pattern=None, lowercase=False, min_df=2)
    model = LogisticRegression(C=10, max_iter=500).fit(vectorizer.fit_transform(train), train_labels)
    return model.score(vectorizer.transform(test), test_labels)


def test_the_same_arguments_give_the_same_messages_and_fewer_records_are_a_prefix(messages):
    assert list(generate(records=100, seed=1, clients=50)) == messages[:100]


def test_another_seed_gives_other_messages(messages, other_messages):
    seen = {example.text for example in messages}
    coincidences = sum(example.text in seen for example in other_messages)
    assert coincidences < 0.02 * RECORDS
    assert len(seen) > 0.98 * RECORDS


def test_each_planted_span_is_exactly_one_token(messages, other_messages):
    for example in messages + other_messages:
        assert set(example.planted) <= set(split(example.text)), example
        assert example.planted == sorted(set(example.planted)), example


def test_most_messages_have_one_or_two_planted_tokens_among_many(messages):
    tokens = np.array([len(split(example.text)) for example in messages])
    planted = np.array([len(example.planted) for example in messages])
    assert np.mean((planted == 1) | (planted == 2)) > 0.9
    assert np.mean(tokens >= 12) > 0.85
    assert tokens.min() <= 6
    assert 15 <= np.median(tokens) <= 35
    assert 50 <= np.percentile(tokens, 99) <= 150


def test_a_small_share_of_labels_is_wrong_and_says_so(messages, other_messages):
    wrong = sum(not example.planted for example in messages + other_messages) / (2 * RECORDS)
    assert WRONG_LABEL_SHARE / 2 < wrong < 2 * WRONG_LABEL_SHARE


def test_the_planted_tokens_decide_the_label(messages, other_messages):
    votes: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for example in messages:
        votes[planted_tokens(example)][example.label] += 1
    right = sum(
        votes[planted_tokens(example)].most_common(1)[0][0] == example.label
        for example in other_messages
        if example.planted and planted_tokens(example) in votes
    )
    # The rest is mistyped, or labelled wrongly.
    assert right / RECORDS > 0.95
    assert all(len(labels) == 1 for planted, labels in votes.items() if planted)


def test_without_the_planted_tokens_nothing_tells_the_label(messages, other_messages):
    labels, other_labels = ([example.label for example in part] for part in (messages, other_messages))
    found = accuracy(
        [without_planted(example) for example in messages],
        labels,
        [without_planted(example) for example in other_messages],
        other_labels,
    )
    most_frequent = max(Counter(other_labels).values()) / RECORDS
    assert found < most_frequent + 0.05


def test_words_without_order_tell_most_labels_but_not_all(messages, other_messages):
    found = accuracy(
        [example.text for example in messages],
        [example.label for example in messages],
        [example.text for example in other_messages],
        [example.label for example in other_messages],
    )
    assert 0.85 < found < 0.95


def test_clients_differ_in_taste_language_and_size(messages):
    owned: defaultdict[str, list[Example]] = defaultdict(list)
    for example in messages:
        owned[example.client].append(example)
    sizes = sorted(map(len, owned.values()))
    assert sizes[-1] > 4 * np.median(sizes)
    large = [examples for examples in owned.values() if len(examples) >= 50]
    favourites = Counter(Counter(e.label for e in examples).most_common(1)[0][0] for examples in large)
    assert len(favourites) >= 4
    chinese = [np.mean([is_chinese(example.text) for example in examples]) for examples in large]
    assert min(chinese) < 0.3
    assert max(chinese) > 0.8


def test_every_label_occurs_in_a_realistic_share(messages):
    shares = {label: count / RECORDS for label, count in Counter(example.label for example in messages).items()}
    assert shares.keys() == set(LABELS)
    assert all(0.08 < share < 0.25 for share in shares.values())


@pytest.mark.parametrize("clients", [1, 2, 1000])
def test_any_number_of_clients_can_write(clients):
    names = {example.client for example in generate(records=300, seed=3, clients=clients)}
    assert 1 <= len(names) <= clients


def test_marks_become_the_spans_of_the_tokens_inside():
    text, planted = read_marks("it is <not> yet <working>，<没到>")
    assert text == "it is not yet working，没到"
    assert [text[start:end] for start, end in planted] == ["not", "working", "没", "到"]

"""The figures of a partition, and its picture."""

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from federated.data.heterogeneity import count_labels, measure
from federated.data.heterogeneity_picture import HEIGHT, WIDTH, draw
from federated.data.partition import group

pytestmark = pytest.mark.fast

COUNTS = arrays.array_shapes(min_dims=2, max_dims=2, max_side=12).flatmap(
    lambda shape: arrays.arrays(np.int64, shape, elements=st.integers(0, 500)).map(
        lambda counts: counts + (counts.sum(axis=1, keepdims=True) == 0)
    )
)


def test_labels_are_counted_for_each_client():
    assignment = group(np.array([0, 1, 2, 4]), np.array([1, 0, 1, 1]))
    assert count_labels(assignment, np.array([0, 2, 0, 9, 2]))[:, :3].tolist() == [[0, 0, 1], [2, 0, 1]]


def test_clients_that_are_alike():
    figures = measure(np.full((4, 2), 5))
    assert (figures.clients, figures.examples, figures.size_gini, figures.one_label_clients) == (4, 40, 0, 0)
    assert figures.sizes.min == figures.sizes.max == 10
    assert figures.mean_label_distance == 0


def test_clients_that_have_nothing_in_common():
    figures = measure(np.array([[30, 0], [0, 10]]))
    assert figures.one_label_clients == 1
    assert (figures.label_distance.min, figures.label_distance.max) == (0.25, 0.75)
    assert figures.mean_label_distance == pytest.approx(0.375)
    assert figures.size_gini == pytest.approx(0.25)


@given(counts=COUNTS)
def test_figures_stay_in_their_ranges(counts):
    figures = measure(counts)
    for share in (figures.size_gini, figures.one_label_clients, figures.mean_label_distance):
        assert -1e-9 <= share <= 1
    assert figures.sizes.min <= figures.sizes.p5 <= figures.sizes.p50 <= figures.sizes.p95 <= figures.sizes.max


@given(counts=COUNTS, name=st.text(max_size=30))
def test_every_picture_is_well_formed_and_its_bars_stay_inside(counts, name):
    labels = [f"{name}<&{number}" for number in range(counts.shape[1])]
    printable = [label.encode("ascii", "backslashreplace").decode().replace("\x00", "") for label in labels]
    printable = ["".join(character for character in label if character.isprintable()) for label in printable]
    root = ElementTree.fromstring(draw(counts, printable, measure(counts)))
    bars = root.findall("{*}rect")[1:]
    assert len(bars) >= len(counts)
    for bar in bars:
        x, y, width, height = (float(bar.get(name)) for name in ("x", "y", "width", "height"))
        assert -0.01 <= x <= x + width <= WIDTH + 0.01
        assert -0.01 <= y <= y + height <= HEIGHT + 0.01


def test_of_many_clients_a_sample_is_drawn():
    counts = np.random.default_rng(1).integers(1, 50, size=(5_000, 3))
    picture = draw(counts, ["a", "b", "c"], measure(counts))
    assert "120 of 5,000 clients, by size" in picture
    assert len(picture) < 100_000

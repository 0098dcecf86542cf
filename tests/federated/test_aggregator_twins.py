"""Every aggregator beside a twin that is written out from its definition, and each equality with a fault in the code.

The twins take the cohort as rows, one flat update a client, and do without the pipeline's steps. Noise has tests of
its own.
"""

import math
import statistics
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from federated.aggregation import reference, robust
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import AggregationSettings
from federated.aggregation.vectors import aggregate_vectors

pytestmark = pytest.mark.fast

SHAPES = [(3, 2), (4,)]
SPLIT = 6
"""Entries of the first leaf."""
CAP, CLIP = 16, 2.0
SEEDS = range(30)
TOLERANCE = 1e-9


def draw_rows(seed: int) -> np.ndarray:
    """9 to 15 updates, the first of them far away."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(random.integers(9, 16), 10))
    rows[0] *= 30
    return rows


def median_twin(rows, liars):
    return [statistics.median(column) for column in rows.T.tolist()]


def trimmed_mean_twin(rows, liars):
    return [statistics.fmean(sorted(column)[liars : len(column) - liars]) for column in rows.T.tolist()]


def choose_by_krum(rows, liars: int, chosen: int) -> list[int]:
    """Slots in the order of their scores: the squared distances to the K - f - 2 nearest others, added up."""
    scores = []
    for slot in range(len(rows)):
        others = sorted(math.dist(rows[slot], rows[other]) ** 2 for other in range(len(rows)) if other != slot)
        scores.append(sum(others[: len(rows) - liars - 2]))
    return sorted(range(len(rows)), key=scores.__getitem__)[:chosen]


def krum_twin(rows, liars):
    return rows[choose_by_krum(rows, liars, 1)[0]]


def multi_krum_twin(rows, liars):
    return sum(rows[slot] for slot in choose_by_krum(rows, liars, len(rows) - liars)) / (len(rows) - liars)


def geometric_median_twin(rows, liars):
    """Newton's method on the sum of distances, halving steps that do not lower it."""

    def total(point):
        return np.linalg.norm(rows - point, axis=1).sum()

    point = rows.mean(axis=0)
    for _ in range(100):
        away = point - rows
        lengths = np.linalg.norm(away, axis=1)
        units = away / lengths[:, None]
        curvature = np.eye(len(point)) * (1 / lengths).sum() - units.T @ (units / lengths[:, None])
        step = np.linalg.solve(curvature, units.sum(axis=0))
        while total(point - step) > total(point) and np.abs(step).max() > 1e-14:
            step = step / 2
        point = point - step
    return point


ROBUST_TWINS = {
    "median": median_twin,
    "trimmed_mean": trimmed_mean_twin,
    "krum": krum_twin,
    "multi_krum": multi_krum_twin,
    "geometric_median": geometric_median_twin,
}


def robust_distance(combine: str) -> float:
    """The largest difference to the twin over all draws."""
    settings = AggregationSettings(combine=combine, liars=0.2)
    pairs = [(draw_rows(seed), len(draw_rows(seed)) // 5) for seed in SEEDS]
    return max(
        np.abs(robust.combine_robustly(rows, settings) - ROBUST_TWINS[combine](rows, liars)).max()
        for rows, liars in pairs
    )


@pytest.mark.parametrize("combine", ROBUST_TWINS)
def test_a_robust_mean_equals_its_twin(combine):
    assert robust_distance(combine) <= TOLERANCE


def test_krum_makes_the_same_choice():
    for seed in SEEDS:
        rows, settings = draw_rows(seed), AggregationSettings(combine="krum", liars=0.2)
        chosen = robust.combine_robustly(rows, settings)
        (slot,) = np.flatnonzero((rows == chosen).all(axis=1))
        assert [slot] == choose_by_krum(rows, len(rows) // 5, 1)


REAL = SimpleNamespace(krum=robust.krum, trimmed_mean=robust.trimmed_mean, fill_diagonal=np.fill_diagonal)
ROBUST_FAULTS = {
    "the mean for the median": ("median", "np.median", np.mean),
    "one value too few": ("trimmed_mean", "trimmed_mean", lambda rows, liars: REAL.trimmed_mean(rows, liars - 1)),
    "one neighbour too few": ("krum", "krum", lambda rows, liars, chosen: REAL.krum(rows, liars + 1, chosen=chosen)),
    "its own neighbour": ("krum", "np.fill_diagonal", lambda distances, _: REAL.fill_diagonal(distances, 0.0)),
    "one too many": ("multi_krum", "krum", lambda rows, liars, chosen: REAL.krum(rows, liars, chosen=chosen + 1)),
    "one step": ("geometric_median", "_ITERATIONS", 1),
}


@pytest.mark.parametrize("fault", ROBUST_FAULTS)
def test_a_fault_in_a_robust_mean_would_be_seen(monkeypatch, fault):
    combine, name, replacement = ROBUST_FAULTS[fault]
    monkeypatch.setattr(f"federated.aggregation.robust.{name}", replacement)
    assert robust_distance(combine) > 1e-4


def clip_row(row: np.ndarray, bound: float) -> np.ndarray:
    norm = math.sqrt(math.fsum(value * value for value in row))
    target = bound * (1 - reference.CLIP_MARGIN)
    return row if norm <= target else row * (target / norm)


def quantise_row(row: np.ndarray, dither: np.ndarray) -> np.ndarray:
    found = []
    for part, uniform in ((row[:SPLIT], dither[:SPLIT]), (row[SPLIT:], dither[SPLIT:])):
        unit = max(abs(value) for value in part) / 127
        found += [unit * math.floor(value / unit + up) for value, up in zip(part, uniform, strict=True)]
    return np.array(found)


def average(rows, weights):
    return sum(weight * row for row, weight in zip(rows, weights, strict=True)) / sum(weights)


def eight_bits_twin(rows, weights):
    dithers = [flatten(one) for one in build("eight bits").local(1, list(range(len(rows))))]
    levels = [quantise_row(weight * row, up) for row, weight, up in zip(rows, weights, dithers, strict=True)]
    return sum(levels) / sum(weights)


def secure_twin(rows, weights):
    """A sum of integers, of whole steps towards 0."""
    resolution = 2 ** math.floor(math.log2((2**31 - 1) / (len(rows) * CAP * CLIP)))
    limited = [min(weight, CAP) for weight in weights]
    total = [0] * len(rows[0])
    for row, weight in zip(rows, limited, strict=True):
        total = [old + math.trunc(value * weight * resolution) for old, value in zip(total, row.tolist(), strict=True)]
    return np.array([value / resolution / sum(limited) for value in total])


def screened_twin(rows, weights):
    kept = [slot for slot, row in enumerate(rows) if all(map(math.isfinite, row))]
    return average([rows[slot] for slot in kept], [weights[slot] for slot in kept])


class Case(NamedTuple):
    """One way to take a mean."""

    settings: AggregationSettings
    twin: object
    """Rows and weights -> what comes out."""
    tolerance: float = TOLERANCE
    size: float = 1.0
    """Of the rows; below the clip where both sides have to have the same numbers to begin with."""


CASES = {
    "weighted": Case(AggregationSettings(), average),
    "unweighted": Case(AggregationSettings(weighted=False), lambda rows, weights: average(rows, [1] * len(rows))),
    "clipped": Case(
        AggregationSettings(clip=CLIP), lambda rows, weights: average([clip_row(row, CLIP) for row in rows], weights)
    ),
    "eight bits": Case(AggregationSettings(eight_bits=True), eight_bits_twin),
    "secure": Case(AggregationSettings(clip=CLIP, secure_sum=True, weight_cap=CAP), secure_twin, 0.0, size=0.01),
    "screened": Case(AggregationSettings(), screened_twin),
}


def build(name: str, steps=reference) -> Pipeline:
    return Pipeline(CASES[name].settings, SHAPES, steps=steps, seed=1, dtype=np.float64)


def flatten(leaves) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def split(row: np.ndarray) -> list[np.ndarray]:
    return [row[:SPLIT].reshape(SHAPES[0]), row[SPLIT:]]


def mean_distance(name: str, steps=reference) -> float:
    """The largest difference to the twin over all draws; infinite where something is not finite."""
    distances = []
    for seed in SEEDS:
        rows = CASES[name].size * draw_rows(seed)
        if name == "screened":
            rows[1, 3] = math.nan
        weights = np.random.default_rng(seed).integers(1, 2 * CAP, len(rows)).tolist()
        found = flatten(aggregate_vectors(build(name, steps), [split(row) for row in rows], weights))
        distances.append(np.nan_to_num(np.abs(found - CASES[name].twin(rows, weights)), nan=math.inf).max())
    return max(distances)


@pytest.mark.parametrize("name", CASES)
def test_a_mean_equals_its_twin(name):
    """The secure sum in every integer, the others to rounding."""
    assert mean_distance(name) <= CASES[name].tolerance


MEAN_FAULTS = {
    "no weight": ("weighted", {"scale": lambda update, weight: update}),
    "twice": ("unweighted", {"scale": lambda update, weight: reference.scale(update, weight + 1)}),
    "no clip": ("clipped", {"clip": lambda update, bound: (update, np.ones_like(bound))}),
    "no dither": (
        "eight bits",
        {"quantise": lambda update, dither: reference.quantise(update, [0 * one for one in dither])},
    ),
    "to the nearest step": (
        "secure",
        {"encode": lambda update, steps: [np.rint(leaf * steps).astype(np.int32) for leaf in update]},
    ),
    "no cap": ("secure", {"limit": lambda weight, most: weight}),
    "masks of the wrong sign": (
        "secure",
        {"add": lambda update, masks: reference.add(update, [-mask for mask in masks])},
    ),
    "no screen": ("screened", {"screen": lambda update: (update, np.asarray(1.0))}),
}


@pytest.mark.parametrize("fault", MEAN_FAULTS)
def test_a_fault_in_a_mean_would_be_seen(fault):
    name, changes = MEAN_FAULTS[fault]
    steps = SimpleNamespace(**{**vars(reference), **changes})
    assert mean_distance(name, steps) > 1e5 * CASES[name].tolerance


def follow_clip(steps=reference) -> list[float]:
    """The clips of eight rounds of a cohort."""
    settings = AggregationSettings(clip=1.0, clip_quantile=0.6)
    pipeline = Pipeline(settings, SHAPES, steps=steps, seed=1, dtype=np.float64)
    clips = []
    for number in range(1, 9):
        aggregate_vectors(pipeline, [split(row) for row in draw_rows(3)], [1.0] * len(draw_rows(3)), number=number)
        clips.append(pipeline.clip_bound)
    return clips


def clip_twin() -> list[float]:
    clip, clips, norms = 1.0, [], [math.hypot(*row) for row in draw_rows(3)]
    for _ in range(8):
        clip *= math.exp(-0.2 * (sum(norm <= clip for norm in norms) / len(norms) - 0.6))
        clips.append(clip)
    return clips


def test_an_adaptive_clip_equals_its_twin():
    assert follow_clip() == pytest.approx(clip_twin(), rel=TOLERANCE)


def test_a_fault_in_an_adaptive_clip_would_be_seen():
    def count_the_clipped(update, bound):
        clipped, under = reference.clip(update, bound)
        return clipped, 1 - under

    steps = SimpleNamespace(**{**vars(reference), "clip": count_the_clipped})
    assert follow_clip(steps) != pytest.approx(clip_twin(), rel=1e-2)

"""First weights, as Keras's initializers would draw them, from NumPy's generator: the same for every engine."""

import numpy as np
from numpy.typing import NDArray

Weight = NDArray[np.float32]


def draw_uniform(random: np.random.Generator, shape: tuple[int, ...]) -> Weight:
    """Glorot and Bengio, 2010: uniform within sqrt(6 / (fan in + fan out)); a vector's fans are its size."""
    limit = np.sqrt(6 / (shape[0] + shape[-1]))
    return random.uniform(-limit, limit, shape).astype(np.float32)


def draw_orthogonal(random: np.random.Generator, shape: tuple[int, int]) -> Weight:
    """Saxe et al., 2014: rows or columns of length 1 that stand at right angles, whichever are fewer."""
    q, r = np.linalg.qr(random.normal(size=(max(shape), min(shape))))
    # Without the signs the result would not be uniform over the rotations.
    q *= np.sign(np.diag(r))
    return (q if shape[0] >= shape[1] else q.T).astype(np.float32)


def draw_normal(random: np.random.Generator, shape: tuple[int, ...], *, deviation: float) -> Weight:
    """Normal around 0."""
    return random.normal(0, deviation, shape).astype(np.float32)

"""Finds the engine by its name, and loads no more than that one needs."""

import contextlib
from collections.abc import Iterator
from typing import Literal

from federated.algorithms.definition import Aggregation, Algorithm, State
from federated.engines.cohort import Engine, Shapes


@contextlib.contextmanager
def open_engine(
    name: Literal["xla", "tff"], algorithm: Algorithm, aggregation: Aggregation, *, shapes: Shapes, state: State
) -> Iterator[Engine]:
    """Starts an engine; it ends with the block.

    Args:
        name: which.
        algorithm: what the clients do.
        aggregation: what becomes of their updates.
        shapes: of the clients' arrays.
        state: any state of the algorithm, for its shapes.

    Raises:
        EngineError: its process did not start, or died.
    """
    if name == "tff":
        # Loading TensorFlow Federated takes seconds.
        from federated.engines.tff import TffEngine, execution_context  # noqa: PLC0415

        with execution_context():
            yield TffEngine(algorithm, aggregation, shapes=shapes, state=state)
        return
    from federated.engines.xla import XlaEngine  # noqa: PLC0415

    with contextlib.closing(XlaEngine(algorithm, aggregation, shapes=shapes)) as engine:
        yield engine

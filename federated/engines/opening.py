"""Finds the engine by its name, and loads no more than that one needs."""

import contextlib
from collections.abc import Callable, Iterator

from federated.algorithms.definition import Aggregation, Algorithm
from federated.config import EngineName
from federated.engines.cohort import Engine, Shapes
from federated.errors import EngineError


@contextlib.contextmanager
def open_engine(
    name: EngineName,
    algorithm: Algorithm,
    aggregation: Aggregation,
    *,
    shapes: Shapes,
    rebuild: Callable[[], tuple[Algorithm, Aggregation]] | None = None,
    address: str = "",
) -> Iterator[Engine]:
    """Starts an engine; it ends with the block.

    Args:
        name: which.
        algorithm: what the clients do.
        aggregation: what becomes of their updates.
        shapes: of the clients' arrays.
        rebuild: builds `algorithm` and `aggregation` once more, in another process; only ``ray`` needs it.
        address: of a Ray cluster; only ``ray`` needs it.

    Raises:
        EngineError: its processes did not start, or died.
    """
    if name == "tff":
        # Loading TensorFlow Federated takes seconds.
        from federated.engines.tff import TffEngine, execution_context  # noqa: PLC0415

        with execution_context():
            yield TffEngine(algorithm, aggregation, shapes=shapes)
        return
    if name == "ray":
        try:
            from federated.engines.ray import RayEngine, connect  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise EngineError("Ray is not installed. Install limelight with its extra `ray`.") from error
        with connect(address):
            yield RayEngine(rebuild, shapes=shapes)
        return
    from federated.engines.xla import XlaEngine  # noqa: PLC0415

    with contextlib.closing(XlaEngine(algorithm, aggregation, shapes=shapes)) as engine:
        yield engine

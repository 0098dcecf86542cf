"""What is measured: one contestant for each way to answer the same backlog.

============== ===================================================================================================
layer          what answers
============== ===================================================================================================
model          ONNX Runtime alone on one thread, on inputs that are padded already: the ceiling, 1.00 of itself
memory         the worker with its three threads, on topics that are lists in its memory
at-least-once  the worker on the brokers, without transactions
exactly-once   the worker on the brokers, as it is used
processes      the same with ``--processes 2``
slices         the same with other values of ``LIMELIGHT_SLICE_RECORDS``
peer           another program that does the same work: see ``--peer``
latency        the worker at half the rate of `exactly-once`, seen by a ``read_committed`` reader
stages         where the CPU time of `exactly-once` goes
============== ===================================================================================================
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

THROUGHPUT_LAYERS = ("model", "memory", "at-least-once", "exactly-once", "processes", "slices", "peer")
LAYERS = (*THROUGHPUT_LAYERS, "latency", "stages")
OFFLINE = frozenset({"model", "memory"})
"""Layers that need no broker."""
CLIENTS = ("kafka-python", "librdkafka")
PROCESSES = 2
NEEDED = {"latency": "exactly-once"}
"""Layer -> another that it cannot do without."""


class Contestant(NamedTuple):
    """One way to answer the backlog."""

    layer: str
    client: str = ""
    """Client library of the worker; empty where none takes part."""
    processes: int = 1
    slice_records: int = 0
    """0 for what the settings say."""

    @property
    def title(self) -> str:
        """How tables and charts call it."""
        worker = f"exactly once, {self.client}"
        titles = {
            "model": "ONNX Runtime alone, one thread",
            "memory": "worker without Kafka",
            "at-least-once": f"at least once, {self.client}",
            "exactly-once": worker,
            "stages": worker,
            "processes": f"{worker}, {self.processes} processes",
            "slices": f"{worker}, slices of {self.slice_records}",
            "peer": "peer, exactly once",
        }
        return titles[self.layer]


def complete_layers(layers: Collection[str]) -> list[str]:
    """`layers` and those that they need, in the order of `LAYERS`."""
    wanted = {*layers, *(NEEDED[layer] for layer in layers if layer in NEEDED)}
    return [layer for layer in LAYERS if layer in wanted]


def plan(layers: Sequence[str], clients: Sequence[str], *, slice_records: Sequence[int]) -> list[Contestant]:
    """The contestants of the throughput layers among `layers`, in the order of the tables.

    Args:
        layers: names, from `complete_layers`.
        clients: names of `CLIENTS`.
        slice_records: sizes of the layer ``slices``.
    """
    return [each for layer in layers if layer in THROUGHPUT_LAYERS for each in _entrants(layer, clients, slice_records)]


def _entrants(layer: str, clients: Sequence[str], slice_records: Sequence[int]) -> Iterator[Contestant]:
    if layer in OFFLINE or layer == "peer":
        yield Contestant(layer)
        return
    for client in clients:
        if layer == "slices":
            yield from (Contestant(layer, client, slice_records=size) for size in slice_records)
        else:
            yield Contestant(layer, client, processes=PROCESSES if layer == "processes" else 1)


def rotate(contestants: Sequence[Contestant], repetition: int) -> list[Contestant]:
    """Another order for each repetition, so that nobody always comes first, or right behind the same."""
    start = repetition % max(len(contestants), 1)
    return [*contestants[start:], *contestants[:start]]

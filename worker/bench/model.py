"""The layer ``model``: ONNX Runtime alone, on one thread, on inputs that are ready.

The rows are cut and padded as the worker cuts and pads a slice, ahead of the clock; only the calls of the session are
timed. Of several sizes of micro-batches the fastest counts: the worker should not look good beside a ceiling that is
built too low.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from worker.answers.batching import caps_for, plan_batches
from worker.bench.assignment import Assignment
from worker.bundle import PROBABILITIES
from worker.features import TextEncoder, pad
from worker.scorer import build_session

BATCH_RECORDS = (8, 16, 32, 64)
MOST_RECORDS = 20_000
"""More of them would only take longer: nothing starts up, and nothing is waited for."""


def build_ceiling(assignment: Assignment) -> Callable[[None], float]:
    """What measures it, again and again, in records a second; meant for a process of its own.

    Raises:
        LimelightError: the bundle cannot be used.
    """
    bundle, workload = assignment.load()
    manifest, settings = bundle.manifest, assignment.settings
    field = manifest.fields[0]
    encoder = TextEncoder(bundle.vocabulary(field), max_tokens=field.max_tokens)
    rows = [encoder.encode(text).ids for text in islice(workload.texts(), MOST_RECORDS)]
    session = build_session(
        bundle.contents[manifest.graphs[0].file],
        threads=1,
        provider=settings.execution_provider,
        session_options={**settings.session_options, "intra_op_num_threads": "1"},
    )
    outputs = [PROBABILITIES, *(axes.output for axes in manifest.attention)]
    batches = [cut_and_pad(rows, settings.slice_records, batch_records=size) for size in BATCH_RECORDS]

    def score(inputs: Iterable[NDArray[np.int32]]) -> float:
        begin = time.perf_counter()
        for token_ids in inputs:
            session.run(outputs, {field.input: token_ids})
        return len(rows) / (time.perf_counter() - begin)

    return lambda _: max(map(score, batches))


def cut_and_pad(rows: Sequence[Sequence[int]], slice_records: int, *, batch_records: int) -> list[NDArray[np.int32]]:
    """The inputs `[B, T]` that the worker would make of `rows`, slice by slice."""
    inputs = []
    for start in range(0, len(rows), slice_records):
        part = rows[start : start + slice_records]
        batches = plan_batches(np.array([len(row) for row in part]), caps_for(batch_records))
        inputs += [pad([part[member] for member in batch]) for batch in batches]
    return inputs

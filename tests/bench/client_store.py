"""What a client store costs: 100,000 clients and 5 million rows from a CSV file, and from there to a cohort of 100.

Each step runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from random import Random

from federated.config import Config, TrainingConfig
from federated.data.clients import Federation, build_federation
from federated.data.partition import PartitionSettings
from federated.data.populations import Shares
from federated.data.readers import Source, read_examples
from federated.data.spill import write_store
from federated.data.store import ClientStore
from federated.engines.cohort import cut, plan_shapes
from federated.rounds import draw_round

WORDS = 30_000
COHORT = 100
COHORTS = 200
BARS = {"ingest_seconds": 300, "ingest_mib": 1024, "open_seconds": 1, "cohort_p50_ms": 10}


def write_table(path: Path, *, clients: int, rows: int) -> None:
    """Texts of 2 to 24 words from a Zipf vocabulary; clients of very different size, in no order."""
    random = Random(1)
    words = [f"word{number}" for number in range(WORDS)]
    weights = list(accumulate(1 / (rank + 1) for rank in range(WORDS)))
    pool = random.choices(words, cum_weights=weights, k=1_000_000)
    with path.open("w") as file:
        file.write("text,label,user\n")
        for _ in range(rows):
            start = random.randrange(len(pool) - 24)
            text = " ".join(pool[start : start + random.randint(2, 24)])
            file.write(f"{text},{random.randrange(5)},user-{int(clients * random.random() ** 1.5)}\n")


def ingest(table: Path, store: Path) -> dict[str, float]:
    """From the file to the store."""
    started = time.perf_counter()
    write_store(store, read_examples(Source(table, "text", "label", "user")))
    return {"ingest_seconds": time.perf_counter() - started, "ingest_mib": peak_mib()}


def open_federation(store: Path) -> Federation:
    """What stands between a store and the first round: populations, vocabulary and clients."""
    return build_federation(
        ClientStore(store),
        partition_settings=PartitionSettings(),
        shares=Shares(heldout=0.1),
        vocabulary_size=20_000,
        min_count=2,
        max_tokens=24,
        seed=1,
    )


def open_store(store: Path) -> dict[str, float]:
    """From the store's name to clients that can train."""
    started = time.perf_counter()
    opened = ClientStore(store)
    mapped = time.perf_counter() - started
    rows, clients = len(opened), len(opened.client_names)
    started = time.perf_counter()
    open_federation(store)
    seconds = time.perf_counter() - started
    return {"mapped_seconds": mapped, "open_seconds": seconds, "open_mib": peak_mib(), "rows": rows, "clients": clients}


def read_cohorts(store: Path) -> dict[str, float]:
    """Cohorts one after the other, as rounds get them: drawn, read, put in order and packed."""
    federation = open_federation(store)
    config = Config(preset="bench", seed=2, training=TrainingConfig(clients_per_round=COHORT))
    training = config.training
    shapes = plan_shapes(
        federation.clients.sizes.tolist(),
        epochs=training.local_epochs,
        batch_size=training.batch_size,
        max_tokens=federation.max_tokens,
    )
    seconds = []
    for number in range(1, COHORTS + 1):
        started = time.perf_counter()
        cut(draw_round(federation.clients, config, number), shapes)
        seconds.append(time.perf_counter() - started)
    return {
        "cohort_p50_ms": 1e3 * statistics.median(seconds),
        "cohort_p99_ms": 1e3 * statistics.quantiles(seconds, n=100)[98],
    }


def peak_mib() -> float:
    """Largest memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(step: Callable[..., dict[str, float]], *arguments: Path) -> dict[str, float]:
    """Runs `step` in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(step, arguments)


def main() -> int:
    """Returns the exit status: 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description="Measure ingest, opening and cohorts of a client store.")
    parser.add_argument("--clients", type=int, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--rows", type=int, default=5_000_000, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        table, store = Path(directory) / "table.csv", Path(directory) / "store"
        write_table(table, clients=arguments.clients, rows=arguments.rows)
        figures = alone(ingest, table, store) | alone(open_store, store) | alone(read_cohorts, store)
    for name, value in figures.items():
        bar = f"   (bar {BARS[name]})" if name in BARS else ""
        print(f"{name:20} {value:12.3f}{bar}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(any(figures[name] > bar for name, bar in BARS.items()))


if __name__ == "__main__":
    sys.exit(main())

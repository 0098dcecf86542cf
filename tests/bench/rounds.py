"""How long a federated round takes: beside TensorFlow Federated's, the first time, and with ten times the clients.

Whatever is measured runs in a process of its own, so that its memory and what it compiles are its own:

- for each shape ``python -m federated bench``, pairs of rounds beside TensorFlow Federated's default loop;
- rounds of 50 and of 500 clients in turn, for the time, and each alone, for the memory;
- a training with the preset `demo` over clients of very different size, for the shapes that it compiles.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from federated.bench.shapes import SHAPES

LEAST = {"small_times": 30.0, "medium_times": 35.0, "large_times": 2.1}
"""How many times as long as ours a round of TensorFlow Federated's takes."""
MOST = {"first_round_seconds": 15.0, "compiled_shapes": 4, "ten_times_the_clients_seconds": 10.5}
MOST |= {"ten_times_the_clients_memory": 1.5}
FEW, MANY = "medium", "many"
UNEVEN = {"data.partition.by": "quantity", "data.partition.clients": 50, "training.evaluate_every": 10_000}


def compare(shape: str, pairs: int) -> dict[str, float]:
    """Pairs of rounds on one shape."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "figures.json"
        command = [sys.executable, "-m", "federated", "bench", "--shapes", shape, "--contestants", "tff_default"]
        subprocess.run([*command, "--pairs", str(pairs), "--json", str(path)], check=True)
        ours, theirs = json.loads(path.read_text())["results"]
    return {
        f"{shape}_times": theirs["times_slower"],
        f"{shape}_seconds": ours["median_seconds"],
        f"{shape}_first_seconds": ours["first_seconds"],
        f"{shape}_tff_seconds": theirs["median_seconds"],
    }


def alternate(pairs: int) -> dict[str, float]:
    """Rounds of few and of many clients in turn."""
    from federated.bench.contestants import open_contestant

    with ExitStack() as stack:
        few, many = (stack.enter_context(open_contestant("xla", SHAPES[shape])) for shape in (FEW, MANY))
        ratios = []
        for number in range(1, pairs + 2):
            times = [take_time(run_round, number) for run_round in (few, many)]
            ratios.append(times[1] / times[0])
    # The first round compiles.
    return {"ten_times_the_clients_seconds": statistics.median(ratios[1:])}


def take_time(run_round: Callable[[int], float], number: int) -> float:
    """Seconds of one round."""
    started = time.perf_counter()
    run_round(number)
    return time.perf_counter() - started


def measure_memory(shape: str, pairs: int) -> dict[str, float]:
    """The most memory of a process that runs rounds of one shape and nothing else."""
    from federated.bench.measure import measure

    (result,) = measure(shape, ["xla"], pairs=pairs, report=lambda _: None)
    return {f"{shape}_mib": result.peak_mib, f"{shape}_first_seconds": result.first_seconds}


def train_demo() -> dict[str, float]:
    """All rounds of the preset `demo`; how many shapes were compiled for them."""
    from unrecorded import build_evaluation, train

    from federated.commands.federation import DATA_SEED_OFFSET, federate
    from federated.config import load_config
    from federated.data.generator import generate
    from federated.data.spill import write_store
    from federated.data.store import ClientStore

    config = load_config("demo", UNEVEN)
    with tempfile.TemporaryDirectory() as directory:
        examples = generate(records=config.data.records, seed=DATA_SEED_OFFSET, clients=config.data.clients)
        write_store(Path(directory) / "store", examples)
        federation = federate(config, ClientStore(Path(directory) / "store"))
        trained = train(config, federation, build_evaluation(config, federation)[1])
    first, *_ = trained.records
    return {
        "compiled_shapes": trained.engine.compiled_shapes,
        "demo_rounds": len(trained.records),
        "demo_first_seconds": first.seconds,
    }


def alone(step: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """Runs `step` in a fresh process."""
    # One of TensorFlow Federated's dependencies says so at every import.
    quiet = {"initializer": warnings.filterwarnings, "initargs": ("ignore", "pkg_resources is deprecated")}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), **quiet) as pool:
        return pool.submit(step, *arguments).result()


def main() -> int:
    """Returns the exit status: 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description="Measure federated rounds, and judge them.")
    parser.add_argument("--pairs", type=int, default=5, help="of rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    figures: dict[str, float] = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    for shape in ("small", "medium", "large"):
        figures |= compare(shape, arguments.pairs)
    figures |= alone(alternate, arguments.pairs) | alone(train_demo)
    for shape in (FEW, MANY):
        figures |= alone(measure_memory, shape, arguments.pairs)
    figures["ten_times_the_clients_memory"] = figures[f"{MANY}_mib"] / figures[f"{FEW}_mib"]
    figures["first_round_seconds"] = max(value for name, value in figures.items() if name.endswith("first_seconds"))
    for name, value in figures.items():
        bar = f"   (at least {LEAST[name]})" if name in LEAST else f"   (at most {MOST[name]})" if name in MOST else ""
        print(f"{name:32} {value:10.3f}{bar}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    slow = any(figures[name] < bar for name, bar in LEAST.items())
    return int(slow or any(figures[name] > bar for name, bar in MOST.items()))


if __name__ == "__main__":
    sys.exit(main())

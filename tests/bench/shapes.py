"""Memory of a worker whose batches never have the same shape twice.

ONNX Runtime may keep buffers for each shape that it has seen, allocators keep what was largest, and a Kafka client has
buffers of its own. So it is the worker itself that is weighed, on a broker, exactly once, with each client: texts of
all lengths come in bursts of all sizes until a thousand shapes were scored.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from harness.attention_lstm import write_version
from harness.matrix import PYTHON, RD
from kafka import KafkaProducer

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.topics import create_topics

SHAPES = 1_000
SETTLED_SHAPES = 200
"""From here on it should be flat."""
BAR_MEGABYTES, GROWTH_MEGABYTES = 130.0, 10.0
LONGEST_TOKENS, MOST_RECORDS = 64, 64
BURST_SECONDS = 0.01
"""From one burst to the next, so that not all of them are scored together."""
PATIENCE_SECONDS = 300.0
WORKER = Path(__file__).parent / "weighed_worker.py"
OUTPUTS = ("limelight.predictions", "limelight.events.dlq", "limelight.status")


def main() -> int:
    """Returns the exit status: 1 if the worker is too large, or grows."""
    parser = argparse.ArgumentParser(description="Measure a worker's memory over a thousand shapes.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Cluster.start() as cluster:
        create_topics(cluster.bootstrap_servers, dict.fromkeys([*OUTPUTS, PYTHON, RD], 1))
        bundle = write_version(Path(directory), 1)
        figures = {
            client: measure(client, cluster.bootstrap_servers, bundle, Path(directory)) for client in (PYTHON, RD)
        }
    for client, found in figures.items():
        print(f"{client}: {', '.join(f'{name} {value}' for name, value in found.items())}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(map(is_within_bars, figures.values())) else 1


def is_within_bars(figures: dict[str, float]) -> bool:
    """Whether a worker is small enough, and stays as it is."""
    return figures["peak_megabytes"] <= BAR_MEGABYTES and figures["growth_megabytes"] <= GROWTH_MEGABYTES


def measure(client: str, servers: str, bundle: Path, directory: Path) -> dict[str, float]:
    """Has a worker answer bursts of all sizes, on a topic named like its client, until it has scored `SHAPES`."""
    ready = directory / f"{client}.ready"
    settings = {"BOOTSTRAP_SERVERS": servers, "BUNDLE": str(bundle), "TRANSPORT": client, "GROUP_ID": client}
    settings |= {"INPUT_TOPIC": client, "CACHE_DIR": str(directory / client), "LOG_LEVEL": "error"}
    environment = os.environ | {f"LIMELIGHT_{name}": value for name, value in settings.items()}
    command = [sys.executable, str(WORKER), str(SHAPES), "run", "--ready-file", str(ready)]
    with (
        closing(KafkaProducer(bootstrap_servers=servers)) as producer,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker,
    ):
        try:
            deadline_seconds = time.monotonic() + PATIENCE_SECONDS
            wait_until(lambda: ready.exists() or worker.poll() is not None, deadline_seconds)
            ready_megabytes = resident_megabytes(worker.pid)
            records = feed(producer, client, lambda: worker.poll() is None, deadline_seconds)
        finally:
            worker.terminate()
        printed, _ = worker.communicate()
    *megabytes, peak = json.loads(printed)
    return {
        "shapes": len(megabytes),
        "records": records,
        "ready_megabytes": round(ready_megabytes, 1),
        "settled_megabytes": round(megabytes[SETTLED_SHAPES], 1),
        "peak_megabytes": round(peak, 1),
        "growth_megabytes": round(megabytes[-1] - megabytes[SETTLED_SHAPES], 1),
    }


def feed(producer: KafkaProducer, topic: str, is_wanted: Callable[[], bool], deadline_seconds: float) -> int:
    """Sends bursts while they are wanted, and returns how many records that were."""
    records = 0
    for burst in bursts(random.Random(7)):
        if not is_wanted():
            break
        if time.monotonic() > deadline_seconds:
            raise TimeoutError(f"{SHAPES} shapes were not seen within {PATIENCE_SECONDS:g} s")
        for value in burst:
            producer.send(topic, value)
        producer.flush()
        records += len(burst)
        time.sleep(BURST_SECONDS)
    return records


def wait_until(holds: Callable[[], bool], deadline_seconds: float) -> None:
    """Returns when it does."""
    while not holds():
        if time.monotonic() > deadline_seconds:
            raise TimeoutError(f"the worker was not ready within {PATIENCE_SECONDS:g} s")
        time.sleep(BURST_SECONDS)


def resident_megabytes(process: int) -> float:
    """Physical memory of another process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def bursts(chance: random.Random) -> Iterator[list[bytes]]:
    """Events that come together, of about one length."""
    while True:
        length = chance.randint(1, LONGEST_TOKENS)
        texts = [
            " ".join(f"word{chance.randrange(9000)}" for _ in range(length))
            for _ in range(chance.randint(1, MOST_RECORDS))
        ]
        yield [json.dumps({"text": text}).encode() for text in texts]


if __name__ == "__main__":
    sys.exit(main())

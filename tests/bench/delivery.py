"""``make bench``: what exactly once costs. The same backlog is answered with and without transactions, by turns.

A worker answers a topic that is full already. Records per second count from the first answer to the last, by their own
time stamps, so neither the start nor the reading back is in them. The two ways of a pair run one after the other,
and the ratio is taken within the pair: what else the machine does meets both.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from harness.classifier import WORDS
from harness.matrix import AT_LEAST, ONCE, PYTHON, RD
from harness.model import write_model
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.topics import create_topics

PARTITIONS = 4
INPUT, DEAD_LETTERS = "bench.events", "bench.dead"
BAR = 0.9
"""Exactly once should not cost more than a tenth."""


class Pair(NamedTuple):
    """One measurement of each way, in records a second."""

    client: str
    exactly_once: float
    at_least_once: float

    @property
    def ratio(self) -> float:
        """Exactly once / at least once."""
        return self.exactly_once / self.at_least_once


def main() -> int:
    """Returns the exit status: 1 if a client misses the bar."""
    parser = argparse.ArgumentParser(description="Measure what exactly once costs against at least once.")
    parser.add_argument("--records", type=int, default=60_000, help="in the backlog (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each client (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Cluster.start() as cluster:
        bench = Bench(cluster.bootstrap_servers, write_model(Path(directory)), records=arguments.records)
        pairs = [bench.measure(client, number) for client in (PYTHON, RD) for number in range(arguments.pairs)]
    print("client         exactly once   at least once   ratio")
    for pair in pairs:
        print(f"{pair.client:13} {pair.exactly_once:10.0f}/s {pair.at_least_once:13.0f}/s {pair.ratio:9.3f}")
    ratios = {
        client: statistics.median(pair.ratio for pair in pairs if pair.client == client) for client in (PYTHON, RD)
    }
    for client, ratio in ratios.items():
        print(f"{client}: median ratio {ratio:.3f}, bar {BAR}")
    if arguments.json:
        figures = {"pairs": [{**pair._asdict(), "ratio": pair.ratio} for pair in pairs], "median_ratio": ratios}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(ratio >= BAR for ratio in ratios.values()) else 1


class Bench:
    """A broker with a full topic."""

    def __init__(self, servers: str, bundle: Path, *, records: int) -> None:
        self._servers = servers
        self._records = records
        self._bundle = bundle
        create_topics(servers, {INPUT: PARTITIONS, DEAD_LETTERS: PARTITIONS})
        chance = random.Random(7)
        with closing(KafkaProducer(bootstrap_servers=servers, linger_ms=20, batch_size=1 << 18)) as producer:
            for number in range(records):
                text = " ".join(chance.choices(WORDS, k=chance.randint(4, 14)))
                value = json.dumps({"id": str(number), "text": text}).encode()
                producer.send(INPUT, value, partition=number % PARTITIONS)
            producer.flush()

    def measure(self, client: str, number: int) -> Pair:
        """Runs both ways, in an order that changes from pair to pair."""
        ways = [ONCE, AT_LEAST] if number % 2 == 0 else [AT_LEAST, ONCE]
        rates = {way: self._run(client, way, f"bench.{client}.{way}.{number}") for way in ways}
        return Pair(client, rates[ONCE], rates[AT_LEAST])

    def _run(self, client: str, delivery: str, output: str) -> float:
        create_topics(self._servers, {output: PARTITIONS})
        environment = {
            **os.environ,
            "LIMELIGHT_BOOTSTRAP_SERVERS": self._servers,
            "LIMELIGHT_BUNDLE": str(self._bundle),
            "LIMELIGHT_INPUT_TOPIC": INPUT,
            "LIMELIGHT_TRANSPORT": client,
            "LIMELIGHT_DELIVERY": delivery,
            "LIMELIGHT_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "worker", "run", "--from", "beginning", "--output-topic", output]
        command += ["--dead-letter-topic", DEAD_LETTERS]
        subprocess.run(command, env=environment, check=True)
        stamps = self._read_timestamps(output)
        assert len(stamps) == self._records, f"{len(stamps)} of {self._records} answered"
        return len(stamps) / ((max(stamps) - min(stamps)) / 1000)

    def _read_timestamps(self, topic: str) -> list[int]:
        options = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        stamps: list[int] = []
        with closing(KafkaConsumer(bootstrap_servers=self._servers, **options)) as consumer:
            partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(partitions)
            ends = consumer.end_offsets(partitions)
            while any(consumer.position(partition) < ends[partition] for partition in partitions):
                for records in consumer.poll(timeout_ms=200, max_records=5_000).values():
                    stamps += [record.timestamp for record in records]
        return stamps


if __name__ == "__main__":
    sys.exit(main())

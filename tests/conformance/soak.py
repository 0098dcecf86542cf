"""``make soak``: one worker at a steady load for hours. Prints a table, writes JSON, ends with status 1 if it grew."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from harness.arena import PARTITIONS, Arena
from harness.matrix import ONCE, PYTHON, RD, Setup
from harness.model import write_model
from harness.soak import RETENTION, Outcome, soak
from harness.subject import Subject
from harness.tally import Tally

from deploy.local.kafka.cluster import Cluster

TABLE_ROWS = 20


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="Run one worker at a steady load and watch its memory and latency.")
    parser.add_argument("--seconds", type=float, default=3600, help="of the steady load (default: %(default)s)")
    parser.add_argument("--load", type=float, default=0.8, help="share of the measured capacity (default: %(default)s)")
    parser.add_argument("--client", choices=[PYTHON, RD], default=PYTHON, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    subject = Subject.from_environment(os.environ)._replace(malformed=False)
    tally = Tally(partitions=PARTITIONS)
    with tempfile.TemporaryDirectory() as directory, Cluster.start(optimize=True) as cluster:
        settings = {"BUNDLE": str(write_model(Path(directory)))}
        setup = Setup(1, ONCE, arguments.client)
        with Arena(
            cluster,
            subject,
            setup,
            Path(directory),
            rate=0,
            settings=settings,
            notes=tally,
            topic_properties=RETENTION,
        ) as arena:
            outcome = soak(arena, tally, seconds=arguments.seconds, load=arguments.load)
    print(describe(outcome))
    if arguments.json:
        arguments.json.write_text(json.dumps(to_json(outcome), indent=2) + "\n")
    return 1 if outcome.findings() else 0


def describe(outcome: Outcome) -> str:
    """A table of some of the samples, and the verdict."""
    step = max(1, len(outcome.samples) // TABLE_ROWS)
    first, last = outcome.latency_seconds()
    growth, allowed = outcome.memory_growth_bytes(), outcome.memory_allowed_bytes()
    return "\n".join(
        [
            f"capacity {outcome.capacity:.0f} records/s, load {outcome.rate:.0f} records/s",
            "   seconds      RSS   records/s      p50      p99",
            *(
                f"{s.at_seconds:10.0f} {s.rss_bytes / 2**20:6.1f} M {s.records_per_second:9.0f}"
                f" {s.p50_seconds * 1000:8.0f} {s.p99_seconds * 1000:8.0f} ms"
                for s in outcome.samples[::step]
            ),
            f"memory: slope {growth / 2**20:+.1f} MiB over the run (allowed {allowed / 2**20:.1f})",
            f"latency: median {first * 1000:.0f} ms in the first tenth, {last * 1000:.0f} ms in the last",
            "records: " + ", ".join(f"{count} {name}" for name, count in outcome.counts._asdict().items()),
            "verdict: " + ("; ".join(outcome.findings()) or "flat, and nothing lost or duplicated"),
        ]
    )


def to_json(outcome: Outcome) -> dict:
    """All figures."""
    return {
        "capacity_records_per_second": outcome.capacity,
        "load_records_per_second": outcome.rate,
        "memory_growth_bytes": outcome.memory_growth_bytes(),
        "latency_first_and_last_seconds": outcome.latency_seconds(),
        "counts": outcome.counts._asdict(),
        "findings": outcome.findings(),
        "samples": [sample._asdict() for sample in outcome.samples],
    }


if __name__ == "__main__":
    sys.exit(main())

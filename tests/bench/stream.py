"""``make bench``: `python -m worker bench` with all that it needs: a broker, a model of a usual size, and a peer.

The model is an LSTM under one query of attention (8,000 words, 64 numbers each, 64 hidden, texts of up to 128 tokens)
with random weights: what a record costs does not depend on what a model has learned. Other options are passed on.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.attention_lstm import write_version
from peers.environment import PeersUnavailableError, find_or_make

from deploy.local.kafka.cluster import Cluster

ROOT = Path(__file__).parents[2]
PEER = Path(__file__).parent / "peers" / "quix.py"
MAX_TOKENS = 128
SEED = 1


def main(options: list[str]) -> int:
    """Returns the exit status of the bench."""
    try:
        peer = ["--peer", shlex.join([str(find_or_make()), str(PEER)])]
    except PeersUnavailableError as error:
        print(f"skipped: peer: {error}", file=sys.stderr)
        peer = []
    with tempfile.TemporaryDirectory() as directory, Cluster.start(optimize=True) as cluster:
        bundle = write_version(Path(directory), SEED, max_tokens=MAX_TOKENS)
        command = [sys.executable, "-m", "worker", "bench", "--bundle", str(bundle), *peer]
        command += ["--bootstrap-servers", cluster.bootstrap_servers, *options]
        # The peer's Python does not know the project; and nobody should find our own neighbours in place of theirs.
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=environment) as bench:
            try:
                return bench.wait()
            except KeyboardInterrupt:
                # It has heard of it, too, and cleans up before the broker goes.
                return bench.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How often the interpreter looks for cycles."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.fast

PROGRAM = """
import gc, weakref
from worker.process.garbage import spare_what_stays

class Node:
    pass

spare_what_stays()
print(gc.get_freeze_count() > 1_000)

node = Node()
node.itself = node
seen = weakref.ref(node)
del node
kept = [[] for _ in range(gc.get_threshold()[0] + 1)]
print(seen())
"""


def test_what_stays_is_spared_and_new_cycles_are_still_found() -> None:
    """In a process of its own: it is for all of its life."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.stdout, ended.stderr) == ("True\nNone\n", "")

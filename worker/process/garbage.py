"""How often the interpreter looks for cycles.

It does so after every few hundred new objects that may hold others, and looks at older ones again after every few of
those. On a stream all old objects are in use: the program itself, and the records between poll and commit. Looking at
them again took a worker a seventh of its throughput.
"""

import gc

THRESHOLDS = (700, 1000, 10)
"""Python's first (more young objects than fit into the cache make each look dearer); then a hundred times its second.
17.5 k -> 20.5 k records/s, exactly once with librdkafka (medians of four pairs)."""


def spare_what_stays() -> None:
    """To be called once, when what lives as long as the process has been made: it is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)

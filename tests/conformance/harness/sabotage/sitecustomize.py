"""Makes a model kill its process, or take its time, when a batch holds a planted token.

Python imports this by itself where PYTHONPATH names this directory, in the worker and in every child that it starts,
so the worker needs no hook for tests.

==========================  =======================================================
variable                    meaning
==========================  =======================================================
SABOTAGE_DEADLY_TOKEN       id of the token on which the process gets SIGKILL
SABOTAGE_SLOW_TOKEN         id of the token on which a batch takes longer
SABOTAGE_SLOW_SECONDS       how much longer
==========================  =======================================================
"""

import os
import signal
import time
from typing import Any

NO_TOKEN = -1
DEADLY = int(os.environ.get("SABOTAGE_DEADLY_TOKEN", NO_TOKEN))
SLOW = int(os.environ.get("SABOTAGE_SLOW_TOKEN", NO_TOKEN))
SLOW_SECONDS = float(os.environ.get("SABOTAGE_SLOW_SECONDS", "0"))


def sabotage() -> None:
    """Wraps ONNX Runtime's one way to run a model."""
    import onnxruntime

    run = onnxruntime.InferenceSession.run

    def run_or_fail(self: Any, outputs: Any, feeds: dict[str, Any], *rest: Any) -> Any:
        [ids] = feeds.values()
        if (ids == DEADLY).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (ids == SLOW).any():
            time.sleep(SLOW_SECONDS)
        return run(self, outputs, feeds, *rest)

    onnxruntime.InferenceSession.run = run_or_fail


if {DEADLY, SLOW} != {NO_TOKEN}:
    sabotage()

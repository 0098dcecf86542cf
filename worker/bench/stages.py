"""The layer ``stages``: where the CPU time of a worker goes that answers the backlog exactly once.

The worker itself counts, with the clock of the thread that is at it (`worker.metrics`): every stage of every slice.
Events are validated while they are decoded, so these two are one. What the kernel says of the whole process between the
first look and the last, and no stage accounts for, is ``other``: the clients' own threads, which fetch and send in the
background, and the threads that look after the worker. ONNX Runtime gets one thread here, because those of its pool
would be nobody's.
"""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from worker.bench.figures import Stages
from worker.bench.plan import Contestant
from worker.bench.stream import Stream

STAGE_METRIC, PROCESS_METRIC, RECORDS_METRIC = (
    "limelight_stage_cpu_seconds_total",
    "process_cpu_seconds_total",
    "limelight_records_total",
)
ANSWER_SECONDS = 10.0
ONE_THREAD = {"session_options": "intra_op_num_threads=1"}


def account_stages(stream: Stream, client: str) -> Stages:
    """Has a worker answer all events.

    Raises:
        BenchError: it died, or took too long.
    """
    with stream.start_live(Contestant("stages", client), told=ONE_THREAD) as run:
        port = run.await_ready()
        before = scrape(port)
        # Only now: what was answered before the first look would be missing from both.
        stream.fill(run.input)
        stream.await_answers(run)
        after = scrape(port)
    return attribute(client, before, after)


def scrape(port: int) -> dict[str, float]:
    """CPU seconds by stage, of the ``process``, and the number of ``records``, so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=ANSWER_SECONDS) as answer:
        text = answer.read().decode()
    found = {"records": 0.0}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == STAGE_METRIC:
                found[sample.labels["stage"]] = sample.value
            elif sample.name == PROCESS_METRIC:
                found["process"] = sample.value
            elif sample.name == RECORDS_METRIC:
                found["records"] += sample.value
    return found


def attribute(client: str, before: dict[str, float], after: dict[str, float]) -> Stages:
    """What happened between two scrapes.

    Args:
        client: of the worker.
        before: when the worker was ready.
        after: when all was answered.
    """
    spent = {name: after[name] - before.get(name, 0.0) for name in after}
    records, total = spent.pop("records"), spent.pop("process")
    accounted = sum(spent.values())
    # The kernel's account of the process goes by ticks of 10 ms, that of the threads is finer.
    total = max(total, accounted)
    spent["other"] = total - accounted
    return Stages(
        client=client,
        records=int(records),
        microseconds={stage: round(seconds / records * 1e6, 2) for stage, seconds in spent.items()},
        total=round(total / records * 1e6, 2),
    )

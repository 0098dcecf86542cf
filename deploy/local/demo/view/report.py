"""The summary of a demo that ran to its end, for people."""

from rich.table import Table

from deploy.local.demo.summary import Summary

MIB = 1024 * 1024


def draw_summary(summary: Summary) -> Table:
    """One row for each figure."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in _rows(summary).items():
        table.add_row(name, value)
    return table


def _rows(summary: Summary) -> dict[str, str]:
    stream, rows = summary.stream, {"broker": f"{summary.broker.name} {summary.broker.version}"}
    if train := summary.train:
        rows["training"] = f"{train.engine}, {train.rounds} rounds, {train.clients} clients, {train.seconds:.0f} s"
        rows["held-out accuracy"] = f"{train.heldout_accuracy:.3f}"
    if export := summary.export:
        rows["ONNX against TensorFlow"] = f"at most {export.max_abs_diff:.1e} apart on {export.probes} probes"
    answers = f"{stream.predictions:,} predictions, {stream.dead_letters:,} dead letters"
    rows |= {
        "records": f"{stream.records_in:,} in, {answers}",
        "lost / duplicated": f"{stream.lost} / {stream.duplicated}",
        "throughput": f"{stream.records_per_second:,.0f} records/s",
        "latency": f"p50 {stream.latency_ms.p50:.0f} ms, p99 {stream.latency_ms.p99:.0f} ms",
        "streamed accuracy": "not judged: the model has other labels than the records"
        if stream.accuracy is None
        else f"{stream.accuracy:.3f}",
    }
    if (lift := summary.attention.planted_lift) is not None:
        rows["attention"] = f"{lift:.1f} times chance on the words that decided"
    for number, worker in enumerate(summary.workers, start=1):
        memory = "-" if worker.rss_bytes is None else f"{worker.rss_bytes / MIB:.0f} MiB"
        rows[f"worker {number}"] = f"ready after {worker.ready_seconds:.1f} s, {memory}"
    return rows

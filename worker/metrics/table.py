"""The list of all metrics in ``README.md`` beside this file, made from the metrics themselves."""

from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from worker.metrics.metrics import Metrics

PAGE = Path(__file__).with_name("README.md")
HEADING = "## All of them\n"
"""What stands below it is made; what stands above is written by hand."""


def build_page(page: str) -> str:
    """`page` with the list as it should be."""
    head, heading, _ = page.partition(HEADING)
    return f"{head}{heading}\n{build_table()}"


def build_table() -> str:
    """A Markdown table of what a worker shows on ``/metrics``, in that order."""
    families = text_string_to_metric_families(Metrics().render().decode())
    rows = [f"| `{_name(each)}` | {each.type} | {_labels(each)} | {each.documentation} |" for each in families]
    return "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows, ""])


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> str:
    """Each label with its values, as far as they are known from the start; a histogram's bounds are none of them."""
    values: dict[str, list[str]] = {}
    for sample in family.samples:
        for label, value in sample.labels.items():
            if label != "le" and value not in values.setdefault(label, []):
                values[label].append(value)
    return "; ".join(f"`{label}`: {', '.join(known)}" for label, known in values.items())

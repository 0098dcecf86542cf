"""The page about metrics tells what there is, and its alerts ask for what there is."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from worker.fleet.pages import MergedPages
from worker.metrics import Metrics
from worker.metrics.table import PAGE, build_page

pytestmark = pytest.mark.fast

README = Path(__file__).parents[2] / "README.md"
NAME = re.compile(r"\b(?:limelight|process)_[a-z_]+\b(?!\.)")


def names_in_code() -> set[str]:
    """What Prometheus calls the series of a worker of several processes."""
    parent = MergedPages([]).page("/metrics")
    assert parent is not None
    text = Metrics().render() + parent.body
    families = list(text_string_to_metric_families(text.decode()))
    return {sample.name for family in families for sample in family.samples} | {family.name for family in families}


def test_the_list_is_that_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == build_page(page), "run `make schemas`"
    assert "\n| `limelight_records_total` | counter | `result`: prediction, dead_letter | Records answered" in page


@pytest.mark.parametrize("page", [PAGE, README], ids=["metrics", "readme"])
def test_every_metric_that_is_named_exists(page: Path) -> None:
    named = set(NAME.findall(page.read_text(encoding="utf-8")))

    assert len(named) > 3
    assert named - names_in_code() == set()

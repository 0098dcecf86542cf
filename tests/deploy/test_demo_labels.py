"""Data and a bundle that do not belong together are refused before anything is streamed."""

import json
from pathlib import Path

import pytest

from deploy.local.demo.errors import DemoError
from deploy.local.demo.labels import check_labels

pytestmark = pytest.mark.fast


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "reviews", "labels": ["bad", "good"]}))
    return tmp_path


def write_lines(directory: Path, *labels: str) -> Path:
    file = directory / "heldout.jsonl"
    file.write_text("".join(json.dumps({"text": "late", "label": label}) + "\n" for label in labels))
    return file


def test_labels_that_the_model_knows_may_be_streamed_though_not_all_occur(bundle: Path) -> None:
    check_labels(write_lines(bundle, "good", "good"), source=Path("reviews.csv"), bundle=bundle)


def test_a_label_that_it_does_not_know_is_named_with_its_file_and_the_remedy(bundle: Path) -> None:
    lines = write_lines(bundle, "good", "5 stars", "1 star")
    with pytest.raises(DemoError) as raised:
        check_labels(lines, source=Path("reviews.csv"), bundle=bundle)
    assert str(raised.value).startswith(
        f"reviews.csv has labels that the model in {bundle} does not know: '1 star', '5 stars'; it knows bad, good. "
    )
    assert "--label-field" in str(raised.value)


def test_a_thousand_unknown_labels_are_not_all_listed(bundle: Path) -> None:
    lines = write_lines(bundle, *map(str, range(1_000)))
    with pytest.raises(DemoError, match=r"'0', '1', '10', '100', '101', \.\.\.; it knows"):
        check_labels(lines, source=Path("reviews.csv"), bundle=bundle)


def test_a_manifest_that_cannot_be_read_is_named(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("{")
    with pytest.raises(DemoError, match=r"manifest\.json cannot be read"):
        check_labels(write_lines(bundle, "good"), source=Path("reviews.csv"), bundle=bundle)

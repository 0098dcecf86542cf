"""The model of the benches."""

from pathlib import Path

import pytest
from harness.attention_lstm import write_version


@pytest.fixture(scope="session")
def lstm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(tmp_path_factory.mktemp("bundles"), 1)

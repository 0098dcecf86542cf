"""The model of the benches, and what makes the environment of their peers."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from harness.attention_lstm import write_version


@pytest.fixture(scope="session")
def lstm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(tmp_path_factory.mktemp("bundles"), 1)


@pytest.fixture
def peers_environment() -> ModuleType:
    """A fresh copy of `peers/environment.py`, which is a script's neighbour and in no package."""
    spec = importlib.util.spec_from_file_location("peers_environment", Path(__file__).parent / "peers/environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

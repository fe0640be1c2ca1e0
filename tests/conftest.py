"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test data, beside the checkout."""
    beside = Path(__file__).parents[1].parent / "shared"
    folder = Path(os.environ.get("FEATFLOW_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no shared test data at {folder}; set FEATFLOW_SHARED")
    return folder

"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the project's shared data; the test is skipped where it is absent."""
    default = Path(__file__).parents[1].parent / "shared"
    folder = Path(os.environ.get("FEATFLOW_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set FEATFLOW_SHARED)")
    return folder

"""Tests that are marked slow run on demand."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Has a size of its own, by which it decides what is slow.
SIZED = Path(__file__).parent / "faults"


def pytest_collection_modifyitems(config, items):
    if config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("slow") and not item.path.is_relative_to(SIZED):
            item.add_marker(pytest.mark.skip(reason="takes long; run it with -m slow"))

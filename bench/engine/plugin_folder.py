"""A plugin package in a folder of its author's, before anything is installed."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path
from typing import Any

from ..contracts.errors import DataError, UsageError
from ..contracts.plugin import unfit
from ..contracts.registry import REGISTRIES


def entry_points(folder: Path) -> dict[str, dict[str, str]]:
    """What ``pyproject.toml`` of a folder registers: kind (``models``, …) to name to ``module:attribute``.

    Raises
    ------
    UsageError
        If there is no such file, or nothing in it is registered.
    DataError
        If it cannot be read.
    """
    path = folder / "pyproject.toml"
    if not path.is_file():
        raise UsageError(f"{folder} holds no pyproject.toml; name a Python file, or write a package with: pbench new model NAME")
    try:
        project = tomllib.loads(path.read_text()).get("project", {})
        points = project.get("entry-points", {})
        found = {kind: dict(points.get(f"pbench.{kind}", {})) for kind in REGISTRIES}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    found = {kind: {str(n): str(t) for n, t in named.items()} for kind, named in found.items() if named}
    if not found:
        groups = ", ".join(f'[project.entry-points."pbench.{kind}"]' for kind in REGISTRIES)
        raise UsageError(f"{path} registers nothing with pbench; it needs one of {groups}.")
    return found


def load(folder: Path, kind: str, name: str, target: str) -> Any:
    """The object that a folder registers, imported from the folder itself.

    Raises
    ------
    UsageError
        If it cannot be imported, whatever it raises, or is nothing of its kind.
    """
    for place in (folder, folder / "src"):
        if place.is_dir() and str(place) not in sys.path:
            sys.path.insert(0, str(place))
    module, _, attribute = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{target} in {folder} cannot be imported: {type(error).__name__}: {error}") from error
    if misfit := unfit(kind.removesuffix("s"), name, found):
        raise UsageError(f"{target} in {folder} cannot be used: {misfit}")
    return found


def register(folder: Path) -> None:
    """Make what a folder registers known to this process, as far as nothing else has its name: a data set may name a split."""
    for kind, named in entry_points(folder).items():
        for name, target in named.items():
            if name not in REGISTRIES[kind]:
                REGISTRIES[kind].add(name, load(folder, kind, name, target), origin=f"folder {folder.name}")

"""A package with a plugin to start from, written out of templates."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from ..contracts.errors import UsageError
from ..contracts.registry import REGISTRIES, kebab

#: What can be written, and one line for its ``pyproject.toml``.
DESCRIPTIONS = {
    "model": "A single-cell perturbation predictor for pbench",
    "dataset": "A single-cell perturbation data set for pbench",
    "metric": "A score of single-cell perturbation predictors for pbench",
    "split": "A split of single-cell perturbation data sets for pbench",
}
CONSTANTS = {"dataset": "DATASET", "metric": "METRIC"}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
#: Longer names make paths and tables that nobody reads.
LONGEST = 60


def write_package(kind: str, name: str, parent: Path, reserved: tuple[str, ...] = ()) -> list[Path]:
    """Write a package into a new folder ``parent/name``; returns its files.

    Parameters
    ----------
    reserved
        Further names that mean something else on the command line.

    Raises
    ------
    UsageError
        If the name cannot be used, or the folder is there already or cannot be written.
    """
    if problem := refusal(kind, name, reserved):
        raise UsageError(problem)
    folder = parent / name
    if folder.exists():
        raise UsageError(f"{folder} exists already; nothing was written. Choose another name, or another place with --out.")
    module, attribute = name.replace("-", "_"), _attribute(kind, name)
    named = f'\n    name = "{name}"\n' if kebab(attribute) != name else ""
    words = {
        "name": name,
        "module": module,
        "attribute": attribute,
        "group": f"{kind}s",
        "description": DESCRIPTIONS[kind],
        "named": named,
    }
    templates = files("pbench.bench") / "templates"
    texts = {
        "pyproject.toml": templates / "package" / "pyproject.toml.template",
        "README.md": templates / kind / "README.md.template",
        f"{module}.py": templates / kind / "module.py.template",
        f"test_{module}.py": templates / "package" / "test.py.template",
    }
    try:
        folder.mkdir(parents=True)
        for file, template in texts.items():
            (folder / file).write_text(Template(template.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}. Choose another place with --out.") from error
    return [folder / file for file in texts]


def refusal(kind: str, name: str, reserved: tuple[str, ...] = ()) -> str:
    """Why nothing new can have this name; empty where it can."""
    module = name.replace("-", "_")
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        return (
            f"'{name}' cannot name a {kind}: take small letters, digits and single dashes, a letter first, at most {LONGEST}, "
            "such as my-model."
        )
    registry = REGISTRIES[f"{kind}s"]
    if name in registry.entries():
        entry = registry.entry(name)
        return f"there is a {kind} '{name}' already: {entry.target} ({entry.origin}). Choose another name."
    if name == "all" or name in {*reserved, *registry.groups().values()}:
        return f"'{name}' means several {kind}s at once on the command line. Choose another name."
    if keyword.iskeyword(module) or module in sys.builtin_module_names or module in sys.stdlib_module_names:
        return f"'{module}' is a word or a module of Python's. Choose another name, such as my-{name}."
    if importlib.util.find_spec(module) is not None:
        return f"a module '{module}' is installed already, or lies in this folder. Choose another name, such as my-{name}."
    return ""


def _attribute(kind: str, name: str) -> str:
    if kind == "model":
        return "".join(part.capitalize() for part in name.split("-"))
    return CONSTANTS.get(kind, name.replace("-", "_"))

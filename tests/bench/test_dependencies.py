"""Every direct dependency is documented and pinned, and what is installed fits together."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import pbench

ROOT = Path(pbench.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


ASKED = {("", normal(Requirement(r).name)) for r in PROJECT["dependencies"]} | {
    (extra, normal(Requirement(r).name))
    for extra, requirements in PROJECT["optional-dependencies"].items()
    for r in requirements
    if Requirement(r).name != "pbench"
}
PINNED = {
    normal(line.partition("==")[0]): line.partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line and not line.startswith("#")
}


def documented():
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|.*\|$", (ROOT / "docs" / "dependencies.md").read_text(), flags=re.MULTILINE)
    extras = set(PROJECT["optional-dependencies"])
    return {
        (first, normal(second)) if first in extras else ("", normal(first))
        for first, second in rows
        if first not in ("package", "extra")
    }


def test_the_page_lists_what_is_asked_for():
    assert documented() == ASKED


def test_every_dependency_is_pinned():
    assert {name for _, name in ASKED} - set(PINNED) == set()


@pytest.mark.parametrize("extra, name", sorted(ASKED))
def test_what_is_installed_fits_together(extra, name):
    """As ``pip check`` says it, for what is installed here; extras may be absent."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        assert extra, f"{name} is not installed"
        pytest.skip(f"the extra {extra} is not installed")
    for text in found.requires or ():
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = importlib.metadata.version(requirement.name)
        assert requirement.specifier.contains(version, prereleases=True), f"{name} needs {requirement}, and {version} is here"

"""What is assumed of pertpy's loaders, read from its source: importing it takes half a minute."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from pbench.datasets.files import SOURCES

OURS = {name: source for name, source in SOURCES.items() if source.pertpy}


@pytest.fixture(scope="module")
def loaders():
    """Strings in the source of each function of `pertpy.dt` by its name."""
    spec = importlib.util.find_spec("pertpy")
    if spec is None or spec.origin is None:
        pytest.skip("pertpy is not installed")
    data = Path(spec.origin).parent / "data"
    imported = {
        alias.name
        for node in ast.walk(ast.parse((data / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {
        function.name: [n.value for n in ast.walk(function) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        for function in ast.parse((data / "_datasets.py").read_text()).body
        if isinstance(function, ast.FunctionDef) and function.name in imported
    }


def urls(strings):
    return [s for s in strings if s.startswith("https://") and "\n" not in s]


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_loader_exists_and_writes_the_file_that_is_looked_for(name, loaders):
    assert OURS[name].files[0] in loaders[OURS[name].pertpy]


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_loader_downloads_what_it_is_named_for(name, loaders):
    (url,) = urls(loaders[OURS[name].pertpy])
    assert url.endswith("/" + OURS[name].files[0])


def test_why_replogle_k562_does_not_come_from_pertpy(loaders):
    """pertpy 1.0.3 brings Gasperini's screen under Replogle's name. Where this fails, pertpy has mended it."""
    (url,) = urls(loaders["replogle_2022_k562_essential"])
    assert url.endswith("/gasperini_2019_atscale.h5ad")
    assert SOURCES["replogle-k562"].pertpy is None and SOURCES["replogle-k562"].url.endswith(SOURCES["replogle-k562"].files[0])

"""The walls of the house: what is installed, who may import whom, who may print, and that every example is true."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pbench

ROOT = Path(pbench.__file__).parent
ROOMS = ("bench", "datasets", "leaderboards", "metrics", "models")
MODULES = sorted([ROOT / "__init__.py", *(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))])
NAMES = {path: ".".join(("pbench", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__") for path in MODULES}


def imported(path):
    """Absolute names of everything that a module imports, at any depth of its functions."""
    package = NAMES[path].split(".") if path.name == "__init__.py" else NAMES[path].split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module or "") if part)
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


STATISTICS = tuple(
    f"pbench.bench.engine.{name}"
    for name in ("store", "inference", "ranks", "calibration", "scale", "strata", "dependence", "bundle")
)
#: room: what of ours a module in it may import.
WALLS = {
    "bench/kernels": ("pbench.bench.kernels",),
    "bench/contracts": ("pbench.bench.contracts",),
    "models": ("pbench.bench.contracts", "pbench.bench.kernels", "pbench.models"),
    "metrics": ("pbench.bench.contracts", "pbench.bench.kernels", "pbench.metrics"),
    "datasets": ("pbench.bench.contracts", "pbench.bench.kernels", "pbench.datasets"),
    "leaderboards": ("pbench.bench.contracts", *STATISTICS, "pbench.leaderboards"),
}


@pytest.mark.parametrize("room", WALLS)
def test_walls(room):
    allowed = WALLS[room]
    for path in MODULES:
        if path.is_relative_to(ROOT / room):
            ours = {name for name in imported(path) if name.split(".")[0] == "pbench"}
            beyond = sorted(n for n in ours if not any(n == a or n.startswith(a + ".") for a in allowed))
            assert beyond == [], NAMES[path]


def test_the_engine_names_no_model_and_no_metric():
    for path in MODULES:
        if path.is_relative_to(ROOT / "bench" / "engine"):
            others = ("pbench.models", "pbench.metrics", "pbench.leaderboards", "pbench.bench.cli")
            beyond = sorted(n for n in imported(path) if n.startswith(others))
            assert beyond == [], NAMES[path]


def test_our_own_modules_are_imported_relatively():
    bare = set(ROOMS)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").split(".")[0] not in bare | {"pbench"}, NAMES[path]
            if isinstance(node, ast.Import):
                assert not {a.name.split(".")[0] for a in node.names} & (bare | {"pbench"}), NAMES[path]


def test_only_the_command_line_prints():
    for path in MODULES:
        if not path.is_relative_to(ROOT / "bench" / "cli"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    assert called not in ("print", "click.echo", "sys.stdout.write", "sys.stderr.write"), (
                        NAMES[path],
                        node.lineno,
                    )


def test_modules_are_short():
    assert {NAMES[p]: n for p in MODULES if (n := len(p.read_text().splitlines())) > 400} == {}


def test_nothing_is_called_utils():
    assert [p for p in MODULES if p.stem in ("utils", "util", "helpers", "misc", "common")] == []


def test_every_folder_with_modules_is_a_listed_package():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {NAMES[p] for p in MODULES if p.name == "__init__.py"}
    holding = {NAMES[p].rpartition(".")[0] for p in MODULES if p.name != "__init__.py"} | {"pbench"}
    assert listed == folders
    assert holding <= folders


HEAVY = ("torch", "scanpy", "pertpy", "anndata", "sklearn", "pandas", "matplotlib")
ONE_COPY = """
import importlib, sys
for name in sys.argv[1].split(","):
    importlib.import_module(name)
owners = {}
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file in sys.argv[2].split(","):
        owners.setdefault(file, []).append(name)
print([names for names in owners.values() if len(names) > 1 or not names[0].startswith("pbench")])
"""


def test_every_module_is_imported_once_under_one_name():
    names = ",".join(NAMES[p] for p in MODULES)
    done = subprocess.run(
        [sys.executable, "-c", ONE_COPY, names, ",".join(map(str, MODULES))], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_importing_the_package_is_cheap():
    code = f"import sys, pbench, pbench.models, pbench.datasets; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_public_names_exist():
    for name in pbench.__all__:
        assert getattr(pbench, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = pbench.nonsense


def test_examples_in_docstrings_are_true():
    tried = 0
    for path in MODULES:
        result = doctest.testmod(importlib.import_module(NAMES[path]))
        assert result.failed == 0, NAMES[path]
        tried += result.attempted
    assert tried >= 4

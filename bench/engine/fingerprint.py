"""The identity of code: a hash of what a module and its own package's modules say, blind to comments and layout."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from functools import cache, partial
from pathlib import Path

from ..contracts.identity import content_id

#: Packages that the kernels and the metrics compute with, beside numpy and scipy.
COMPILED = ("numba", "scikit-learn")


@cache
def code_id(module: str) -> str:
    """sha256 over the syntax trees of `module` and of every module of the same top-level package that it imports.

    Comments, docstrings and layout do not count, so tidying them leaves results valid; any change of code does not.
    """
    seen: dict[str, str] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        if name not in seen and (parsed := _parsed(name)):
            seen[name] = parsed[0]
            queue.extend(parsed[1])
    return content_id(sorted(seen.items()))


@cache
def _parsed(module: str) -> tuple[str, list[str]] | None:
    path = _source(module)
    if path is None:
        return None
    tree = ast.parse(path.read_bytes())
    imports = _imports(tree, module, is_package=path.name == "__init__.py")
    return ast.dump(_without_docstrings(tree)), imports


def function_id(function: Callable[..., object]) -> str:
    """Identity of a function: its code and that of every function that a ``functools.partial`` or a dataclass of it holds."""
    modules, queue = set(), [function]
    while queue:
        part = queue.pop()
        if isinstance(part, partial):
            queue += [part.func, *(a for a in (*part.args, *part.keywords.values()) if callable(a))]
            continue
        modules.add(part.__module__)
        if is_dataclass(part) and not isinstance(part, type):
            queue += [value for value in vars(part).values() if callable(value)]
    return content_id(sorted((m, code_id(m)) for m in modules))


def environment(packages: Iterable[str] = ()) -> dict[str, str]:
    """Versions that can change a number: Python, numpy, scipy and the distributions in `packages`."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in sorted({"numpy", "scipy", *packages}):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def _source(module: str) -> Path | None:
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if origin is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return None
        origin = spec.origin if spec else None
    path = Path(origin) if origin else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _imports(tree: ast.Module, module: str, *, is_package: bool) -> list[str]:
    top = module.partition(".")[0]
    parents = module.split(".") if is_package else module.split(".")[:-1]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module or "") if part)
            found += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    # The package root only lists lazy names; following it would make every module depend on every other.
    return [name for name in found if name.partition(".")[0] == top and name != top]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return tree

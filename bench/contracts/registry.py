"""One generic, lazy registry for models, data sets, splits and metrics."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import UsageError, suggestion
from .plugin import guarded, summary_of, unfit


@dataclass(frozen=True)
class Entry:
    """A registered name: where it is defined and what it is, known without importing it.

    Entries with a `group` stand apart: they are asked for by their own name or the group's, never by ``all``.
    """

    name: str
    target: str
    summary: str
    origin: str
    group: str = ""


class Registry:
    """Names to lazily imported objects, with provenance.

    Parameters
    ----------
    kind
        ``model``, ``dataset``, ``split`` or ``metric``; also names the entry-point group ``pbench.<kind>s``.
    package
        Package that holds the built-in catalogue ``CATALOGUE``: name to ``("module:attribute", summary)`` or
        ``("module:attribute", summary, group)``, imported on first use, or name to an object with a ``summary``. A package may
        also hold ``VARIANTS``, suffix to ``("module:function", summary)``: the function makes another object of any entry,
        which is asked for by the entry's name, a plus sign and the suffix.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self.broken: dict[str, str] = {}
        #: Asked before modules of installed plugins are imported: why each of those cannot be, that cannot.
        self.check_modules: Callable[[list[str]], Mapping[str, str]] = lambda modules: {}
        self._variants: dict[str, tuple[str, str]] | None = None
        self._entries: dict[str, Entry] | None = None
        self._objects: dict[str, Any] = {}

    @property
    def group(self) -> str:
        return f"pbench.{self.kind}s"

    def entries(self) -> dict[str, Entry]:
        """All entries by name: built-in first, then installed plugins, then files."""
        if self._entries is None:
            self._entries = {}
            catalogue: dict[str, Any] = importlib.import_module(self.package).CATALOGUE
            for name, value in catalogue.items():
                if isinstance(value, tuple):
                    target, summary, *group = value
                    self._add(Entry(name, f"{self.package}.{target}", summary, "built in", *group))
                else:
                    self._add(Entry(name, f"{self.package}:{name}", value.summary, "built in"))
                    self._objects[name] = value
            for point in sorted(importlib.metadata.entry_points(group=self.group), key=lambda p: p.name):
                dist = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"
                try:
                    self._add(Entry(point.name, point.value, "", dist))
                except UsageError as error:
                    self.broken[point.name] = str(error)
        return self._entries

    def _add(self, entry: Entry) -> None:
        assert self._entries is not None
        if not entry.name or any(ch in entry.name for ch in "[],=* \t\n"):
            raise UsageError(f"'{entry.name}' cannot name a {self.kind}: names hold no spaces, commas, brackets, '=' or '*'.")
        other = self._entries.get(entry.name)
        if other is not None and other.target != entry.target:
            raise UsageError(
                f"two {self.kind}s are named '{entry.name}': {other.target} ({other.origin}) and {entry.target} ({entry.origin}); rename one."
            )
        self._entries[entry.name] = entry

    def add(self, name: str, value: Any, *, summary: str = "", origin: str = "this session") -> None:
        """Register an object that is already imported.

        Raises
        ------
        UsageError
            If the name is taken by another object, or holds a space, comma, bracket, ``=`` or ``*``.
        """
        self.entries()
        module, attribute = getattr(value, "__module__", "?"), getattr(value, "__qualname__", type(value).__name__)
        self._add(Entry(name, f"{module}:{attribute}", summary, origin))
        self._objects[name] = value

    def names(self) -> list[str]:
        """All names, in the order of `entries`."""
        return list(self.entries())

    def variants(self) -> dict[str, tuple[str, str]]:
        """Target and summary of each suffix."""
        if self._variants is None:
            found: dict[str, tuple[str, str]] = getattr(importlib.import_module(self.package), "VARIANTS", {})
            self._variants = {suffix: (f"{self.package}.{target}", summary) for suffix, (target, summary) in found.items()}
        return self._variants

    def split(self, name: str) -> tuple[str, str]:
        """The entry and the suffix that a name is made of; the suffix is empty for a name of an entry."""
        base, plus, suffix = name.rpartition("+")
        return (base, suffix) if plus and name not in self.entries() and suffix in self.variants() else (name, "")

    def groups(self) -> dict[str, str]:
        """Group of each entry that has one."""
        return {name: entry.group for name, entry in self.entries().items() if entry.group}

    def __contains__(self, name: str) -> bool:
        return self.split(name)[0] in self.entries()

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries())

    def entry(self, name: str) -> Entry:
        entries = self.entries()
        base, suffix = self.split(name)
        if suffix:
            entry = self.entry(base)
            return replace(entry, name=name, summary=f"{entry.summary} {self.variants()[suffix][1]}")
        if name not in entries:
            broken = f" A plugin of that name is broken: {self.broken[name]}" if name in self.broken else ""
            raise UsageError(
                f"there is no {self.kind} '{name}'. {suggestion(name, entries)}{broken} Type: pbench list {self.kind}s"
            )
        return entries[name]

    def _checked(self) -> Mapping[str, str]:
        """Why modules of plugins that were not imported yet cannot be; all are asked for together, which costs less."""
        waiting = [e.target for e in self.entries().values() if e.origin != "built in" and e.name not in self._objects]
        return self.check_modules([target.partition(":")[0] for target in waiting])

    def get(self, name: str) -> Any:
        """Import and return the object.

        Raises
        ------
        UsageError
            If the name is unknown or its module cannot be imported, whatever it raises.
        """
        entry = self.entry(name)
        base, suffix = self.split(name)
        if suffix and name not in self._objects:
            module, _, attribute = self.variants()[suffix][0].partition(":")
            self._objects[name] = getattr(importlib.import_module(module), attribute)(self.get(base))
        if name not in self._objects:
            module, _, attribute = entry.target.partition(":")
            built_in = entry.origin == "built in"
            if not built_in and (problem := self._checked().get(module)):
                self.broken[name] = problem
                raise UsageError(f"{self.kind} '{name}' ({entry.origin}, {entry.target}) cannot be imported: {problem}")
            try:
                # Standard output belongs to the command's answer, whatever a plugin prints when it is imported.
                with contextlib.nullcontext() if built_in else contextlib.redirect_stdout(sys.stderr):
                    found = getattr(importlib.import_module(module), attribute)
            except (Exception, SystemExit) as error:  # a plugin can raise whatever it likes when it is imported
                self.broken[name] = f"{type(error).__name__}: {error}"
                raise UsageError(
                    f"{self.kind} '{name}' ({entry.origin}, {entry.target}) cannot be imported: {self.broken[name]}"
                ) from error
            if not built_in and (misfit := unfit(self.kind, name, found)):
                self.broken[name] = misfit
                raise UsageError(f"{self.kind} '{name}' ({entry.origin}, {entry.target}) cannot be used: {misfit}")
            self._objects[name] = found if built_in else guarded(found, name, entry.origin)
            if not entry.summary:
                self.entries()[name] = replace(entry, summary=summary_of(found))
        return self._objects[name]


models = Registry("model", "pbench.models")
datasets = Registry("dataset", "pbench.datasets")
splits = Registry("split", "pbench.datasets.splits")
metrics = Registry("metric", "pbench.metrics")
REGISTRIES = {"models": models, "datasets": datasets, "splits": splits, "metrics": metrics}


def load_plugin_file(path: Path | str) -> list[str]:
    """Import a Python file and register what it defines; returns the names as ``kind:name``.

    A class with `fit` and `predict` becomes a model, named by its attribute ``name`` or by its class name in
    kebab-case. Objects of type `Dataset` and `MetricInfo` and functions in a dict ``SPLITS`` are registered too.
    """
    from .metric import MetricInfo
    from .screen import Dataset

    path = Path(path).resolve()
    if not path.is_file():
        raise UsageError(f"--plugin {path}: there is no such file.")
    module_name = f"pbench_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--plugin {path}: this is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise UsageError(f"--plugin {path} cannot be imported: {type(error).__name__}: {error}") from error
    added: list[str] = []
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module_name and _looks_like_model(value):
            added.append(_register(models, str(getattr(value, "name", None) or kebab(value.__name__)), value, path))
        elif isinstance(value, Dataset):
            added.append(_register(datasets, str(getattr(value.card, "name", "")), value, path))
        elif isinstance(value, MetricInfo):
            added.append(_register(metrics, value.id, value, path))
    for name, function in getattr(module, "SPLITS", {}).items():
        added.append(_register(splits, name, function, path))
    if not added:
        raise UsageError(f"--plugin {path} defines no class with fit and predict, no Dataset, no MetricInfo and no SPLITS.")
    return added


def _register(registry: Registry, name: str, value: Any, path: Path) -> str:
    if misfit := unfit(registry.kind, name, value):
        raise UsageError(f"--plugin {path}: {registry.kind} '{name}': {misfit}.")
    origin = f"file {path.name}"
    registry.add(name, guarded(value, name, origin), summary=summary_of(value), origin=origin)
    return f"{registry.kind}:{name}"


def _looks_like_model(cls: type) -> bool:
    return callable(getattr(cls, "fit", None)) and callable(getattr(cls, "predict", None))


def kebab(name: str) -> str:
    """``MyModel`` to ``my-model``."""
    return "".join(f"-{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def resolve(patterns: Iterable[str], known: Iterable[str], matches: Callable[[str, str], bool]) -> list[str]:
    """Names among `known` that match any of `patterns`, in the order of `known`."""
    patterns = list(patterns)
    return [name for name in known if any(matches(name, p) for p in patterns)]

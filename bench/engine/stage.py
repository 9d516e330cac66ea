"""Before the jobs: a data set is prepared, its splits are made and audited, each once and in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import registry
from ..contracts.errors import DataError, UsageError, suggestion
from ..contracts.identity import content_id
from ..contracts.screen import Dataset, Screen, validate
from ..contracts.split import SplitManifest
from .assemble import Assembly
from .audit import audit, to_dict
from .fingerprint import COMPILED, code_id, environment
from .folders import write_atomically
from .plan import Request
from .prepare import PreparedScreen, cell_level_sums, prepare
from .worker import load_plugins


@dataclass(frozen=True)
class DatasetRequest:
    """A registered data set, a generated one with parameters, or anybody's file with the options that say how to read it.

    `options` are those of the file, or the parameters of the generator.
    """

    name: str
    path: str | None = None
    options: Mapping[str, Any] | None = None

    def dataset(self) -> Dataset:
        """The data set.

        Raises
        ------
        UsageError
            If there are parameters and nothing is generated, or a parameter does not exist.
        """
        if self.path is None:
            found: Dataset = registry.datasets.get(self.name.partition("[")[0])
            if not self.options:
                return found
            if found.generate is None:
                raise UsageError(
                    f"data set '{found.card.name}' is read, not generated, and has no parameters; drop the brackets."
                )
            return found.generate(**self.options)
        return registry.datasets.get("your.h5ad")(self.path, name=self.name, **(self.options or {}))


@dataclass(frozen=True)
class StageRequest:
    """One data set with the splits that are wanted of it; a split is a `Request` or the path of a manifest file.

    `cells` stores the cells for models that read them, `cell_truth` works out what metrics of cells need; `memory_mb` bounds
    what is held in memory at a time, where the user gives a bound.
    """

    dataset: DatasetRequest
    data_id: str
    splits: Sequence[Request | Path]
    cells: bool
    plugins: Sequence[str] = ()
    cell_truth: bool = False
    memory_mb: float | None = None


@dataclass(frozen=True)
class StagedSplit:
    """A manifest on disk with its audit, the sums that a split by cells needs, and the folder of its `CellTruth`."""

    manifest: Path
    cell_sums: Path | None
    audit: Mapping[str, Any]
    cell_truth: Path | None = None


@dataclass(frozen=True)
class Staged:
    """What jobs on one data set read."""

    dataset: str
    data_id: str
    screen: Path
    splits: Sequence[StagedSplit]


def stage(request: StageRequest) -> Staged:
    """Prepare a data set and its splits; what is in the cache is not made again.

    Raises
    ------
    DataError
        If the data cannot be read or cannot be split as asked.
    """
    load_plugins(request.plugins)
    dataset = request.dataset.dataset()
    lazy = _Lazy(dataset)
    cells = request.cells or request.cell_truth
    prepared = prepare(dataset, data_id=request.data_id, cells=cells, loaded=lambda: lazy.screen)
    splits: list[StagedSplit] = []
    for wanted in request.splits or [Request(prepared.meta["card"]["default_split"])]:
        splits += _staged(wanted, prepared, request.data_id, lazy)
    if request.cell_truth:
        splits = [replace(split, cell_truth=_cell_truth(split, prepared)) for split in splits]
    return Staged(request.dataset.name, request.data_id, prepared.folder, splits)


def _cell_truth(split: StagedSplit, prepared: PreparedScreen) -> Path:
    """The folder of a split's `CellTruth`, filled where it is not there."""
    made_with = content_id([code_id("pbench.bench.engine.assemble"), environment(COMPILED)])
    folder = split.manifest.with_name(f"{split.manifest.stem}.cells-{made_with[:16]}")
    if not folder.exists():
        Assembly(prepared, SplitManifest.load(split.manifest), split.cell_sums).write_cell_truth(folder)
    return folder


class _Lazy:
    """The screen, loaded when first needed: with everything cached, it never is."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @cached_property
    def screen(self) -> Screen:
        return validate(self.dataset.load(), source=f"data set '{self.dataset.card.name}'")


def _staged(wanted: Request | Path, prepared: PreparedScreen, data_id: str, lazy: _Lazy) -> list[StagedSplit]:
    folder = prepared.folder / "splits"
    if isinstance(wanted, Path):
        manifest = SplitManifest.load(wanted)
        if manifest.data_id != data_id:
            raise DataError(
                f"{wanted} was made for data {manifest.data_id[:12]} of '{manifest.dataset}', and the data here is {data_id[:12]}: "
                "a split holds for the bytes that it was made from."
            )
        return [_saved(manifest, folder, lazy)]
    generator = registry.splits.get(wanted.name)
    key = content_id([str(wanted), code_id(generator.__module__), code_id("pbench.bench.engine.audit")])[:32]
    index = folder / f"{key}.index.json"
    if index.exists():
        return [
            StagedSplit(folder / f"{i}.json", _sums_path(folder, i), json.loads((folder / f"{i}.audit.json").read_text()))
            for i in json.loads(index.read_text())
        ]
    manifests = make_splits(wanted, lazy.screen, data_id)
    made = [_saved(m, folder, lazy) for m in manifests]
    write_atomically(index, lambda p: p.write_text(json.dumps([m.id[:32] for m in manifests])))
    return made


def make_splits(wanted: Request, screen: Screen, data_id: str) -> tuple[SplitManifest, ...]:
    """Manifests of a registered split with parameters.

    Raises
    ------
    UsageError
        If a parameter does not exist.
    """
    import inspect

    generator = registry.splits.get(wanted.name)
    known = [n for n, p in inspect.signature(generator).parameters.items() if p.kind is p.KEYWORD_ONLY and n != "data_id"]
    for name in wanted.params:
        if name not in known:
            raise UsageError(f"split '{wanted.name}' has no parameter '{name}'. {suggestion(name, known)}")
    try:
        return tuple(generator(screen, data_id=data_id, **wanted.params))
    except (TypeError, ValueError) as error:
        raise UsageError(f"split '{wanted}' cannot be made: {error}") from error


def _sums_path(folder: Path, manifest_id: str) -> Path | None:
    path = folder / f"{manifest_id}.sums.npz"
    return path if path.exists() else None


def _saved(manifest: SplitManifest, folder: Path, lazy: _Lazy) -> StagedSplit:
    name = manifest.id[:32]
    report = to_dict(audit(manifest, lazy.screen))
    write_atomically(folder / f"{name}.json", manifest.save)
    write_atomically(folder / f"{name}.audit.json", lambda p: p.write_text(json.dumps(report)))
    if manifest.test_cells:
        sums = cell_level_sums(lazy.screen, manifest.test_cells)

        def save(path: Path) -> None:
            with open(path, "wb") as f:
                np.savez(f, total=sums.total, squares=sums.squares, n=sums.n)

        write_atomically(folder / f"{name}.sums.npz", save)
    return StagedSplit(folder / f"{name}.json", _sums_path(folder, name), report)

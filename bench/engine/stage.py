"""Before the jobs: a data set is prepared, its splits are made and audited, each once and in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..contracts import registry
from ..contracts.errors import DataError, UsageError, suggestion
from ..contracts.identity import content_id
from ..contracts.memory import available
from ..contracts.screen import Dataset, Screen, validate
from ..contracts.split import SplitManifest
from .assemble import Assembly
from .audit import audit, to_dict
from .fingerprint import COMPILED, code_id, environment
from .kept import whole_or_quarantined
from .kept_splits import kept_splits, save_index, save_split
from .plan import Request
from .prepare import PreparedScreen, cell_level_sums, prepare
from .progress_file import ProgressFile
from .worker import load_plugins

#: Share of the memory that a matrix may take to be read whole; beside it lie the copies that are made of it.
IN_MEMORY = 0.25


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
    what is held in memory at a time, where the user gives a bound; how far a long conversion is goes to the file `progress`.
    """

    dataset: DatasetRequest
    data_id: str
    splits: Sequence[Request | Path]
    cells: bool
    plugins: Sequence[str] = ()
    cell_truth: bool = False
    memory_mb: float | None = None
    progress: Path | None = None


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
    lazy = _Lazy(dataset, request.memory_mb)
    cells = request.cells or request.cell_truth
    tell = ProgressFile(request.progress)
    prepared = prepare(dataset, data_id=request.data_id, cells=cells, loaded=lambda: lazy.screen, tell=tell)
    splits: list[StagedSplit] = []
    for wanted in request.splits or [Request(prepared.meta["card"]["default_split"])]:
        splits += _staged(wanted, prepared, request.data_id, lazy)
    if request.cell_truth:
        splits = [replace(split, cell_truth=_cell_truth(split, prepared, request.memory_mb)) for split in splits]
    return Staged(request.dataset.name, request.data_id, prepared.folder, splits)


def _cell_truth(split: StagedSplit, prepared: PreparedScreen, memory_mb: float | None) -> Path:
    """The folder of a split's `CellTruth`, filled where it is not there."""
    made_with = content_id([code_id("pbench.bench.engine.assemble"), environment(COMPILED)])
    folder = split.manifest.with_name(f"{split.manifest.stem}.cells-{made_with[:16]}")
    if not whole_or_quarantined(folder):
        bound = None if memory_mb is None else int(memory_mb * 2**20)
        Assembly(prepared, SplitManifest.load(split.manifest), split.cell_sums, memory_bytes=bound).write_cell_truth(folder)
    return folder


class _Lazy:
    """The screen, loaded when first needed: with everything cached, it never is."""

    def __init__(self, dataset: Dataset, memory_mb: float | None = None) -> None:
        self.dataset, self.memory_mb = dataset, memory_mb

    @cached_property
    def screen(self) -> Screen:
        bound = available() if self.memory_mb is None else min(self.memory_mb * 2**20, available())
        opened = self.dataset.open
        screen = self.dataset.load() if opened is None else opened(IN_MEMORY * bound)
        return validate(screen, source=f"data set '{self.dataset.card.name}'")


def _staged(wanted: Request | Path, prepared: PreparedScreen, data_id: str, lazy: _Lazy) -> list[StagedSplit]:
    folder = prepared.folder / "splits"
    if isinstance(wanted, Path):
        manifest = SplitManifest.load(wanted)
        if manifest.data_id != data_id:
            raise DataError(
                f"{wanted} was made for data {manifest.data_id[:12]} of '{manifest.dataset}', and the data here is {data_id[:12]}: "
                "a split holds for the bytes that it was made from."
            )
        return [_saved(manifest, prepared, lazy)]
    generator = registry.splits.get(wanted.name)
    key = content_id([str(wanted), code_id(generator.__module__), code_id("pbench.bench.engine.audit")])[:32]
    index = folder / f"{key}.index.json"
    if (kept := kept_splits(index)) is not None:
        return [StagedSplit(*parts) for parts in kept]
    manifests = make_splits(wanted, lazy.screen, data_id)
    made = [_saved(m, prepared, lazy) for m in manifests]
    save_index(index, manifests)
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
    except AttributeError as error:
        if screen.rows is None:
            raise
        raise UsageError(
            f"split '{wanted}' cannot be made of a matrix that stays in its file ({error}); give a larger --memory on a machine that "
            "has it."
        ) from error


def _saved(manifest: SplitManifest, prepared: PreparedScreen, lazy: _Lazy) -> StagedSplit:
    report = to_dict(audit(manifest, lazy.screen, hashed=prepared.row_hashes))
    sums = cell_level_sums(lazy.screen, manifest.test_cells, prepared.folder) if manifest.test_cells else None
    return StagedSplit(*save_split(prepared.folder / "splits", manifest, report, sums))

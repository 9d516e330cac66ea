"""Where side information comes from: what the user names, what the screen brings, what lies in the data folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from ...datasets.feature_table import default_path, read_feature_table
from ...datasets.folder import data_folder
from ..contracts.errors import UsageError, suggestion
from ..contracts.identity import file_sha256
from ..contracts.resource import FeatureTable
from .fingerprint import code_id
from .folders import cache_folder, write_atomically
from .kept import whole_archive
from .prepare import load_table, save_table
from .sealed import seal_archive


@dataclass(frozen=True)
class Source:
    """A resource as one job gets it: a table on disk, or None for the screen's own, or what is missing."""

    identity: str
    path: Path | None = None
    missing: str = ""

    @cached_property
    def table(self) -> FeatureTable | None:
        return load_table(self.path) if self.path else None


@dataclass(frozen=True)
class Resolved:
    """A resource by name, before it is known whether the screen brings its own."""

    name: str
    named: Source | None
    default: Source | None

    def for_screen(self, offered: Iterable[str]) -> Source:
        """The user's table first, then the screen's own, then the one in the data folder."""
        if self.named:
            return self.named
        if self.name in offered:
            return Source("screen")
        if self.default:
            return self.default
        return Source("missing", missing=f"resource '{self.name}' is not there; give a table with --resource {self.name}=FILE")


def resolve_resources(needed: Iterable[str], given: Mapping[str, str]) -> dict[str, Resolved]:
    """Find a table for each needed resource.

    Raises
    ------
    UsageError
        If a resource is given that no chosen model reads.
    DataError
        If a given file cannot be read.
    """
    needed = sorted(needed)
    for name in given:
        if name not in needed:
            raise UsageError(f"--resource {name}: no chosen model reads it. {suggestion(name, needed)}")
    found = {}
    for name in needed:
        default = default_path(name, data_folder())
        found[name] = Resolved(
            name,
            named=_source(Path(given[name])) if name in given else None,
            default=_source(default) if default else None,
        )
    return found


def _source(path: Path) -> Source:
    """The table of a file, converted once into the cache under the hash of its bytes and of the reader."""
    if not path.is_file():
        read_feature_table(path)
    identity = f"{file_sha256(path)[:32]}-{code_id('pbench.datasets.feature_table')[:16]}"
    cached = cache_folder() / "resources" / f"{identity}.npz"
    if not whole_archive(cached):
        table = read_feature_table(path)

        def save(target: Path) -> None:
            with open(target, "wb") as f:
                # By handle: by name, numpy would add a suffix.
                save_table(table, cast(Any, f))
            seal_archive(target)

        write_atomically(cached, save)
    return Source(identity, cached)

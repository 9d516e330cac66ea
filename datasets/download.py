"""Bringing files into the data folder: pertpy's loaders, or pooch, always with a checksum that is kept."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from ..bench.contracts.errors import DataError, MissingDependency
from ..bench.contracts.identity import file_sha256
from .folder import data_folder, not_here


def with_pooch(dataset: str, url: str, files: Sequence[str], *, sha256: str | None) -> Path:
    """Download a URL into the data folder with a progress bar.

    Parameters
    ----------
    files
        Names under which the data set is looked for; the download gets the first.
    sha256
        Published checksum; where there is none, the checksum of the first download is kept beside the file and holds from
        then on.

    Raises
    ------
    DataError
        If the host cannot be reached or the checksum does not match; nothing partial is left.
    """
    import pooch

    target = data_folder() / files[0]
    if target.is_file():
        return verified(dataset, target, sha256)
    pooch.get_logger().setLevel("ERROR")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(
            url,
            known_hash=sha256 and f"sha256:{sha256}",
            fname=target.name,
            path=target.parent,
            progressbar=cast(Any, _Progress(target.name)),
        )
    except Exception as error:  # pooch passes on whatever its transport raises
        if target.is_file():
            target.unlink()
        reason = " ".join(str(error).split())
        raise not_here(dataset, files, tried=f"Downloading {url} failed: {reason[:300]}.") from error
    return verified(dataset, target, sha256)


def with_pertpy(dataset: str, loader: str, files: Sequence[str]) -> Path:
    """Let pertpy's own loader download a file into the data folder.

    Raises
    ------
    MissingDependency
        If pertpy is not installed.
    DataError
        If the download fails.
    """
    target = data_folder() / files[0]
    if target.is_file():
        return verified(dataset, target, None)
    try:
        import pertpy
        import scanpy
    except ImportError as error:
        raise MissingDependency(
            "pertpy", extra="pertpy", purpose=f"downloading data set '{dataset}' (pertpy.dt.{loader})"
        ) from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scanpy.settings.datasetdir = target.parent
        load: Callable[[], object] = getattr(pertpy.dt, loader)
        # pertpy draws its progress on stdout, which belongs to --json.
        with contextlib.redirect_stdout(sys.stderr):
            load()
    except Exception as error:  # whatever the network or pertpy raises
        for partial in target.parent.glob(f"{target.name}.*"):
            partial.unlink(missing_ok=True)
        raise not_here(dataset, files, tried=f"pertpy.dt.{loader}() failed: {' '.join(str(error).split())[:300]}.") from error
    if not target.is_file():
        raise DataError(f"pertpy.dt.{loader}() ended and {target} is not there; this release of pertpy stores it elsewhere.")
    return verified(dataset, target, None)


def verified(dataset: str, path: Path, sha256: str | None, *, keep: bool = True) -> Path:
    """`path`, once its checksum is the published one, or the one that was kept when it was first fetched.

    Parameters
    ----------
    keep
        Keep the checksum where none is known; a file that somebody put there by hand is none of ours to vouch for.

    Raises
    ------
    DataError
        If it is another.
    """
    kept = path.with_name(f"{path.name}.sha256.json")
    if sha256 is None and kept.is_file():
        sha256 = json.loads(kept.read_text())["sha256"]
    if sha256 is None and not keep:
        return path
    found = file_sha256(path)
    if sha256 is None:
        kept.write_text(json.dumps({"sha256": found, "note": f"checksum of {path.name} when pbench first fetched it"}) + "\n")
    elif found != sha256:
        raise DataError(
            f"data set '{dataset}': {path} has sha256 {found[:16]}…, expected {sha256[:16]}…; it is damaged or another version. "
            f"Delete it and type: pbench fetch {dataset}"
        )
    return path


class _Progress:
    """The progress bar that pooch asks for, drawn with rich."""

    def __init__(self, name: str) -> None:
        self.name, self.total = name, 0
        self._bar: Any = None

    def update(self, n: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        if self._bar is None:
            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.name, total=self.total or None)
        self._bar.advance(self._task, n)

    def reset(self) -> None:
        if self._bar is not None:
            self._bar.reset(self._task)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

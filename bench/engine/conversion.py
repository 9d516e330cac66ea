"""One pass over a matrix that stays in its file: sums and cells are written as its rows go by, and a kill costs little.

All that is being made lies in ``NAME.partial``, where one process at a time works. From time to time what was written is
flushed to disk, and then a state that says how far it is valid: whoever comes next cuts off the rest and goes on from there.
Sums add up their cells in order, so where the pass was interrupted changes no bit of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.errors import DataError, PbenchError
from ..contracts.screen import Screen
from ..contracts.values import ValueCheck
from ..kernels.row_hashes import row_hashes
from .folders import seal, write_atomically
from .growing_array import GrowingArray
from .sealed import Damaged, opened_json, plain_bytes, read_arrays, save_arrays, sealed_json
from .statistics import NOT_FINITE, GroupSums, on_profile_scale
from .temporaries import temporary_beside

Array = np.ndarray[Any, Any]

#: Seconds of work that a kill may cost; more where flushing takes so long that it would hold the work up.
CHECKPOINT_SECONDS = 30.0
#: Arrays that grow row by row, by the folder that they are for.
GROWING = {
    "sums": {"row_hashes": np.uint64, "expressed": np.int32},
    "cells": {"data": np.float32, "indices": np.int32, "indptr": np.int64},
}
_STATE = "state.json"


def convert(
    screen: Screen,
    groups: Array,
    n_groups: int,
    targets: Mapping[str, Path],
    finish: Callable[[GroupSums, Path], None],
    *,
    partial: Path,
    tell: Callable[[str], None],
) -> None:
    """Make the folders that are missing of a screen whose matrix stays in its file, in one pass over it.

    Parameters
    ----------
    groups
        (N,) group of each cell in ``range(n_groups)``.
    targets
        Where ``sums`` and ``cells`` will lie, those that are wanted.
    finish
        Writes what else belongs to ``sums``.
    partial
        Folder for what is unfinished.
    tell
        Told in a few words how far it is.

    Raises
    ------
    DataError
        If values are not what the card declares; what was written is removed.
    PbenchError
        If the disk is full; what was written stays, and another call goes on from there.
    """
    try:
        with _alone(partial, tell) as folder:
            # Somebody else may have made them meanwhile.
            missing = {name: path for name, path in targets.items() if not path.exists()}
            if missing:
                work = _Pass(screen, groups, n_groups, folder, tuple(missing))
                try:
                    sums = work.run(tell)
                except DataError:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
                if "sums" in missing:
                    finish(sums, folder / "sums")
                for name in missing:
                    seal(folder / name)
                # Cells first: without them, sums would look as if cells had not been asked for.
                for name in sorted(missing):
                    _move(folder / name, missing[name])
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise PbenchError(
            f"cannot write {partial}: {error.strerror or error}. Free some space, or set PBENCH_CACHE to a folder on a larger "
            "disk; the same command goes on where this one stopped."
        ) from error


class _Pass:
    """The rows from where an earlier pass was interrupted."""

    def __init__(self, screen: Screen, groups: Array, n_groups: int, folder: Path, parts: tuple[str, ...]) -> None:
        assert screen.rows is not None
        self.screen, self.source, self.groups, self.folder, self.parts = screen, screen.rows, groups, folder, parts
        self.check = ValueCheck(screen.card.scale, screen.rows.name)
        shape = (n_groups if "sums" in parts else 0, screen.rows.shape[1])
        self.total, self.squares = np.zeros(shape), np.zeros(shape)
        self.row = 0
        lengths = self._resume()
        self.growing = {
            name: GrowingArray(_made(folder / part) / f"{name}.npy", kind, lengths.get(name, 0))
            for part in parts
            for name, kind in GROWING[part].items()
        }
        if "indptr" in self.growing and not self.growing["indptr"].length:
            self.growing["indptr"].append([0])

    def run(self, tell: Callable[[str], None]) -> GroupSums:
        """Read what is left; all arrays are whole afterwards."""
        n, first = self.source.shape[0], self.row
        began = saved = time.monotonic()
        patience = CHECKPOINT_SECONDS
        with np.errstate(invalid="ignore", divide="ignore"):
            for start, block in self.source.blocks(self.row, self.folder):
                self.check.add(block.data if sparse.issparse(block) else block)
                self.check.refuse()
                self._take(start, block)
                now = time.monotonic()
                if now - saved >= patience and self.row < n:
                    self.save()
                    saved = time.monotonic()
                    patience = max(CHECKPOINT_SECONDS, 20 * (saved - now))
                tell(_progress(self.row, n, first, now - began))
        if self.row != n:
            raise DataError(f"{self.check.source}: {self.row} of {n} cells could be read; the file has changed or is damaged.")
        self.check.finish()
        for array in self.growing.values():
            array.close()
        if not np.isfinite(self.squares).all():
            raise DataError(NOT_FINITE)
        return GroupSums(self.total, self.squares, np.bincount(self.groups, minlength=len(self.total)))

    def _take(self, start: int, block: Any) -> None:
        from ..kernels.group_sums import add_rows

        stop = start + block.shape[0]
        if "sums" in self.parts:
            add_rows(on_profile_scale(block, self.screen.card.scale), self.groups[start:stop], self.total, self.squares)
            for name, values in zip(("row_hashes", "expressed"), row_hashes(block), strict=True):
                self.growing[name].append(values)
        if "cells" in self.parts:
            csr = sparse.csr_matrix(block, dtype=np.float32)
            before = self.growing["data"].length
            self.growing["data"].append(csr.data)
            self.growing["indices"].append(csr.indices)
            self.growing["indptr"].append(csr.indptr[1:].astype(np.int64) + before)
        self.row = stop

    def save(self) -> None:
        """Flush everything, and then say how far it is valid."""
        for array in self.growing.values():
            array.sync()
        sums = f"sums-{self.row}.npz"
        write_atomically(
            self.folder / sums, lambda p: save_arrays(p, {"total": self.total, "squares": self.squares}, compressed=False)
        )
        seen = {name: getattr(self.check, name) for name in ("low", "high", "whole", "any")}
        state = {"row": self.row, "sums": sums, "seen": seen, "lengths": {k: a.length for k, a in self.growing.items()}}
        write_atomically(self.folder / _STATE, lambda p: p.write_bytes(sealed_json(state)))
        for earlier in self.folder.glob("sums-*.npz"):
            if earlier.name != sums:
                earlier.unlink()

    def _resume(self) -> Mapping[str, int]:
        """Lengths of arrays that an earlier pass has left; where anything of it does not fit, the pass begins anew."""
        for left in self.folder.glob("tmp*"):
            shutil.rmtree(left, ignore_errors=True)
        wanted = {name: (part, kind) for part in self.parts for name, kind in GROWING[part].items()}
        try:
            state = opened_json(plain_bytes(self.folder / _STATE))[0]
            lengths = {name: state["lengths"][name] for name in wanted}
            sums = read_arrays(self.folder / state["sums"])
            if "sums" in self.parts:
                if sums["total"].shape != self.total.shape or sums["squares"].shape != self.total.shape:
                    return {}
            for name, (part, kind) in wanted.items():
                if (self.folder / part / f"{name}.npy").stat().st_size < GrowingArray.size(kind, lengths[name]):
                    return {}
        except (Damaged, OSError, KeyError, ValueError):
            return {}
        if "sums" in self.parts:
            self.total, self.squares = sums["total"], sums["squares"]
        self.row = state["row"]
        for name, value in state["seen"].items():
            setattr(self.check, name, value)
        return lengths


def _progress(row: int, n: int, first: int, seconds: float) -> str:
    text = f"{row / n:.0%} of {n:,} cells"
    if row <= first or seconds < 5:
        return text
    left = seconds * (n - row) / (row - first)
    return f"{text}, about {left / 60:.0f} min left" if left >= 90 else f"{text}, about {left:.0f} s left"


@contextlib.contextmanager
def _alone(folder: Path, tell: Callable[[str], None]) -> Iterator[Path]:
    """The folder, once no other process works in it; one of its own where the file system has no locks."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = open(folder / "lock", "ab")
        except FileNotFoundError:
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell("waiting for another run that prepares the same data")
                time.sleep(0.2)
                continue
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)
                folder = temporary_beside(folder, hidden=False)
                folder.mkdir(parents=True)
                yield folder
                return
            # Whoever had the lock before may have removed the folder, and the lock with it.
            if _same(lock, folder / "lock"):
                yield folder
                return


def _same(file: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _move(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        # Another run has built the same meanwhile, and its result is as good.
        if not target.exists():
            raise

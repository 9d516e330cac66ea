"""Splits of a prepared screen in the cache: written whole, and used only as they were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contracts.split import SplitManifest
from .folders import quarantine, write_atomically
from .kept import whole_archive
from .sealed import MAX_JSON, Damaged, opened_json, plain_bytes, save_arrays, sealed_json
from .statistics import GroupSums
from .store import is_manifest

#: A manifest's file, that of the sums that a split by cells needs, and its audit.
Kept = tuple[Path, Path | None, Mapping[str, Any]]


def save_split(folder: Path, manifest: SplitManifest, report: Mapping[str, Any], sums: GroupSums | None) -> Kept:
    """Write a split: ``ID.json``, ``ID.audit.json`` and, of a split by cells, ``ID.sums.npz``."""
    path = folder / f"{manifest.id[:32]}.json"
    write_atomically(path, manifest.save)
    data = sealed_json({"audit": report})
    write_atomically(path.with_suffix(".audit.json"), lambda p: p.write_bytes(data))
    where = None
    if sums is not None:
        where = path.with_suffix(".sums.npz")
        arrays = {"total": sums.total, "squares": sums.squares, "n": sums.n}
        write_atomically(where, lambda p: save_arrays(p, arrays, compressed=False))
    return path, where, report


def save_index(index: Path, manifests: Sequence[SplitManifest]) -> None:
    """Note which splits a request has given, once all of them are written."""
    splits = [{"id": m.id, "sums": bool(m.test_cells)} for m in manifests]
    write_atomically(index, lambda p: p.write_bytes(sealed_json({"splits": splits})))


def kept_splits(index: Path) -> list[Kept] | None:
    """The splits of an index, or None where they are to be made: there are none, or one is not as it was written.

    Every byte that a job reads is looked at. What is damaged is quarantined.
    """
    try:
        listed = _sealed(index, "splits")
        return None if listed is None else [_kept(index.parent, entry["id"], entry["sums"]) for entry in listed]
    except _Gone:
        return None


class _Gone(Exception):
    """A file is not there, or no longer."""


def _kept(folder: Path, split_id: str, has_sums: bool) -> Kept:
    path = folder / f"{split_id[:32]}.json"
    if not is_manifest(path, split_id):
        if path.exists():
            quarantine(path, "is not the split manifest that was written")
        raise _Gone
    where = path.with_suffix(".sums.npz") if has_sums else None
    if where is not None and not whole_archive(where):
        raise _Gone
    report = _sealed(path.with_suffix(".audit.json"), "audit")
    if report is None:
        raise _Gone
    return path, where, report


def _sealed(path: Path, name: str) -> Any:
    """An entry of a sealed file; None where there is no such file, or one of an earlier version."""
    try:
        value, sealed = opened_json(plain_bytes(path, MAX_JSON))
        return value[name] if sealed else None
    except FileNotFoundError:
        return None
    except Damaged as error:
        if not str(error).startswith("is no JSON object"):
            # Earlier versions wrote lists.
            quarantine(path, str(error))
        return None

"""A zarr store of AnnData in a folder, formats 2 and 3: looked through before anything of it is unpacked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..bench.contracts.errors import DataError, PbenchError
from ..bench.contracts.identity import content_id, file_sha256
from ..bench.contracts.memory import TIMES, UNPACKED, amount, unpackable
from .zarr_chunks import Chunks, StoredArray, check_packed, parsed

PARTS = ("X", "layers", "obs", "var")
_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
#: Groups within groups: the categories of a column lie four deep.
DEEPEST = 8


def is_store(path: Path) -> bool:
    """Whether a folder is the root of a zarr store."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def store_id(path: Path) -> str:
    """Identity of the bytes of a store: all its files, by name.

    Raises
    ------
    DataError
        If it holds links, or anything else that is no file.
    """
    return content_id(sorted((p.relative_to(path).as_posix(), file_sha256(p)) for p in _files(path, path.name)))


@contextmanager
def opened_store(path: Path) -> Iterator[Any]:
    """The group at the root of a store, once all that will be read lies in it and is numbers and texts of sane sizes.

    Raises
    ------
    DataError
        Naming the store and what is wrong with it; also where it is found while the body reads.
    """
    import zarr

    try:
        arrays = _survey(path)
        largest = max([a.chunks.size for a in arrays.values()], default=1)
        # As many chunks at a time as there is room for.
        with zarr.config.set({"async.concurrency": max(1, min(8, 2**28 // max(1, largest)))}):
            group = zarr.open_group(_checked(path, arrays), mode="r", use_consolidated=False)
            yield group
    except (PbenchError, MemoryError):
        raise
    except Exception as error:  # a damaged store can raise whatever zarr, anndata or a decompressor raises
        raise DataError(
            f"{path.name} is no readable zarr store of AnnData ({' '.join(str(error).split())[:300]}); it may be incomplete or "
            "damaged: copy it again, or read it with anndata and write it again with adata.write_zarr()."
        ) from error


def _checked(root: Path, arrays: dict[str, StoredArray]) -> Any:
    """A store whose packed chunks are looked at before anybody unpacks them."""
    from zarr.storage import LocalStore

    class Checked(LocalStore):
        async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
            found = await super().get(key, prototype, byte_range)
            if found is not None and key.rpartition("/")[2] not in _METADATA:
                array = next((arrays[p] for p in _above(key) if p in arrays), None)
                if array is None:
                    raise DataError(f"{root.name}: '{key[:200]}' belongs to no array that was looked at; the store has changed.")
                check_packed(found.to_bytes(), array.chunks, byte_range, f"{root.name}: a chunk of '{array.name}'")
            return found

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
            return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

        def get_sync(self, key: str, **asked: Any) -> Any:
            # A second way in would be one past the check.
            raise NotImplementedError(f"{key} is read through `get`")

    return Checked(root, read_only=True)


def _above(key: str) -> Iterator[str]:
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key


def _survey(path: Path) -> dict[str, StoredArray]:
    """All arrays that may be read, by their path in the store."""
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder.")
    if not is_store(path):
        raise DataError(f"{path.name} is no zarr store: it has neither zarr.json nor .zgroup; write one with adata.write_zarr().")
    for name in _METADATA:
        if (path / name).is_symlink():
            raise _linked(path, name)
    version = 3 if (path / "zarr.json").is_file() else 2
    arrays: dict[str, StoredArray] = {}
    size = 0
    for part in PARTS:
        if not os.path.lexists(path / part):
            if part in ("obs", "var"):
                raise DataError(f"{path.name} is no AnnData store: it has no '{part}'; write one with adata.write_zarr().")
            continue
        size += _node(path, part, version, arrays, 1)
    _check_sizes(path, arrays, size)
    return arrays


def _node(root: Path, name: str, version: int, arrays: dict[str, StoredArray], depth: int) -> int:
    """Look at a group or an array and what lies below it; returns bytes of its files."""
    folder = root / name
    if folder.is_symlink():
        raise _linked(root, name)
    held = {entry.name: entry for entry in os.scandir(folder)} if folder.is_dir() else {}
    other = [".zarray", ".zgroup"] if version == 3 else ["zarr.json"]
    if depth > DEEPEST or any(name in held for name in other):
        raise DataError(
            f"{root.name}: '{name[:200]}' is no part of a zarr store of format {version}; write it with adata.write_zarr()."
        )
    facts = parsed(folder, version, f"{root.name}: '{name}'") if held.keys() & {"zarr.json", ".zarray", ".zgroup"} else None
    if facts is None:
        raise DataError(f"{root.name}: '{name[:200]}' has no metadata; the store is incomplete, copy it again.")
    if isinstance(facts, Chunks):
        files = list(_files(folder, root.name))
        sizes = [p.stat().st_size for p in files]
        found = sum(p.name not in _METADATA for p in files)
        arrays[name] = array = StoredArray(name, facts)
        # A chunk of zeros may be left out, but no row of a matrix is without columns, and no cell without a name.
        if found < facts.expected and (
            (name.endswith(("/data", "/indices")) and name.startswith(("X/", "layers/"))) or array.is_index
        ):
            raise DataError(
                f"{root.name}: '{name}' has {found} of {facts.expected} chunks; the store is incomplete or damaged, copy it again."
            )
        return sum(sizes)
    size = 0
    for entry in held.values():
        if entry.is_symlink():
            raise _linked(root, f"{name}/{entry.name}")
        if entry.is_dir(follow_symlinks=False):
            size += _node(root, f"{name}/{entry.name}", version, arrays, depth + 1)
        elif entry.name not in _METADATA:
            raise DataError(f"{root.name}: '{name}/{entry.name[:200]}' is no part of a zarr store; remove it.")
    return size


def _check_sizes(root: Path, arrays: dict[str, StoredArray], size: int) -> None:
    whole = sum(a.chunks.total for n, a in arrays.items() if n.startswith(("obs/", "var/")) or n.endswith("/indptr"))
    if whole > unpackable(size):
        raise DataError(
            f"{root.name}: obs and var would unpack to {amount(whole)} from a store of {amount(size)}, more than fits; it is damaged "
            "or made to fill memory."
        )
    for name, array in arrays.items():
        if array.chunks.total > max(UNPACKED, TIMES * size):
            raise DataError(
                f"{root.name}: '{name}' would unpack to {amount(array.chunks.total)} from a store of {amount(size)}, which no "
                "measurement does; it is damaged or made to fill memory."
            )


def _files(folder: Path, store: str) -> Iterator[Path]:
    """All files below a folder; anything but files and folders is refused."""
    waiting = [folder]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            if entry.is_symlink():
                raise DataError(
                    f"{store}: '{entry.name[:200]}' is a link, which is never followed; copy the file into the store."
                )
            if entry.is_dir():
                waiting.append(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path)
            else:
                raise DataError(f"{store}: '{entry.name[:200]}' is neither a file nor a folder; remove it.")


def _linked(root: Path, name: str) -> DataError:
    return DataError(f"{root.name}: '{name[:200]}' is a link, which is never followed; copy the values into the store.")

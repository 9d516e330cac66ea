"""Where pbench keeps things, writes that are whole or not there, and folders that know what they should hold."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ..contracts.errors import PbenchError
from .sealed import MAX_JSON, Damaged, parsed_json, plain_bytes
from .temporaries import abandoned, temporary_beside

#: In a folder of `write_folder`: {relative path: {"size": bytes, "sha256": hex}} of all files below.
CHECKSUMS = "checksums.json"
QUARANTINE = "quarantine"
#: Folders of a results folder and of the cache, above whose contents the quarantine lies.
_ROOMS = frozenset(
    ("records", "predictions", "encodings", "checkpoints", "agreements", "manifests", "screens", "resources", "submissions")
)


def cache_folder() -> Path:
    """Derived data that can be deleted at any time: ``PBENCH_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get("PBENCH_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("pbench"))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, flush it to disk, and rename: readers see all or nothing.

    Several processes and machines may do so at once; the last one stays.

    Raises
    ------
    PbenchError
        If the disk is full or the folder cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise _cannot_write(path, error, "choose another folder with --out") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_folder(folder: Path, write: Callable[[Path], object], *, sealed: bool = True) -> None:
    """Call `write` with an empty folder beside `folder` and rename it: a folder of that name is whole.

    Parameters
    ----------
    sealed
        Also `seal` it, so that `defects` finds what has changed since.

    Raises
    ------
    PbenchError
        If the disk is full or the folder cannot be written.
    """
    building = temporary_beside(folder, hidden=False)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for earlier in abandoned(folder.parent):
            if earlier.name.startswith(f"{folder.name}."):
                shutil.rmtree(earlier, ignore_errors=True)
        building.mkdir()
        write(building)
        if sealed:
            seal(building)
        building.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        # Another run has built the same meanwhile, and its result is as good.
        if not folder.exists():
            raise _cannot_write(folder, error, "set PBENCH_CACHE to another folder") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _cannot_write(path: Path, error: OSError, elsewhere: str) -> PbenchError:
    denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    way_out = "Give yourself the right to write there" if denied else "Free some space"
    return PbenchError(f"cannot write {path}: {error.strerror or error}. {way_out} or {elsewhere}; what was finished is kept.")


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not take this for folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def seal(folder: Path) -> None:
    """Write the sizes and sha256 of all files below a folder into its `CHECKSUMS`, and flush everything to disk.

    Raises
    ------
    OSError
        If the disk is full.
    """
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != CHECKSUMS}
    listed: dict[str, dict[str, Any]] = {}
    for name, path in files.items():
        with open(path, "rb") as f:
            listed[name] = {"size": os.fstat(f.fileno()).st_size, "sha256": hashlib.file_digest(f, "sha256").hexdigest()}
            os.fsync(f.fileno())
    target = folder / CHECKSUMS
    target.write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n")
    _sync(target)
    for below in {path.parent for path in (*files.values(), target)}:
        _sync(below)


def defects(folder: Path) -> list[str]:
    """What is wrong with a folder that `write_folder` has sealed, a sentence for each file; empty where nothing is.

    Files that are not listed in its `CHECKSUMS` were added later and are not looked at.
    """
    try:
        listed = parsed_json(plain_bytes(folder / CHECKSUMS, MAX_JSON))
    except FileNotFoundError:
        return [f"{folder.name} has no {CHECKSUMS}: it was not written to its end, or by an earlier version"]
    except Damaged as error:
        return [f"{CHECKSUMS} of {folder.name} {error}"]
    if not isinstance(listed, dict) or not listed:
        return [f"{CHECKSUMS} of {folder.name} lists no files"]
    found = []
    for name, facts in sorted(listed.items()):
        whole = isinstance(facts, dict) and type(facts.get("size")) is int and isinstance(facts.get("sha256"), str)
        inside = bool(name) and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        if not whole or not inside or "\0" in name:
            found.append(f"{CHECKSUMS} of {folder.name} has an entry that is none: {name[:80]!r}")
        elif said := _differs(folder / name, facts["size"], facts["sha256"]):
            found.append(f"{name} {said}")
    return found


def _differs(path: Path, size: int, sha256: str) -> str:
    try:
        # Looked at before it is opened: a pipe would keep its reader waiting.
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            return "is no file"
        if facts.st_size != size:
            return f"has {facts.st_size:,} bytes, and {size:,} were written"
        with open(path, "rb") as f:
            same = hashlib.file_digest(f, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if same else "has other content than was written (its checksum differs)"


def quarantine(path: Path, reason: str, *, root: Path | None = None) -> Path:
    """Move a file or folder into ``quarantine/`` at the root of its results folder or cache; nothing is deleted.

    Beside it lies ``NAME.why.json``, which says when, from where and why; a warning is logged. Several processes may ask for the same at once: one
    moves it, the others find it gone.

    Parameters
    ----------
    root
        The results folder or cache, where it does not follow from the path.

    Returns
    -------
    Where it lies now; the quarantine folder itself where somebody else has moved it meanwhile.

    Raises
    ------
    PbenchError
        If it cannot be moved.
    """
    root = root or _root(path)
    target = root / QUARANTINE
    now = datetime.now(UTC).isoformat(timespec="seconds")
    note = json.dumps({"when": now, "from": str(path.absolute()), "why": reason}, indent=1, ensure_ascii=False) + "\n"
    try:
        target.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            number += 1
            name = path.name.lstrip(".") if number == 1 else f"{number}.{path.name.lstrip('.')}"
            if os.path.lexists(target / name):
                continue
            try:
                # Taken by whoever makes this file first, on network file systems too.
                descriptor = os.open(target / f"{name}.why.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                continue
            break
        with open(descriptor, "wb") as f:
            f.write(note.encode("utf-8", "replace"))
        try:
            os.rename(path, target / name)
        except FileNotFoundError:
            (target / f"{name}.why.json").unlink()
            return target
    except OSError as error:
        raise PbenchError(
            f"cannot move {path} into {target}: {error.strerror or error}. Move it away by hand: it is damaged ({reason})."
        ) from error
    _sync(target)
    logging.getLogger("pbench").warning("%s is damaged (%s); it was moved to %s.", path, reason, target / name)
    return target / name


def _root(path: Path) -> Path:
    """The cache where `path` lies in it, else the folder above a room of results, else that of the file."""
    path, cache = path.absolute(), cache_folder().absolute()
    if path.is_relative_to(cache) and path != cache:
        return cache
    return next((p.parent for p in path.parents if p.name in _ROOMS), path.parent)

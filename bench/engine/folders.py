"""Where pbench keeps things, and writes that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from ..contracts.errors import PbenchError


def cache_folder() -> Path:
    """Derived data that can be deleted at any time: ``PBENCH_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get("PBENCH_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("pbench"))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, flush it to disk, and rename: readers see all or nothing.

    Raises
    ------
    PbenchError
        If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise PbenchError(
            f"cannot write {path}: {error.strerror or error}. Free some space or choose another folder with --out."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with an empty folder beside `folder` and rename it: a folder of that name is whole.

    Raises
    ------
    PbenchError
        If the disk is full or the folder cannot be written.
    """
    building = folder.with_name(f"{folder.name}.{uuid4().hex[:8]}.tmp")
    try:
        building.mkdir(parents=True)
        write(building)
        building.rename(folder)
    except OSError as error:
        # Another run has built the same meanwhile, and its result is as good.
        if not folder.exists():
            raise PbenchError(
                f"cannot write {folder}: {error.strerror or error}. Free some space or set PBENCH_CACHE."
            ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)

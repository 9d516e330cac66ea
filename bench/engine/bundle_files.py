"""Reading files that somebody else has written: known names, bounded sizes, no links, no pickles, JSON that is plain."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts.archive import read_arrays
from ..contracts.errors import DataError

Array = np.ndarray[Any, Any]
MIB = 2**20
#: Code hosts refuse larger files.
MAX_FILE = 100 * MIB
MAX_TOTAL = 2048 * MIB
MAX_INDEX = 8 * MIB
MAX_FILES = 20_000
#: What a compressed file may hold.
MAX_EXPANDED = 1024 * MIB
MAX_ROWS = 10_000_000
MAX_TEXT = 20_000
#: How many strange things are named before the rest is counted.
NAMED = 10
INDEX = "bundle.json"
KNOWN = re.compile(
    r"cards\.jsonl|rows\.parquet|shifts\.parquet|agreements\.jsonl|manifests/[0-9a-f]{32}\.json|predictions/[0-9a-f]{32}\.npz"
)
FOLDERS = ("manifests", "predictions")


def shown(text: object, limit: int = 120) -> str:
    """Foreign text that is safe to print: one line, no control characters, not long."""
    line = "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in str(text)[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "…"


def listed(folder: Path) -> list[str]:
    """Names of the files of a bundle, `INDEX` left out; sizes and kinds are looked at, nothing is opened.

    Raises
    ------
    DataError
        With the name of everything that a bundle does not have: other files, links, pipes, what is too large.
    """
    found: list[str] = []
    strange: list[str] = []
    total = 0
    for name, entry in _entries(folder, strange):
        info = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(info.st_mode):
            strange.append(f"{name} is a {'link' if entry.is_symlink() else 'special file'}")
        elif name != INDEX and not KNOWN.fullmatch(name):
            strange.append(f"{name} is no file of a bundle")
        elif info.st_size > (MAX_INDEX if name == INDEX else MAX_FILE):
            strange.append(f"{name} has {info.st_size / MIB:,.0f} MiB, more than is read")
        else:
            found.append(name)
            total += info.st_size
        if len(found) > MAX_FILES:
            strange.append(f"there are more than {MAX_FILES:,} files")
            break
    if total > MAX_TOTAL:
        strange.append(f"the files have {total / MIB:,.0f} MiB together, more than is read")
    if strange:
        raise DataError(_joined(strange))
    if INDEX not in found:
        raise DataError(f"it has no {INDEX}")
    return sorted(n for n in found if n != INDEX)


def _entries(folder: Path, strange: list[str]) -> Iterable[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry.name, entry
            elif entry.name not in FOLDERS:
                strange.append(f"{entry.name}/ is no folder of a bundle")
            else:
                with os.scandir(entry.path) as inner:
                    yield from ((f"{entry.name}/{one.name}", one) for one in inner)


def _joined(said: list[str]) -> str:
    more = f"; and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return "; ".join(shown(s) for s in sorted(said)[:NAMED]) + more


def contents(folder: Path, name: str) -> bytes:
    """The bytes of a file; a link or a pipe that took its place meanwhile is not followed.

    Raises
    ------
    DataError
        If it is not a plain file of bounded size.
    """
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}") from error
    with open(descriptor, "rb") as f:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataError(f"{name} is no plain file")
        data = f.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise DataError(f"{name} has more than {MAX_FILE // MIB} MiB")
    return data


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parse_json(data: bytes, name: str) -> Any:
    """A JSON value of numbers that are numbers.

    Raises
    ------
    DataError
        If the text is no JSON, is nested beyond reading, or holds NaN.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is no JSON: {shown(error) if isinstance(error, ValueError) else 'nested too deep'}") from error


def arrays(data: bytes, name: str, kinds: dict[str, str]) -> dict[str, Array]:
    """Arrays of an ``.npz`` by name; sizes are compared with what is there before memory is taken, and pickles are refused.

    Parameters
    ----------
    kinds
        Letters of the dtypes that each array may have.

    Raises
    ------
    DataError
        If there are other arrays or they cannot be read.
    """
    return read_arrays(io.BytesIO(data), name, most=MAX_EXPANDED, kinds=kinds, shown=shown)

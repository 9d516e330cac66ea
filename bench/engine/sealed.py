"""Files that carry a checksum of themselves: JSON and archives of arrays of which no byte can change unnoticed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..contracts.errors import DataError

Array = np.ndarray[Any, Any]
#: Bytes of JSON that are read; larger files are none of ours.
MAX_JSON = 16 * 2**20
_LAST = re.compile(rb',\n "sha256": "([0-9a-f]{64})"\n\}\n\Z')
_MARK = b"pbench sha256 "
_TRAILER = len(_MARK) + 64
#: End of a zip archive without a comment: signature, and the length of the comment in the last two bytes.
_END, _END_SIZE = b"PK\x05\x06", 22


class Damaged(DataError):
    """A file of ours that is not as it was written; the message says in what, without its name."""


def plain_bytes(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a file; links are not followed and pipes not waited for.

    Raises
    ------
    FileNotFoundError
        If there is none.
    Damaged
        If it is no plain file, cannot be read, or has more than `limit` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged("is a link, not a file" if path.is_symlink() else f"cannot be read ({error.strerror})") from error
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise Damaged("is a folder, not a file" if stat.S_ISDIR(kind) else "is a special file")
    with open(descriptor, "rb") as f:
        try:
            data = f.read() if limit is None else f.read(limit + 1)
        except OSError as error:
            raise Damaged(f"cannot be read ({error.strerror})") from error
    if limit is not None and len(data) > limit:
        raise Damaged(f"has more than {limit // 2**20} MiB, which no such file has")
    return data


def sealed_json(value: Mapping[str, Any]) -> bytes:
    """JSON of an object, whose last entry ``sha256`` is the checksum of the text without that entry.

    Raises
    ------
    ValueError
        If the value is empty, has an entry of that name, or holds NaN or an infinite number.
    """
    if not value or "sha256" in value:
        raise ValueError("an object that is sealed has entries, and none named sha256")
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
    return text[:-3] + b',\n "sha256": "' + hashlib.sha256(text).hexdigest().encode() + b'"\n}\n'


def parsed_json(data: bytes) -> Any:
    """A JSON value; NaN and infinite numbers, which earlier versions wrote, are None.

    Raises
    ------
    Damaged
        If it is none, has a key twice, or is nested beyond reading.
    """

    def finite(text: str) -> float | None:
        return number if abs(number := float(text)) < float("inf") else None

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is given twice")
        return found

    try:
        return json.loads(data.decode("utf-8"), parse_constant=lambda name: None, parse_float=finite, object_pairs_hook=unique)
    except (ValueError, RecursionError, MemoryError) as error:
        said = str(error) if isinstance(error, ValueError) and not isinstance(error, UnicodeDecodeError) else type(error).__name__
        raise Damaged("is empty" if not data.strip() else f"is no JSON ({said[:120]})") from error


def ends_sealed(data: bytes) -> bool:
    """Whether bytes end as those of `sealed_json`; nothing is said of what comes before."""
    return _LAST.search(data) is not None


def opened_json(data: bytes) -> tuple[dict[str, Any], bool]:
    """The object in the bytes of `sealed_json`, without its checksum, and whether it had one.

    Raises
    ------
    Damaged
        If it is no JSON object, or its checksum is not that of its bytes.
    """
    last = _LAST.search(data)
    if last:
        text = data[: last.start()] + b"\n}\n"
        if hashlib.sha256(text).hexdigest().encode() != last[1]:
            raise Damaged("has other content than was written (its checksum differs)")
        data = text
    value = parsed_json(data)
    if not isinstance(value, dict):
        raise Damaged("is no JSON object")
    if "sha256" in value:
        raise Damaged("has other content than was written (its checksum does not end it)")
    return value, last is not None


def save_arrays(path: Path, arrays: Mapping[str, Any], *, compressed: bool = True) -> None:
    """Write an ``.npz`` that anything reads, whose comment is the checksum of all bytes before it."""
    with open(path, "wb") as f:
        (np.savez_compressed if compressed else np.savez)(f, **arrays)  # type: ignore[call-overload]
    seal_archive(path)


def seal_archive(path: Path) -> None:
    """Make the checksum of an ``.npz`` without comment its comment."""
    with open(path, "r+b") as f:
        f.seek(-2, os.SEEK_END)
        f.write(struct.pack("<H", _TRAILER))
        f.seek(0)
        checksum = hashlib.file_digest(f, "sha256").hexdigest()
        f.seek(0, os.SEEK_END)
        f.write(_MARK + checksum.encode())


def checked_archive(data: bytes) -> bool:
    """Whether the bytes of an ``.npz`` carry a checksum, which is then right; archives of earlier versions have none.

    Raises
    ------
    Damaged
        If the checksum is wrong or cut off.
    """
    body, trailer = data[:-_TRAILER], data[-_TRAILER:]
    if trailer.startswith(_MARK):
        if hashlib.sha256(body).hexdigest().encode() != trailer[len(_MARK) :]:
            raise Damaged("has other content than was written (its checksum differs)")
        return True
    if data[-_END_SIZE:-18] != _END or data[-2:] != b"\0\0":
        raise Damaged("is empty" if not data else "is no whole archive of arrays")
    return False


def read_arrays(path: Path) -> dict[str, Array]:
    """Arrays by name of an ``.npz``; what is used is what was checked. Pickles are never loaded.

    Raises
    ------
    FileNotFoundError
        If there is none.
    Damaged
        If it is not as it was written.
    """
    data = plain_bytes(path)
    checked_archive(data)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as f:
            return {name: f[name] for name in f.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise Damaged(f"is no readable archive of arrays ({type(error).__name__})") from error
    except (MemoryError, OverflowError, TypeError, SyntaxError) as error:
        raise Damaged("says that it holds arrays that no file could") from error

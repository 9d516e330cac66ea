"""Arrays in ``.npz`` archives of strangers: sizes are compared with what is there before memory is taken, pickles are refused."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import DataError
from .memory import amount

Array = np.ndarray[Any, Any]
#: Arrays that an archive may have.
MOST_ARRAYS = 10_000


def read_arrays(
    source: Path | IO[bytes],
    name: str,
    *,
    most: int,
    kinds: Mapping[str, str] | None = None,
    shown: Callable[[object], str] = lambda text: str(text)[:200],
) -> dict[str, Array]:
    """Arrays of an archive by name.

    Parameters
    ----------
    name
        Of the file, for messages.
    most
        Bytes that all of it may unpack to.
    kinds
        Letters of the dtypes that each array may have; any arrays of numbers, texts and truth values where it is None.
    shown
        Makes foreign text short.

    Raises
    ------
    DataError
        If there are other arrays or they cannot be read.
    """
    found: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            if kinds is not None and (strange := [m.filename for m in members if m.filename.removesuffix(".npy") not in kinds]):
                raise DataError(f"{name} holds {shown(strange[0])}, which is no part of a prediction")
            if len(members) != len({m.filename for m in members}) or len(members) > MOST_ARRAYS:
                raise DataError(f"{name} holds an array twice, or too many")
            if (total := sum(m.file_size for m in members)) > most:
                raise DataError(f"{name} unpacks to {amount(total)}, more than is read")
            for member in members:
                key = member.filename.removesuffix(".npy")
                with archive.open(member) as f:
                    letters = "biufcSU" if kinds is None else kinds[key]
                    found[key] = _array(f, member.file_size, f"{name}, array {shown(key)}", letters, shown)
    except (
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        TypeError,
        AttributeError,
        KeyError,
        OverflowError,
    ) as error:
        raise DataError(f"{name} is no readable archive of arrays: {shown(error)}") from error
    return found


def _array(f: Any, size: int, name: str, kinds: str, shown: Callable[[object], str]) -> Array:
    version = np.lib.format.read_magic(f)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise DataError(f"{name} is written in an unknown version of the format")
    shape, fortran, dtype = read(f)
    if dtype.hasobject or dtype.kind not in kinds or dtype.subdtype is not None:
        raise DataError(f"{name} has the type {shown(dtype)}; Python objects (pickles) are never read")
    count = 1
    for side in shape:
        count *= int(side)
    if min(shape, default=0) < 0 or dtype.itemsize == 0 or count * dtype.itemsize > size:
        raise DataError(f"{name} says that it has the shape {shown(shape)}, and the file holds less")
    data = f.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise DataError(f"{name} is cut off")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")

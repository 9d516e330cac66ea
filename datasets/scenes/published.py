"""Published pictures as data sets: files in the data folder, of which dials choose a part."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...bench.contracts.errors import DataError, UsageError, suggestion
from ...bench.contracts.identity import content_id, file_sha256
from ...bench.contracts.screen import Dataset, DatasetCard, Screen, validate
from ..dials import defaults_of, named, typed

Array = np.ndarray[Any, Any]

#: Changes where the same files give another screen.
READER_VERSION = 1


def published(
    read: Callable[..., Screen],
    card: DatasetCard,
    files: Callable[..., Sequence[Path]],
    *,
    fetch: Callable[[], Path],
    file: str,
) -> Dataset:
    """The data set that `read` makes of files with its default dials; its ``generate(**dials)`` makes the others.

    Parameters
    ----------
    read
        Reader whose parameters are keyword-only, have defaults, and are numbers or texts.
    files
        All files that `read` would read with the same dials, in an order that does not change; raises `DataError` where one is
        missing. The identity of the data is made of their bytes.
    fetch
        Brings the files here.
    file
        What is looked for in the data folder.
    """
    defaults = defaults_of(read)

    def make(**dials: Any) -> Dataset:
        parameters = {**defaults, **typed(defaults, card.name, dials)}
        changed = {k: v for k, v in parameters.items() if v != defaults[k]}
        own = replace(card, name=named(card.name, changed))

        def load() -> Screen:
            screen = read(**parameters)
            return validate(replace(screen, card=replace(screen.card, name=own.name)), source=own.name)

        def data_id() -> str:
            return content_id([card.name, READER_VERSION, parameters, [file_sha256(f) for f in files(**parameters)]])

        return Dataset(card=own, data_id=data_id, load=load, fetch=fetch, file=file, generate=make, parameters=parameters)

    return make()


def resized(picture: Any, size: int) -> Array:
    """(size, size, 3) uint8 of a Pillow image, each pixel the mean over the area that it covers."""
    from PIL import Image

    picture = picture.convert("RGB")
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BOX)
    return np.asarray(picture)


def array(path: Path, shape: tuple[int | None, ...]) -> Array:
    """The array of an ``.npy`` file, mapped and not read; nothing in it is ever executed.

    Raises
    ------
    DataError
        If it is no such file, or its shape is another; None allows any length of an axis.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no array of numbers: {' '.join(str(error).split())[:200]}.") from error
    _of_shape(found.shape, shape, str(path))
    return found


def leading(path: Path, key: str, shape: tuple[int | None, ...], n: int | None = None) -> Array:
    """The first n rows of an array in an ``.npz`` file, all of them where n is None; the rest is not read.

    Raises
    ------
    DataError
        If the file or the array cannot be read, holds objects, or has another shape.
    """
    where = f"'{key}' in {path}"
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{key}.npy" not in archive.namelist():
                there = ", ".join(sorted(m.removesuffix(".npy") for m in archive.namelist()))
                raise DataError(f"{path} has no array '{key}' (it has {there or 'none'}).")
            with archive.open(f"{key}.npy") as member:
                version = np.lib.format.read_magic(member)
                header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                full, by_column, dtype = header(member)
                if dtype.kind not in "biuf" or by_column or not full:
                    raise DataError(f"{where} is no plain array of numbers, row by row.")
                _of_shape(full, shape, where)
                rows = full[0] if n is None else min(n, full[0])
                count = rows * math.prod(full[1:])
                values = np.frombuffer(member.read(count * dtype.itemsize), dtype=dtype)
                return values.reshape(rows, *full[1:])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{where} cannot be read: {' '.join(str(error).split())[:200]}.") from error


def _of_shape(found: tuple[int, ...], shape: tuple[int | None, ...], where: str) -> None:
    if len(found) != len(shape) or any(w is not None and w != f for f, w in zip(found, shape, strict=True)):
        wanted = ", ".join("any" if w is None else str(w) for w in shape)
        raise DataError(f"{where} has shape {found}; ({wanted}) was expected.")


def parts_by_name(known: Sequence[str], chosen: str, dial: str) -> tuple[int, ...]:
    """Numbers of the names in ``a+b``, in the order of `known`; all of them for ``all``.

    Raises
    ------
    UsageError
        If a name is unknown.
    """
    if chosen == "all":
        return tuple(range(len(known)))
    wanted = chosen.split("+")
    if strange := [name for name in wanted if name not in known]:
        raise UsageError(f"{dial}={chosen}: there is no '{strange[0]}'. {suggestion(strange[0], known)}")
    return tuple(i for i, name in enumerate(known) if name in wanted)

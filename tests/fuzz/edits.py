"""Edits of an AnnData file that keep it an HDF5 file: what bytes say is done to its groups, arrays and attributes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import seeds

PLACES = (
    *("X", "X/data", "X/indices", "X/indptr", "obs", "obs/perturbation", "obs/perturbation/codes", "obs/perturbation/categories"),
    *(
        "obs/_index",
        "obs/context",
        "obs/dose",
        "obs/time",
        "obs/batch",
        "obs/batch/codes",
        "obs/batch/categories",
        "var",
        "var/_index",
    ),
    *("layers", "obs/__categories", "uns"),
)
KINDS = ("?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "S3", "S300", "V4")
NUMBERS = (0, 1, -1, 2, 5, 6, 7, 127, 255, 2**31 - 1, 2**31, 2**40, 2**63 - 1, float("nan"), float("inf"), -1e300, 0.5)
TEXTS = (
    "",
    "nan",
    "control",
    "x" * 5000,
    "a\x1b[31m\nb",
    "A++B",
    "csr_matrix",
    "dataframe",
    "categorical",
    "dict",
    "array",
    "0.1.0",
)
NAMES = ("encoding-type", "encoding-version", "_index", "column-order", "shape", "ordered", "categories", "h5sparse_format")


def edited(data: bytes, folder: Path) -> bytes:
    """The file that comes of the edits which the bytes stand for, four bytes each."""
    path = folder / "edited.h5"
    path.write_bytes(seeds.h5ads()[data[0] % 3 if data else 0])
    with h5py.File(path, "a") as f:
        for i in range(1, min(len(data), 33), 4):
            step = data[i : i + 4].ljust(4, b"\0")
            try:
                _edit(f, *step)
            except (KeyError, IndexError, ValueError, TypeError, OSError, RuntimeError, AttributeError, OverflowError):
                continue
    return path.read_bytes()


def _edit(f: h5py.File, what: int, where: int, first: int, second: int) -> None:
    place = PLACES[where % len(PLACES)]
    other = PLACES[first % len(PLACES)]
    number, text = NUMBERS[second % len(NUMBERS)], TEXTS[second % len(TEXTS)]
    match what % 14:
        case 0:
            del f[place]
        case 1:
            attrs = dict(f[place].attrs)
            n = (0, 1, 5, 6, 7, 30, 300)[first % 7]
            del f[place]
            f.create_dataset(place, data=np.full(n, number, dtype="f8").astype(KINDS[second % len(KINDS)])).attrs.update(attrs)
        case 2:
            item = f[place]
            item[first % max(1, len(item))] = number
        case 3:
            item = f[place]
            item[first % max(1, len(item))] = text
        case 4:
            f[place].attrs[NAMES[first % len(NAMES)]] = text
        case 5:
            f[place].attrs[NAMES[first % len(NAMES)]] = np.array([number] * (second % 4), dtype="f8")
        case 6:
            del f[place].attrs[NAMES[first % len(NAMES)]]
        case 7:
            f[f"{place}/more" if second % 2 else f"obs/more{second}"] = f[other]
        case 8:
            value = f[other]
            del f[place]
            f[place] = value
        case 9:
            del f[place]
            f[place] = h5py.SoftLink(f"/{other}") if second % 2 else h5py.ExternalLink("x.h5ad", f"/{other}")
        case 10:
            attrs = dict(f[place].attrs)
            del f[place]
            shape = [(2**40,), (2**20, 2**20), (10**6,), (6,), (6, 5), (), (0,)][first % 7]
            chunks = tuple(min(n, 2**12) for n in shape) if shape and all(shape) else None
            kind = h5py.string_dtype() if second % 3 == 0 else KINDS[second % len(KINDS)]
            f.create_dataset(place, shape=shape, dtype=kind, chunks=chunks).attrs.update(attrs)
        case 11:
            f.create_dataset(f"obs/c{second}", data=np.array([f[other].ref] * 6, dtype=h5py.ref_dtype))
        case 12:
            f[place].attrs["categories"] = f[other].ref
        case 13:
            names = f["obs"].attrs["column-order"]
            f["obs"].attrs["column-order"] = [*names, text, *names][: second % 9]

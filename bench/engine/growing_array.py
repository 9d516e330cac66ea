"""An array on disk that grows at its end, and that can be cut back to what is known to be there."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class GrowingArray:
    """A one-dimensional ``.npy`` file that is written from front to back; it can be read once it is closed.

    Parameters
    ----------
    path
        The file. What it holds beyond `length` values is cut off.
    kind
        Type of the values.
    length
        Values that were written earlier and stay.

    Raises
    ------
    ValueError
        If the file has fewer values.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     array = GrowingArray(Path(folder) / "a.npy", np.int32)
    ...     array.append([1, 2])
    ...     array.append([3])
    ...     array.close()
    ...     np.load(Path(folder) / "a.npy").tolist()
    [1, 2, 3]
    """

    def __init__(self, path: Path, kind: Any, length: int = 0) -> None:
        self.kind, self.length = np.dtype(kind), length
        # numpy pads the header for any length, so the values begin where they will.
        end = self.size(self.kind, length)
        self._file = open(path, "r+b" if length else "w+b")
        if os.fstat(self._file.fileno()).st_size < end and length:
            self._file.close()
            raise ValueError(f"{path} has fewer than {length} values")
        self._file.truncate(end)
        self._file.seek(end)

    @staticmethod
    def size(kind: Any, length: int) -> int:
        """Bytes of a file with `length` values."""
        return len(_header(np.dtype(kind), 0)) + length * np.dtype(kind).itemsize

    def append(self, values: Any) -> None:
        """Write values at the end."""
        values = np.ascontiguousarray(values, dtype=self.kind)
        if len(values):
            self._file.write(memoryview(values).cast("B"))
            self.length += len(values)

    def sync(self) -> None:
        """Flush what was written to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write the header that says how long it is, and flush everything to disk."""
        self._file.seek(0)
        self._file.write(_header(self.kind, self.length))
        self.sync()
        self._file.close()


def _header(kind: np.dtype[Any], length: int) -> bytes:
    out = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(out, described)
    return out.getvalue()

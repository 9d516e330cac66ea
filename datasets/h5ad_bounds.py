"""What an .h5ad file declares, held against its own bytes, its form and the memory there is, before any of it is read."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..bench.contracts.errors import DataError
from ..bench.contracts.memory import TIMES, UNPACKED, amount, available

MIB = 2**20
#: Groups and arrays that obs, var, X and layers may have together; a column of obs is one to three.
MOST_ELEMENTS = 100_000
#: Groups within groups: a matrix in a layer and the categories of a column lie three deep.
DEEPEST = 6
#: Seconds in which a file must have been looked through, unless PBENCH_OPEN_SECONDS says otherwise.
SECONDS = 60.0
#: Bytes of a Python text beside its characters, and of its place in an array.
TEXT = 64


@contextmanager
def in_time() -> Iterator[None]:
    """End this process if the body does not come back: libhdf5 can go round in circles in a damaged file, and nothing stops it.

    Only in a process that was started to read; there the end is an error of the file for whoever has started it.
    """
    seconds = float(os.environ.get("PBENCH_OPEN_SECONDS", SECONDS))
    here = multiprocessing.parent_process() is not None and threading.current_thread() is threading.main_thread()
    if not here or not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check(f: Any, name: str, parts: tuple[str, ...]) -> None:
    """Hold the parts of a file that will be read to what AnnData writes: few elements, no links, plain values, sane chunks.

    Parameters
    ----------
    f
        The open file.
    name
        Its name, for messages.
    parts
        Names of groups and arrays at its root; those that are absent are passed over.

    Raises
    ------
    DataError
        With the first element that is something else.
    """
    for where, item in _walked(f, name, parts):
        if _is_array(item):
            if where == "layers":
                raise DataError(
                    f"{name}: 'layers' is an array, where a group of matrices should be; write it again with anndata."
                )
            _check_array(item, where, name)
        # What is damaged in attributes shows here, where the time is limited.
        attributes = dict(item.attrs)
        categories = attributes.get("categories")
        # Files of old point at the array with the names of categories; anything else it might point at is not looked at.
        if categories is not None and not _within(f, categories, where):
            raise DataError(f"{name}: '{where}' refers to categories elsewhere in the file, which is never followed.")


def weight(f: Any, name: str, parts: tuple[str, ...]) -> int:
    """Bytes of memory that the values of some parts take, texts counted one by one; nothing is unpacked but their lengths."""
    return sum(_bytes(item) for _, item in _walked(f, name, parts) if _is_array(item))


def check_weight(f: Any, name: str, parts: tuple[str, ...], *, whole: bool = True) -> None:
    """Refuse what unpacks to far more than the file holds, or to more than fits into memory.

    Parameters
    ----------
    whole
        Whether all of it will lie in memory at once.

    Raises
    ------
    DataError
        With the sizes.
    """
    size, found = _file_size(f), weight(f, name, parts)
    what = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    if found > max(UNPACKED, TIMES * size):
        raise DataError(
            f"{name}: {what} would unpack to {amount(found)} from a file of {amount(size)}, which no measurement does; "
            "it is damaged or made to fill memory."
        )
    if whole and found > (free := available()):
        raise DataError(
            f"{name}: {what} would take {amount(found)} of memory, and {amount(free)} are free; give --memory, which has a large "
            "file read in parts, keep fewer cells, or store X as CSR."
        )


def _walked(f: Any, name: str, parts: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every group and array of some parts with its path, as often as it is linked, up to a bound."""
    import h5py

    count = 0
    for part in parts:
        if part.split("/")[0] not in f:
            continue
        waiting = [(part, 1)]
        while waiting:
            where, depth = waiting.pop()
            count += 1
            if not isinstance(f.get(where, getlink=True), h5py.HardLink):
                raise DataError(_linked(name, where))
            item = f[where]
            yield where, item
            if isinstance(item, h5py.Group):
                # Cycles and groups that are linked many times end here too.
                if depth > DEEPEST or count + len(item) > MOST_ELEMENTS:
                    raise DataError(f"{name}: '{where[:100]}' holds groups in groups without end, or too many; it is no AnnData.")
                waiting += [(f"{where}/{key}", depth + 1) for key in item]


def _linked(name: str, where: str) -> str:
    return f"{name}: '{where}' is a link, or its values lie in another file, which is never followed; copy the values into this file."


def _is_array(item: Any) -> bool:
    return hasattr(item, "dtype") and hasattr(item, "chunks")


def _check_array(item: Any, where: str, name: str) -> None:
    if item.is_virtual or item.external:
        raise DataError(_linked(name, where))
    kind = item.dtype
    # A table of several columns is what obs was in files of old.
    for one in [kind] if kind.names is None or where not in ("obs", "var") else [kind[n] for n in kind.names]:
        if not _plain(one):
            raise DataError(f"{name}: '{where}' holds {str(kind)[:100]}, neither numbers nor texts; such values are never read.")
    if kind.kind == "O":
        _check_texts(item, where, name)
    if item.chunks is None or item.size == 0:
        return
    whole = int(np.prod(item.chunks, dtype=object)) * kind.itemsize
    if whole > max(64 * MIB, 4 * item.size * kind.itemsize):
        raise DataError(f"{name}: '{where}' is stored in chunks of {amount(whole)}, far more than it has; it is damaged.")
    filters = item.id.get_create_plist()
    if sum(filters.get_filter(i)[0] not in _HARMLESS for i in range(filters.get_nfilters())) > 1:
        raise DataError(f"{name}: '{where}' is compressed more than once, which no program does; it is damaged.")
    worst = 0

    def largest(chunk: Any) -> None:
        nonlocal worst
        worst = max(worst, chunk.size)

    item.id.chunk_iter(largest)
    # What does not get smaller is stored as it is, so a chunk is never larger than what it unpacks to.
    if worst > 2 * whole + 4096:
        raise DataError(f"{name}: a chunk of '{where}' has {amount(worst)} packed and {amount(whole)} unpacked; it is damaged.")


def _check_texts(item: Any, where: str, name: str) -> None:
    import h5py

    plist = item.id.get_create_plist()
    filled = plist.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
    if filled or (plist.get_layout() == h5py.h5d.COMPACT and item.size > 1):
        raise DataError(
            f"{name}: the texts of '{where}' are stored in a way whose size cannot be told; write it again with anndata."
        )


#: Filters that do not compress: shuffle, checksum, scale and offset.
_HARMLESS = (2, 3, 6)


def _plain(kind: Any) -> bool:
    import h5py

    if kind.kind == "O":
        return h5py.check_string_dtype(kind) is not None
    return kind.kind in "biufcSUV" and kind.subdtype is None and kind.names is None


def _within(f: Any, reference: Any, where: str) -> bool:
    import h5py

    if not isinstance(reference, h5py.Reference) or not reference:
        return not isinstance(reference, h5py.Reference)
    found = f[reference].name
    return found is not None and found.lstrip("/").rpartition("/")[0] == f"{where.partition('/')[0]}/__categories"


def _file_size(f: Any) -> int:
    return int(f.id.get_filesize())


def _bytes(item: Any) -> int:
    if item.dtype.kind != "O":
        return int(item.size) * item.dtype.itemsize
    return int(item.size) * TEXT + sum(int(n.sum(dtype=np.int64)) for n in _lengths(item))


def _lengths(item: Any) -> Iterator[Any]:
    """Bytes of each text of an array, as they are declared beside the pointers to them; nothing is followed.

    A text is stored as its length (4 bytes), the address of a heap and a place in it (4 bytes); many places may point to one
    text, which then is unpacked once for each of them.
    """
    import h5py

    stored, plist = item.id, item.id.get_create_plist()
    width = 8 + item.file.id.get_create_plist().get_sizes()[0]
    if plist.get_layout() == h5py.h5d.CHUNKED:
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        whole = int(np.prod(item.chunks)) * width
        for i in range(stored.get_num_chunks()):
            mask, data = stored.read_direct_chunk(stored.get_chunk_info(i).chunk_offset)
            yield _unpacked(data, mask, filters, whole, width)
    elif (offset := stored.get_offset()) is not None:
        with open(item.file.filename, "rb") as raw:
            raw.seek(offset)
            for start in range(0, item.size, MIB):
                yield _read_lengths(raw.read(min(MIB, item.size - start) * width), width)


def _read_lengths(data: bytes, width: int) -> Any:
    pointer = np.dtype({"names": ["length"], "formats": ["<u4"], "offsets": [0], "itemsize": width})
    return np.frombuffer(data, dtype=pointer)["length"]


def _unpacked(data: bytes, mask: int, filters: list[int], whole: int, width: int) -> Any:
    """Lengths in one chunk; none where its filters are unknown here."""
    for place, kind in reversed(list(enumerate(filters))):
        if mask >> place & 1:
            continue
        if kind == 1:
            data = zlib.decompressobj().decompress(data, whole + 4)
        elif kind == 2:
            data = np.frombuffer(data[:whole], np.uint8).reshape(width, -1).T.tobytes()
        elif kind == 3:
            data = data[:-4]
        else:
            return np.zeros(0, np.uint32)
    return _read_lengths(data[:whole], width)

"""What the metadata of a zarr array promise of its chunks, and whether a packed chunk keeps it: before it is unpacked."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..bench.contracts.errors import DataError
from ..bench.contracts.memory import amount

#: Bytes that a chunk may unpack to.
MOST_UNPACKED = 512 * 2**20
#: Bytes of JSON that are read; the root of a store may list all of its arrays.
MOST_METADATA = 64 * 2**20
#: Bytes of a Python text in memory, beside its characters.
TEXT = 64
COMPRESSORS = ("blosc", "gzip", "lz4", "zlib", "zstd")
_NUMBERS = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {"float16", "float32", "float64", "bool"}


@dataclass(frozen=True)
class Chunks:
    """The chunks of an array.

    Parameters
    ----------
    shape
        Of the array.
    cut
        Shape of a chunk.
    itemsize
        Bytes of a value; 0 for texts of any length.
    compressor
        What packs a chunk; None where nothing does.
    checksum
        Whether a checksum of four bytes follows the packed chunk, or the index of a shard.
    inner
        The chunks that a chunk is made of, where it is a shard.
    index_first
        Whether a shard says in its first bytes, and not in its last ones, where its chunks are.
    """

    shape: tuple[int, ...]
    cut: tuple[int, ...]
    itemsize: int
    compressor: str | None = None
    checksum: bool = False
    inner: Chunks | None = None
    index_first: bool = False

    @property
    def count(self) -> int:
        """Values of a chunk."""
        return prod(self.cut)

    @property
    def size(self) -> int:
        """Bytes of a chunk that is unpacked; of texts, the most that they may have."""
        return self.count * self.itemsize if self.itemsize else MOST_UNPACKED

    @property
    def expected(self) -> int:
        """Chunks of the array."""
        return prod(-(-n // c) for n, c in zip(self.shape, self.cut, strict=True))

    @property
    def total(self) -> int:
        """Bytes of the array in memory."""
        return prod(self.shape) * (self.itemsize or TEXT)


@dataclass(frozen=True)
class StoredArray:
    """An array of a store."""

    name: str
    chunks: Chunks

    @property
    def is_index(self) -> bool:
        """Whether it names cells or genes."""
        return self.name in ("obs/_index", "obs/index", "var/_index", "var/index")


def parsed(folder: Path, version: int, where: str) -> Chunks | dict[str, Any]:
    """What a folder of a store is: the chunks of an array, or anything else for a group.

    Raises
    ------
    DataError
        If its metadata are damaged or promise what is never read.
    """
    path = folder / ("zarr.json" if version == 3 else ".zarray" if (folder / ".zarray").exists() else ".zgroup")
    try:
        if path.is_symlink() or path.stat().st_size > MOST_METADATA:
            raise DataError(f"{where} has metadata that are a link or too large; write it again with adata.write_zarr().")
        held = json.loads(path.read_bytes())
        if (version == 3 and held["node_type"] == "group") or path.name == ".zgroup":
            return held
        found = _version3(held, where) if version == 3 else _version2(held, where)
        whole = (*found.shape, *found.cut, *(found.inner.cut if found.inner else ()))
        if not all(type(n) is int and 0 <= n < 2**62 for n in whole) or 0 in found.cut or len(found.shape) != len(found.cut):
            raise ValueError("shape or chunks are no numbers")
        if len(found.shape) > 2:
            raise ValueError("it has more than two dimensions")
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise DataError(f"{where} has damaged metadata ({str(error)[:100]}); write it again with adata.write_zarr().") from error
    if found.itemsize and found.size > MOST_UNPACKED:
        raise DataError(
            f"{where} is stored in chunks of {amount(found.size)}, and {amount(MOST_UNPACKED)} are the most; write it again."
        )
    return found


def _version2(held: dict[str, Any], where: str) -> Chunks:
    kind, filters, compressor = held["dtype"], held.get("filters") or [], held.get("compressor")
    names = [f["id"] for f in filters]
    texts = kind == "|O" and names == ["vlen-utf8"]
    if not texts and (names or not isinstance(kind, str) or np.dtype(kind).kind not in "biufUS"):
        raise _never(where, f"{kind} through {names}" if names else kind)
    itemsize = 0 if texts else np.dtype(kind).itemsize
    name = None if compressor is None else compressor["id"]
    if name is not None and name not in COMPRESSORS:
        raise _never(where, f"packed with {name}")
    return Chunks(tuple(held["shape"]), tuple(held["chunks"]), itemsize, name)


def _version3(held: dict[str, Any], where: str) -> Chunks:
    kind = held["data_type"]
    if held["chunk_grid"]["name"] != "regular" or held.get("storage_transformers"):
        raise _never(where, "chunks in no regular grid")
    if not isinstance(kind, str) or kind not in _NUMBERS | {"string"}:
        raise _never(where, kind)
    itemsize = 0 if kind == "string" else np.dtype(kind).itemsize
    cut = tuple(held["chunk_grid"]["configuration"]["chunk_shape"])
    return _codecs(held["codecs"], tuple(held["shape"]), cut, itemsize, where)


def _codecs(
    codecs: list[Any], shape: tuple[int, ...], cut: tuple[int, ...], itemsize: int, where: str, shard: bool = True
) -> Chunks:
    named = [(c, {}) if isinstance(c, str) else (c["name"], c.get("configuration") or {}) for c in codecs]
    while named and named[0][0] == "transpose":
        named.pop(0)
    first, settings = named[0] if named else ("", {})
    if first == "sharding_indexed" and shard and len(named) == 1 and itemsize:
        index = [c if isinstance(c, str) else c["name"] for c in settings.get("index_codecs", [])]
        inner = _codecs(settings["codecs"], cut, tuple(settings["chunk_shape"]), itemsize, where, shard=False)
        if index not in (["bytes"], ["bytes", "crc32c"]) or settings.get("index_location", "end") not in ("start", "end"):
            raise _never(where, f"shards with an index of {index}")
        if prod(inner.cut) == 0 or any(n % c for n, c in zip(cut, inner.cut, strict=True)):
            raise ValueError("a shard is no whole number of chunks")
        return Chunks(shape, cut, itemsize, None, "crc32c" in index, inner, settings.get("index_location", "end") == "start")
    packers = [name for name, _ in named[1:] if name in COMPRESSORS]
    known = first == ("bytes" if itemsize else "vlen-utf8") and len(packers) <= 1
    rest = [name for name, _ in named[1:]]
    if not known or rest not in ([], packers, ["crc32c"], [*packers, "crc32c"]):
        raise _never(where, f"packed with {', '.join(str(name)[:40] for name, _ in named)}")
    return Chunks(shape, cut, itemsize, packers[0] if packers else None, "crc32c" in rest)


def _never(where: str, what: Any) -> DataError:
    return DataError(
        f"{where} holds {str(what)[:100]}, and nothing but plain numbers and texts in common compressions is ever read; write it "
        "again with adata.write_zarr()."
    )


def check_packed(data: bytes, chunks: Chunks, byte_range: Any, where: str) -> None:
    """Hold a packed chunk, or a part of a shard, to what was promised of it.

    Parameters
    ----------
    byte_range
        The part of the file that was read, as zarr asks for it; None for all.

    Raises
    ------
    DataError
        If it is cut off, or would unpack to more.
    """
    if chunks.inner is None:
        _check(data, chunks, where)
    elif byte_range is None:
        for part in _shard_parts(data, chunks, where):
            _check(part, chunks.inner, where)
    elif hasattr(byte_range, "end") and not (chunks.index_first and byte_range.start == 0):
        _check(data, chunks.inner, where)


def _shard_parts(data: bytes, chunks: Chunks, where: str) -> list[bytes]:
    """The chunks in a shard, by its index."""
    assert chunks.inner is not None
    size = 16 * (chunks.count // chunks.inner.count)
    whole = size + 4 * chunks.checksum
    index = data[:size] if chunks.index_first else data[len(data) - whole :][:size]
    places = np.frombuffer(index, "<u8").reshape(-1, 2) if len(data) >= whole else np.full((1, 2), len(data) + 1, np.uint64)
    used = places[(places != 2**64 - 1).any(axis=1)]
    if (used > len(data)).any() or (used.sum(axis=1) > len(data)).any():
        raise DataError(f"{where} is damaged: its index does not fit; copy the store again.")
    return [data[int(a) : int(a + n)] for a, n in used]


def _check(data: bytes, chunks: Chunks, where: str) -> None:
    if chunks.checksum:
        data = data[:-4]
    size = unpacked_size(chunks.compressor, data, chunks.size)
    if size is None or size > chunks.size:
        what = (
            "does not have the size that it says"
            if size is None
            else f"would unpack to {amount(size)} and not to {amount(chunks.size)}"
        )
        raise DataError(f"{where} {what}; it is damaged or made to fill memory. Copy the store again.")
    if chunks.itemsize and size < chunks.size:
        raise DataError(
            f"{where} unpacks to {amount(size)} and not to {amount(chunks.size)}; it is cut off. Copy the store again."
        )
    if not chunks.itemsize:
        texts = _unpacked(chunks.compressor, data)
        if len(texts) < 4 or int.from_bytes(texts[:4], "little") > chunks.count:
            raise DataError(f"{where} holds another number of texts than it should; it is damaged. Copy the store again.")


def unpacked_size(compressor: str | None, data: bytes, limit: int) -> int | None:
    """Bytes that packed data say that they unpack to, or do as far as `limit` goes; None where they do not say."""
    if compressor is None:
        return len(data)
    if compressor == "blosc":
        # Both sizes are in its header; what is cut off would be unpacked to anything.
        whole = len(data) >= 16 and int.from_bytes(data[12:16], "little") == len(data)
        return int.from_bytes(data[4:8], "little") if whole else None
    if compressor == "lz4":
        return int.from_bytes(data[:4], "little") if len(data) >= 4 else None
    if compressor == "zstd":
        return _zstd_size(data)
    stream, size = zlib.decompressobj(wbits=47), 0
    try:
        # gzip's own word may be false, so it is counted, a megabyte at a time.
        while not stream.eof and size <= limit:
            part = stream.decompress(data, 2**20)
            data = stream.unconsumed_tail
            if not part and not data:
                return None
            size += len(part)
    except zlib.error:
        return None
    # More than one stream in a chunk would go on behind the first.
    return None if stream.unused_data else size


def _zstd_size(data: bytes) -> int | None:
    """Content size in the header of the first frame (RFC 8878, 3.1.1.1)."""
    if data[:4] != b"\x28\xb5\x2f\xfd" or len(data) < 6:
        return None
    flags = data[4]
    single, kind = flags >> 5 & 1, flags >> 6
    n = (1 if single else 0) if kind == 0 else 2**kind
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    if n == 0 or len(data) < start + n:
        return None
    return int.from_bytes(data[start : start + n], "little") + (256 if n == 2 else 0)


def _unpacked(compressor: str | None, data: bytes) -> bytes:
    if compressor is None:
        return data
    if compressor in ("gzip", "zlib"):
        return zlib.decompressobj(wbits=47).decompress(data, 4)
    import numcodecs

    unpacked: Any = numcodecs.get_codec({"id": compressor}).decode(data)
    return bytes(unpacked)

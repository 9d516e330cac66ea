"""Tables that strangers have written, held to their size before they are unpacked."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ..bench.contracts.errors import DataError
from ..bench.contracts.memory import amount, unpackable

#: Columns that a table may have: genes, dimensions or transcripts.
MOST_COLUMNS = 500_000
#: What a table may unpack to whatever its size.
UNPACKED = 64 * 2**20
#: Bytes of a line with the names of columns, and of a text in a Parquet file.
LONGEST_HEADER, LONGEST_TEXT = 64 * 2**20, 10_000


def check_header(path: Path, separator: str) -> list[str]:
    """Names of the columns of a table of text.

    Raises
    ------
    DataError
        If its first line does not end or names more columns than any table has.
    """
    with open(path, encoding="utf-8-sig", newline="") as f:
        line = f.readline(LONGEST_HEADER)
        if len(line) >= LONGEST_HEADER or line.count(separator) >= MOST_COLUMNS:
            raise DataError(f"{path.name}: its first line has more than {MOST_COLUMNS:,} columns, or no end; it is no table.")
        f.seek(0)
        return next(csv.reader(f, delimiter=separator), [])


def read_parquet(path: Path, *, most_rows: int | None = None) -> Any:
    """A Parquet file as a data frame, its index where it has one.

    Raises
    ------
    DataError
        If it is none, holds anything but numbers and texts, or unpacks to more than it may.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = path.stat().st_size
    most = unpackable(size, at_least=UNPACKED)
    limits: dict[str, Any] = {"thrift_string_size_limit": max(2**24, 2 * size), "thrift_container_size_limit": 2**24}
    try:
        with pq.ParquetFile(path, **limits) as plain:
            schema, facts = plain.schema_arrow, plain.metadata
            texts = [f.name for f in schema if _is_text(f.type)]
        if len(schema) > MOST_COLUMNS:
            raise DataError(f"{path.name} has {len(schema):,} columns, and {MOST_COLUMNS:,} are the most.")
        if strange := [f for f in schema if f.name not in texts and not _plain(f.type)]:
            raise DataError(
                f"{path.name}: the column {strange[0].name[:60]!r} holds neither numbers nor texts, but {str(strange[0].type)[:200]}."
            )
        if most_rows is not None and facts.num_rows > most_rows:
            raise DataError(
                f"{path.name} has {facts.num_rows} rows; a table has one for each perturbation, and cells belong in an .h5ad."
            )
        unpacked = max(sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups)), 8 * facts.num_rows)
        if unpacked > most or facts.num_rows * (len(schema) - len(texts)) > most:
            raise DataError(
                f"{path.name} says that it unpacks to {amount(max(unpacked, facts.num_rows * len(schema)))}, more than is read."
            )
        # A text that is repeated costs its length once.
        with pq.ParquetFile(path, read_dictionary=texts, **limits) as file:
            table = file.read(use_threads=False)
        table.validate(full=True)
        for name in texts:
            for chunk in table[name].chunks:
                words = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
                if max(map(len, filter(None, words.to_pylist())), default=0) > LONGEST_TEXT:
                    raise DataError(
                        f"{path.name}: a text in the column {name[:60]!r} is longer than {LONGEST_TEXT:,} characters."
                    )
        plain_types = pa.schema(
            [(f.name, pa.string() if f.name in texts else f.type) for f in table.schema], table.schema.metadata
        )
        return table.cast(plain_types).to_pandas()
    except (pa.ArrowException, OSError, ValueError, OverflowError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path.name} is no readable Parquet file ({str(error)[:200]}).") from error


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _plain(kind: Any) -> bool:
    import pyarrow as pa

    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    return numbers

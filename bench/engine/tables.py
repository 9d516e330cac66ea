"""Tables of rows and of shifts: their columns, and how those that somebody else has written are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts.errors import DataError
from .bundle_files import MAX_EXPANDED, MAX_ROWS, MAX_TEXT, MIB, shown

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Columns of the rows, and those that order them.
ROW_COLUMNS = {
    "model": "string",
    "reference_row": "bool",
    "dataset": "string",
    "split": "string",
    "fold": "string",
    "seed": "int64",
    "condition": "string",
    "perturbation": "string",
    "context": "string",
    "dose": "string",
    "time": "double",
    "seen_k": "string",
    "gi_class": "string",
    "effect": "double",
    "n_cells": "int64",
    "predicted": "bool",
    "fallback": "bool",
    "metric": "string",
    "version": "int64",
    "value": "double",
    "reason": "string",
    "half_value": "double",
}
ROW_ORDER = ("model", "seed", "fold", "metric", "condition")
SHIFT_COLUMNS = {
    "model": "string",
    "fold": "string",
    "condition": "string",
    "gene": "string",
    "truth": "float",
    "predicted": "float",
}
#: Columns that say what a row is about: none of them is ever empty.
ABOUT = {
    *("model", "reference_row", "dataset", "split", "fold", "seed"),
    *("condition", "perturbation", "gene", "metric", "version"),
}


def schema(columns: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema of columns with the names of their types."""
    import pyarrow as pa

    types = {"string": pa.string(), "bool": pa.bool_(), "int64": pa.int64(), "double": pa.float64(), "float": pa.float32()}
    return pa.schema([(name, types[kind]) for name, kind in columns.items()])


def parse_table(data: bytes, name: str, columns: Mapping[str, str]) -> pa.Table:
    """A Parquet table of exactly these columns; texts stay dictionaries, so that a repeated one costs its length once.

    Raises
    ------
    DataError
        If it is no such table, larger than is read, or has a row that does not say what it is about.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = schema(columns)
    texts = [field.name for field in expected if pa.types.is_string(field.type)]
    limits: dict[str, Any] = {"thrift_string_size_limit": 16 * MIB, "thrift_container_size_limit": MIB}
    try:
        # The columns first: a dictionary of a column that is not there is a KeyError of pyarrow's.
        plain = pq.ParquetFile(pa.BufferReader(data), **limits)
        facts = plain.metadata
        if not facts.num_rows and plain.schema_arrow.names == expected.names:
            # A column without values may have been written without a type.
            return expected.empty_table()
        if [(f.name, f.type) for f in plain.schema_arrow] != [(f.name, f.type) for f in expected]:
            raise DataError(f"{name} has other columns than {', '.join(expected.names)}")
        expanded = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
        if not 0 <= facts.num_rows <= MAX_ROWS or not 0 <= expanded <= MAX_EXPANDED:
            raise DataError(f"{name} says that it has {facts.num_rows:,} rows and {expanded / MIB:,.0f} MiB, more than is read")
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts, **limits)
        table = file.read(use_threads=False).unify_dictionaries()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, OverflowError, RuntimeError) as error:
        raise DataError(f"{name} is no readable Parquet table: {shown(error)}") from error
    for column in texts:
        for chunk in table[column].chunks[:1]:
            if max(map(len, filter(None, chunk.dictionary.to_pylist())), default=0) > MAX_TEXT:
                raise DataError(f"{name}: a text in the column {column} is longer than {MAX_TEXT} characters")
    for column in table.column_names:
        if column in ABOUT and table[column].null_count:
            raise DataError(f"{name}: a row has no {column}")
    return table


def frame(table: pa.Table) -> pd.DataFrame:
    """A data frame like that of a plain table, made without ever repeating a text in memory."""
    import pandas as pd
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name]
        if not pa.types.is_dictionary(column.type):
            columns[name] = column.to_pandas().array
            continue
        words = np.array([*(column.chunk(0).dictionary.to_pylist() if column.num_chunks else ()), None], dtype=object)
        codes = [chunk.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False) for chunk in column.chunks]
        columns[name] = words[np.concatenate(codes)] if codes else np.array([], dtype=object)
    return pd.DataFrame(columns, columns=table.column_names)


def written_out(table: pa.Table) -> int:
    """Bytes of the texts of a table, each as often as it stands there."""
    total = 0
    for chunk in (chunk for column in table.columns for chunk in column.chunks if hasattr(chunk, "dictionary")):
        lengths = np.array([*(len(text.encode()) for text in chunk.dictionary.to_pylist()), 0], dtype=np.int64)
        total += int(lengths[chunk.indices.fill_null(len(lengths) - 1).to_numpy(zero_copy_only=False)].sum())
    return total


def decoded(table: pa.Table, columns: Mapping[str, str]) -> pa.Table:
    """The table with each text written out."""
    return table.cast(schema(columns))


def as_table(data: pd.DataFrame, columns: Mapping[str, str]) -> pa.Table:
    """An Arrow table of some columns; undefined numbers are nulls."""
    import pyarrow as pa

    table = pa.Table.from_pandas(data, schema=schema(columns), preserve_index=False)
    return table.replace_schema_metadata(None).combine_chunks()

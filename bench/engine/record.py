"""One record on disk: a run card and its rows, read so that whatever is wrong with them has a name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts.errors import DataError
from .bundle_files import MAX_EXPANDED, MIB
from .card_values import audit, by_name, claim, dataset, flag, number, text, texts, whole
from .sealed import MAX_JSON, Damaged, ends_sealed, opened_json, parsed_json, plain_bytes
from .tables import ROW_COLUMNS, parse_table, written_out

if TYPE_CHECKING:
    import pyarrow as pa

#: 2: the card carries its own checksum and names the file of its rows. 1: neither; rows lie beside it under its own name.
SCHEMA = 2
OK = "ok"
Card = dict[str, Any]
#: A text, or a list of them, of at most 10,000 letters each.
_text, _texts = partial(text, longest=10_000), partial(texts, longest=10_000)
#: What the name of a file of rows has after that of the card.
_OF_ONE_WRITING = re.compile(r"\.[0-9a-f]{12}\.parquet")
#: How often a record is read anew because somebody has replaced it meanwhile.
PATIENCE = 20


class Newer(Damaged):
    """A record of a schema that this version does not know: it is whole, and is kept as it is."""


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


#: What a card must have, as boards read it, and what must be of its kind where it is there.
_NEEDED: dict[str, Callable[[Any], bool]] = {
    "score_id": _text,
    "status": _text,
    "model": _text,
    "started": number,
    "spec": _mapping,
    "job_id": lambda value: _text(value) and not set("/\\\0") & set(value),
    "pbench": _text,
    "reference_row": flag,
    "stochastic": flag,
    "dataset_card": dataset,
    "audit": audit,
}
_FINISHED: dict[str, Callable[[Any], bool]] = {
    "seconds": by_name(number),
    "n_conditions": whole,
    "n_fallback": whole,
    "absent": by_name(text),
}
_UNFINISHED: dict[str, Callable[[Any], bool]] = {"reason": _text}
_KNOWN: dict[str, Callable[[Any], bool]] = {
    "metrics": _texts,
    "predicts": flag,
    "encoded": flag,
    "claim": claim,
    "metrics_failed": _mapping,
    "prior_knowledge": _texts,
    "group": _text,
    "turn": lambda value: type(value) is int and 0 <= value < 2**53,
}
_SPEC: dict[str, Callable[[Any], bool]] = {
    "dataset": _text,
    "split": _text,
    "fold": _text,
    "seed": lambda value: type(value) is int,
    "data_id": _text,
    "split_id": _text,
    "environment": _mapping,
}


def read_card(path: Path) -> Card:
    """The run card in a file, without the checksum that it ends in.

    Raises
    ------
    FileNotFoundError
        If there is none.
    Newer
        If a later version of pbench has written it.
    Damaged
        If it is no whole card, or that of another record.
    """
    data = plain_bytes(path, MAX_JSON)
    try:
        card, sealed = opened_json(data)
    except Damaged:
        if not ends_sealed(data) and isinstance(later := parsed_json(data), dict):
            _schema(later)
        raise
    if _schema(card) >= 2 and not sealed:
        raise Damaged("has other content than was written (its checksum is gone)")
    spec = card["spec"] if _mapping(card.get("spec")) else {}
    for part, expected in ((card, _NEEDED), (spec, _SPEC), (card, _FINISHED if card.get("status") == OK else _UNFINISHED)):
        for name, fits in expected.items():
            if name not in part:
                raise Damaged(f"is no whole card: {name} is missing")
            if not fits(part[name]):
                raise Damaged(f"is no card: {name} is {str(part[name])[:60]!r}, which it cannot be")
    for name, fits in _KNOWN.items():
        if name in card and not fits(card[name]):
            raise Damaged(f"is no card: {name} is {str(card[name])[:60]!r}, which it cannot be")
    if card["score_id"][:32] != path.stem:
        raise Damaged(f"is the card of another record ({card['score_id'][:32]!r})")
    if card["status"] == OK and not (_text(card.get("rows_sha256")) and rows_path(path, card)):
        raise Damaged("is no whole card: it does not say which rows are its own")
    return card


def _schema(card: Mapping[str, Any]) -> int:
    schema = card.get("schema")
    if type(schema) is not int or schema < 1:
        raise Damaged("is no card: it has no schema")
    if schema > SCHEMA:
        raise Newer(f"was written by a newer pbench (schema {schema}; this one reads up to {SCHEMA}); upgrade pbench to use it")
    return schema


def rows_path(path: Path, card: Mapping[str, Any]) -> Path | None:
    """The file of a card's rows; None where it names none that could be."""
    if card["schema"] == 1:
        return path.with_suffix(".parquet")
    name = card.get("rows_file")
    if not isinstance(name, str) or not name.startswith(path.stem) or not _OF_ONE_WRITING.fullmatch(name, len(path.stem)):
        return None
    return path.with_name(name)


def read_rows(path: Path, card: Mapping[str, Any]) -> bytes:
    """The bytes of a card's rows, as they were written.

    Raises
    ------
    Damaged
        If they are missing or others.
    """
    where = rows_path(path, card)
    assert where is not None
    try:
        data = plain_bytes(where)
    except FileNotFoundError:
        raise Damaged(f"lacks its rows: {where.name} is missing") from None
    except Damaged as error:
        raise Damaged(f"lacks its rows: {where.name} {error}") from error
    if hashlib.sha256(data).hexdigest() != card["rows_sha256"]:
        raise Damaged(f"lacks its rows: {where.name} has other content than was written (its checksum differs)")
    return data


def read_record(path: Path) -> tuple[Card, bytes]:
    """A card with the bytes of its rows; none where it did not end well. A record that is being replaced is read again.

    Raises
    ------
    FileNotFoundError, Newer, Damaged
        As for `read_card` and `read_rows`.
    """
    card = read_card(path)
    for _ in range(PATIENCE):
        try:
            return card, read_rows(path, card) if card["status"] == OK else b""
        except Damaged:
            again = read_card(path)
            if again == card:
                raise
            card = again
    return card, read_rows(path, card)


def read_table(path: Path) -> pa.Table:
    """The rows of the record that a card belongs to, texts as dictionaries.

    Raises
    ------
    FileNotFoundError, Newer, Damaged
        As for `read_record`; Damaged too where the rows are none, whatever the checksum says.
    """
    data = read_record(path)[1]
    try:
        table = parse_table(data, "the table of its rows", ROW_COLUMNS)
    except DataError as error:
        raise Damaged(f"is no record: {error}") from error
    if (n := written_out(table)) > MAX_EXPANDED:
        raise Damaged(f"is no record: the table of its rows has {n / MIB:,.0f} MiB of texts, more than is read of a record")
    return table

"""Sealed records that say something else than records do: each is damaged, or stands on a board; nothing falls over."""

from __future__ import annotations

import copy
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bounded import bounded
from small_bundles import small_records, write_results

from pbench.bench.cli.rendering import load_boards, render_boards
from pbench.bench.contracts.errors import DataError, PbenchError
from pbench.bench.engine.record import rows_path
from pbench.bench.engine.repair import repair
from pbench.bench.engine.sealed import opened_json, sealed_json
from pbench.bench.engine.store import Store
from pbench.bench.engine.survey import survey_results
from pbench.bench.engine.tables import ABOUT, ROW_COLUMNS

GONE = object()
VALUES = (GONE, None, "x", 10**30, {"x": [1]})
#: What the card of a job that did not end well lacks.
OF_RESULTS = {"seconds", "peak_memory_mb", "n_conditions", "n_predicted", "n_fallback", "absent", "metrics_failed"}


def places(value, at=()):
    """The way to each value within a card; of a list, to its first."""
    if at:
        yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*at, key))


def edited(card, at, value):
    card = copy.deepcopy(card)
    inner = card
    for key in at[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return card


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", ["predictions", "codes", "failed"])
def test_any_field_may_be_missing_or_anything(tmp_path, kind):
    write_results(tmp_path, small_records(boards=1, perturbations=2, codes=1, models=("additive",), seeds=1))
    cards = {path: opened_json(path.read_bytes())[0] for path in sorted((tmp_path / "records").glob("*.json"))}
    path = next(p for p, card in cards.items() if card["predicts"] == (kind != "codes"))
    for other in cards.keys() - {path}:
        other.unlink()
    card = cards[path]
    if kind == "failed":
        card = {k: v for k, v in card.items() if k not in OF_RESULTS} | {"status": "failed", "reason": "why"}
    on_board = tried = 0
    for at in places(card):
        for value in VALUES:
            path.write_bytes(sealed_json(edited(card, at, value)))
            try:
                found = load_boards(tmp_path, lambda card: True)
                found.render()
            except PbenchError:
                continue
            except Exception as error:
                error.add_note(f"{'.'.join(map(str, at))} is {'gone' if value is GONE else value!r}")
                raise
            tried += 1
            on_board += not found.damaged
    assert 0 < on_board < tried


@pytest.fixture
def one_record(tmp_path):
    """A folder of results, one of its records, that record's card and rows."""
    folder = write_results(tmp_path / "results", small_records(boards=1, perturbations=2, codes=0, models=("additive",), seeds=1))
    card = next(c for c in Store(folder).cards() if c["model"] == "additive")
    path = folder / "records" / f"{card['score_id'][:32]}.json"
    return folder, path, card, pq.read_table(rows_path(path, card))


def put(store, card, table):
    store.write(card["score_id"], card, table)


def with_column(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


HOSTILE = {
    "a column less": (lambda t: t.drop_columns(["value"]), "has other columns than model"),
    "a column more": (lambda t: t.append_column("more", t["value"]), "has other columns than model"),
    "texts for numbers": (lambda t: with_column(t, "value", t["value"].cast("string")), "has other columns than model"),
    "one long text": (
        lambda t: with_column(t, "reason", pa.array(["x" * 30_000] * len(t))),
        "a text in the column reason is longer than 20000",
    ),
    **{
        f"no {name}": (lambda t, name=name: with_column(t, name, pa.nulls(len(t), t[name].type)), f"a row has no {name}")
        for name in sorted(ABOUT & ROW_COLUMNS.keys())
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_rows_that_are_none_have_a_name_and_can_be_put_aside(one_record, tmp_path, name):
    folder, path, card, rows = one_record
    change, said = HOSTILE[name]
    put(Store(folder), card, change(rows))
    with pytest.raises(DataError, match=f"{said}.*pbench doctor --repair --results"):
        render_boards(folder, lambda card: True)
    found = survey_results(folder)
    assert [(f.kind, f.path) for f in found] == [("record", path)] and said in found[0].why and "Type" not in found[0].why
    repair(found, folder, tmp_path / "cache")
    assert not path.exists() and survey_results(folder)[0].kind == "quarantine"
    assert "train-mean" in render_boards(folder, lambda card: True)


def test_a_text_that_is_repeated_is_never_written_out_beyond_bounds(one_record, monkeypatch):
    """100,000 times 20,000 letters are a few hundred bytes in a file, and 2 GB where somebody writes them out."""
    folder, _, card, rows = one_record
    many = pa.concat_tables([rows.slice(0, 1)] * 100_000).combine_chunks()
    # Without the types of the program that wrote them, as a stranger would.
    monkeypatch.setattr(pq, "write_table", partial(pq.write_table, store_schema=False))
    put(
        Store(folder),
        card,
        with_column(many, "reason", pa.array(["x" * 20_000]).dictionary_encode().take(pa.array([0] * len(many)))),
    )
    said = bounded(lambda: render_boards(folder, lambda card: True), seconds=60, megabytes=900)
    assert "MiB of texts, more than is read of a record" in said


def test_rows_that_nobody_wrote_are_none(one_record):
    """A job without a row, of which a column may be without a type."""
    folder, _, card, rows = one_record
    store = Store(folder)
    put(store, card, pa.table({name: pa.nulls(0) for name in rows.column_names}))
    assert store.rows([card]).empty and survey_results(folder) == []
    assert store.consolidate() and pq.read_table(folder / "records.parquet").schema.equals(rows.schema)

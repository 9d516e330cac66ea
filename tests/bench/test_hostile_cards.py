"""Sealed cards that say something else than cards do: each is damaged, or stands on a board; nothing falls over."""

from __future__ import annotations

import copy

import pytest
from small_bundles import small_records, write_results

from pbench.bench.cli.rendering import load_boards
from pbench.bench.contracts.errors import PbenchError
from pbench.bench.engine.sealed import opened_json, sealed_json

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

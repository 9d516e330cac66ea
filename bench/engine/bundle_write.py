"""From a folder of results to a bundle: which records it holds, what is left out and why, and bytes that depend on nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts.errors import DataError, UsageError, suggestion
from ..contracts.identity import canonical_json, content_id, file_sha256
from .bundle import (
    AGREEMENTS,
    CARDS,
    FORMAT,
    MAX_NOTE,
    NAME,
    ROWS,
    SHIFTS,
    find_bundles,
    manifest_name,
    prediction_name,
    read_bundle,
)
from .bundle_cards import SCHEMA
from .bundle_files import INDEX
from .encodings import read_agreements
from .folders import write_folder
from .store import OK, Store, age, current
from .tables import ROW_COLUMNS, ROW_ORDER, SHIFT_COLUMNS, as_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Card = Mapping[str, Any]
#: Of a run card what is of no use to others: how it was put together, and the paths of a machine.
DROPPED = ("parts", "rows_file", "rows_sha256", "schema", "traceback", "turn")
#: Columns of real numbers that repeat.
REPEATED = ("effect", "time")


@dataclass(frozen=True)
class Selected:
    """The records that a bundle holds, as `store.current` gives them, and a sentence for each of those that it does not."""

    dataset: str
    split: str
    cards: Sequence[Card]
    left_out: Sequence[str]

    @property
    def failed(self) -> list[Card]:
        """Jobs without an answer; a failure is a result."""
        return [c for c in self.cards if c["status"] != OK]


def select(results: Path, dataset: str | None = None, split: str | None = None, models: Sequence[str] = ("*",)) -> Selected:
    """The records of one data set and split that count on its boards.

    Parameters
    ----------
    dataset, split
        Names as records have them, a split also without its parameters; None where the results hold only one.
    models
        Names or globs.

    Raises
    ------
    UsageError
        If nothing or several things are meant.
    DataError
        If the audit of everything that is meant has failed.
    """
    store = Store(results)
    whole, damaged = store.whole_and_damaged()
    if not whole:
        raise UsageError(f"{results} holds no results. Type: pbench run --out {results}")
    dataset = _one("--dataset", dataset, {c["spec"]["dataset"] for c in whole})
    whole = [c for c in whole if c["spec"]["dataset"] == dataset]
    split = _one("--split", split, {c["spec"]["split"] for c in whole})
    cards = [dict(c) for c in current(c for c in whole if c["spec"]["split"] == split)]
    left_out = [f"{path.name} is damaged" for path in damaged]
    asked = [c for c in cards if any(c["model"] == m or fnmatchcase(c["model"], m) for m in models)]
    if not asked:
        raise UsageError(f"--models {','.join(models)}: no such model. {suggestion(models[0], {c['model'] for c in cards})}")
    refused = [c for c in asked if c["audit"]["status"] == "fail"]
    left_out += [f"{_title(c)}: its audit failed, and such results are not published" for c in refused]
    fit = [c for c in cards if c["audit"]["status"] != "fail"]
    if len(refused) == len(asked):
        raise DataError(f"the audit of all {len(asked)} record(s) of {dataset} / {split} failed; such results are not published.")
    # Boards show answers to the newest questions only; whatever is asked for by name does not change which those are.
    newest = max(fit, key=age)["spec"]["data_id"]
    fit = [c for c in fit if c["spec"]["data_id"] == newest]
    split_of = {c["spec"]["fold"]: c["spec"]["split_id"] for c in sorted(fit, key=age)}
    kept = []
    for card in asked:
        if card["spec"]["data_id"] != newest:
            left_out += [f"{_title(card)}: made from other data than the newest records"]
        elif card["spec"]["split_id"] != split_of.get(card["spec"]["fold"]):
            left_out += [f"{_title(card)}: made on another manifest of the split than the newest records"]
        elif card not in refused:
            kept.append(card)
    if not kept:
        raise DataError("nothing is left to bundle: " + "; ".join(left_out[:3]) + ".")
    return Selected(dataset, split, kept, tuple(dict.fromkeys(left_out)))


def _one(option: str, asked: str | None, known: set[str]) -> str:
    if asked is None:
        if len(known) > 1:
            raise UsageError(f"these results hold several; choose one with {option}. {suggestion('', known)}")
        return next(iter(known))
    if asked in known:
        return asked
    base = sorted(k for k in known if k.partition("[")[0] == asked)
    if len(base) != 1:
        raise UsageError(
            f"{option} {asked}: {'several have that name' if base else 'there is no such record'}. {suggestion(asked, base or known)}"
        )
    return base[0]


def _title(card: Card) -> str:
    spec = card["spec"]
    fold = "" if spec["fold"] == "1/1" else f", fold {spec['fold']}"
    return f"{card['model']}{fold}, seed {spec['seed']}"


def write_bundle(
    results: Path,
    out: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    models: Sequence[str] = ("*",),
    name: str | None = None,
    note: str = "",
    predictions: bool = True,
    shifts: pd.DataFrame | None = None,
    selected: Selected | None = None,
) -> Path:
    """Write the records of one data set and split as a bundle; the same results give the same bytes.

    Parameters
    ----------
    out
        Folder of the bundle. An earlier bundle of the same data set and split is replaced, nothing else is.
    dataset, split, models
        As for `select`, where it has not been called yet.
    name
        Name of the bundle; that of the folder where None.
    shifts
        As `shifts.shifts` gives them.

    Raises
    ------
    UsageError
        If the name cannot be one, or `out` holds something else.
    DataError
        If a record lacks its manifest, or is none that a reader would take.
    """
    chosen = selected or select(results, dataset, split, models)
    name = out.name if name is None else name
    if not NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: a bundle is named with letters, digits, '.', '_', '+' and '-', at most 100.")
    if len(note) > MAX_NOTE:
        raise UsageError(f"--note has {len(note)} characters; {MAX_NOTE} are the most.")
    _check_free(out, chosen)
    write_folder(
        out.with_name(f".{out.name}.new"),
        lambda folder: _write(results, folder, chosen, name, note, predictions, shifts),
        sealed=False,
    )
    made = out.with_name(f".{out.name}.new")
    try:
        read_bundle(made)
        if out.exists():
            shutil.rmtree(out)
        made.rename(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return out


def _check_free(out: Path, chosen: Selected) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise UsageError(f"{out} is no folder; name another one.")
    if not any(out.iterdir()):
        return
    if find_bundles(out) != [out]:
        raise UsageError(f"{out} holds other things than a bundle; name a folder that is empty or not there.")
    held = read_bundle(out).meta
    if (held["dataset"], held["split"]) != (chosen.dataset, chosen.split):
        raise UsageError(f"{out} holds a bundle of {held['dataset']} / {held['split']}; name another folder.")


def _write(
    results: Path, folder: Path, chosen: Selected, name: str, note: str, predictions: bool, shifts: pd.DataFrame | None
) -> None:
    from importlib.metadata import version

    cards = [{"schema": SCHEMA, **{k: v for k, v in c.items() if k not in DROPPED}} for c in chosen.cards]
    cards.sort(key=lambda c: c["score_id"])
    _write_lines(folder / CARDS, cards)
    _write_table(folder / ROWS, _rows(results, chosen))
    for split_id in sorted({c["spec"]["split_id"] for c in cards}):
        _copy(results, folder, manifest_name(split_id))
    if predictions:
        for job in sorted({c["job_id"] for c in cards if c["status"] == OK and c["predicts"]}):
            _copy(results, folder, prediction_name(job))
    if shifts is not None and len(shifts):
        _write_table(folder / SHIFTS, as_table(shifts, SHIFT_COLUMNS))
    jobs = {c["job_id"] for c in cards}
    if agreements := [a for a in read_agreements(results) if set(a["jobs"]) <= jobs]:
        _write_lines(folder / AGREEMENTS, sorted(agreements, key=canonical_json))
    meta: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "pbench": version("pbench"),
        "dataset": chosen.dataset,
        "split": chosen.split,
        "data_id": cards[0]["spec"]["data_id"],
        "split_ids": sorted({c["spec"]["split_id"] for c in cards}),
        "models": sorted({c["model"] for c in cards}),
        "seeds": sorted({c["spec"]["seed"] for c in cards}),
        "note": note,
        "files": {p.relative_to(folder).as_posix(): file_sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()},
    }
    text = json.dumps(meta | {"id": content_id(meta)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / INDEX).write_text(text, encoding="utf-8")


def _write_lines(path: Path, values: Sequence[Card]) -> None:
    path.write_text("".join(canonical_json(v) + "\n" for v in values), encoding="utf-8")


def _copy(results: Path, folder: Path, name: str) -> None:
    target = folder / name
    target.parent.mkdir(exist_ok=True)
    try:
        shutil.copyfile(results / name, target)
    except OSError as error:
        raise DataError(
            f"{results / name} cannot be copied ({error.strerror}); the same pbench run again makes it anew with --overwrite always."
        ) from error


def _rows(results: Path, chosen: Selected) -> pa.Table:
    """The rows of the chosen records with all columns; rows that are alike in their order keep that of their records."""
    import pandas as pd

    frame = Store(results).rows(c for c in chosen.cards if c["status"] == OK)
    frame = frame.reindex(columns=list(ROW_COLUMNS)) if len(frame) else pd.DataFrame(columns=list(ROW_COLUMNS))
    return as_table(frame.sort_values(list(ROW_ORDER), kind="stable"), ROW_COLUMNS)


def _write_table(path: Path, table: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    measured = [f.name for f in table.schema if pa.types.is_floating(f.type) and f.name not in REPEATED]
    encodings: dict[str, Any] = {
        "use_dictionary": [name for name in table.column_names if name not in measured],
        "use_byte_stream_split": measured,
    }
    pq.write_table(
        table, path, compression="zstd", compression_level=9, row_group_size=1_000_000, store_schema=False, **encodings
    )

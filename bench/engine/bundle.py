"""Bundles: the records of one data set and split as a folder that can be published, handed in, read without trust and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts.errors import DataError
from ..contracts.identity import canonical_json, content_id
from ..contracts.split import SplitManifest
from .bundle_cards import check_agreement, check_card
from .bundle_files import INDEX, contents, listed, parse_json, sha256, shown
from .tables import ROW_COLUMNS, SHIFT_COLUMNS, frame, parse_table

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
CARDS, ROWS, SHIFTS, AGREEMENTS = "cards.jsonl", "rows.parquet", "shifts.parquet", "agreements.jsonl"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
MAX_NOTE = 2000


@dataclass(frozen=True)
class Bundle:
    """What a bundle says.

    Parameters
    ----------
    meta
        ``bundle.json``.
    cards
        Run cards, those that count: no two answer the same question.
    rows
        Their tidy rows, as `Store.rows` gives them.
    shifts
        True and predicted changes of the genes that change most, by model, fold and condition; None where there are none.
    agreements
        How far the codes of two seeds agree.
    folder
        Where it lies.
    manifests
        The splits by id.
    """

    meta: Mapping[str, Any]
    cards: Sequence[Mapping[str, Any]]
    rows: pd.DataFrame
    shifts: pd.DataFrame | None
    agreements: Sequence[Mapping[str, Any]]
    folder: Path
    manifests: Mapping[str, SplitManifest] = field(default_factory=dict)

    def prediction(self, job_id: str) -> Path | None:
        """The file with the predictions of a job, or None where the bundle has none."""
        name = prediction_name(job_id)
        return self.folder / name if name in self.meta["files"] else None


def prediction_name(job_id: str) -> str:
    return f"predictions/{job_id[:32]}.npz"


def manifest_name(split_id: str) -> str:
    return f"manifests/{split_id[:32]}.json"


def bundle_id(meta: Mapping[str, Any]) -> str:
    """Identity of a bundle: sha256 of the canonical JSON of ``bundle.json`` without the id, and so of all files."""
    return content_id({k: v for k, v in meta.items() if k != "id"})


def find_bundles(root: Path) -> list[Path]:
    """Folders with a ``bundle.json`` at or below a folder, sorted; links are not followed."""

    def walk(folder: Path) -> Iterator[Path]:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda e: e.name)
        if any(e.name == INDEX for e in entries):
            yield folder
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from walk(folder / entry.name)

    return sorted(walk(root)) if root.is_dir() else []


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle without trusting it: every file is known, bounded and has its sha256 before it is parsed.

    Values are taken as they are claimed; `engine.verify` compares them with the predictions. Predictions are hashed and not read.

    Raises
    ------
    DataError
        With everything that is strange about its files, or the first thing that is wrong in them.
    """
    try:
        return _read(folder)
    except DataError as error:
        raise DataError(f"{shown(folder.name)} is no whole bundle: {error}.") from error
    except OSError as error:
        raise DataError(f"{shown(folder.name)} cannot be read: {error.strerror}.") from error


def _read(folder: Path) -> Bundle:
    there = listed(folder)
    meta = parse_json(contents(folder, INDEX), INDEX)
    check_meta(meta)
    claimed = meta["files"]
    if more := sorted(set(there) - set(claimed)):
        raise DataError(f"{shown(more[0])} is not listed in {INDEX}" + (f", and {len(more) - 1} more" if len(more) > 1 else ""))
    if gone := sorted(set(claimed) - set(there)):
        raise DataError(f"{shown(gone[0])} is missing" + (f", and {len(gone) - 1} more" if len(gone) > 1 else ""))
    cards = agreements = ()
    rows = shifts = None
    manifests: dict[str, SplitManifest] = {}
    for name in there:
        data = contents(folder, name)
        if sha256(data) != claimed[name]:
            raise DataError(f"{name} is not the file that {INDEX} lists: its sha256 is another one")
        if name == CARDS:
            cards = [check_card(c, meta, where) for c, where in _lines(data, name)]
        elif name == AGREEMENTS:
            agreements = [check_agreement(a, where) for a, where in _lines(data, name)]
        elif name == ROWS:
            rows = frame(parse_table(data, name, ROW_COLUMNS))
        elif name == SHIFTS:
            shifts = frame(parse_table(data, name, SHIFT_COLUMNS))
        elif name.startswith("manifests/"):
            manifest = _manifest(folder / name, parse_json(data, name))
            manifests[manifest.id] = manifest
    if not cards or rows is None:
        raise DataError(f"it has no {ROWS if cards else CARDS}, or an empty one")
    bundle = Bundle(meta, cards, rows, shifts, agreements, folder, manifests)
    check_whole(bundle)
    return bundle


def check_meta(meta: Any) -> None:
    """Raise `DataError` unless ``bundle.json`` has its fields and its id."""
    texts, lists = (
        ("name", "pbench", "dataset", "split", "data_id", "note", "id"),
        {"split_ids": str, "models": str, "seeds": int},
    )
    if not isinstance(meta, dict) or set(meta) != {"format", "files", *texts, *lists}:
        raise DataError(f"{INDEX} has other fields than a bundle of format {FORMAT}")
    if meta["format"] != FORMAT:
        raise DataError(f"{INDEX} says format {shown(meta['format'])}, and this version of pbench reads {FORMAT}")
    if wrong := [t for t in texts if not isinstance(meta[t], str)]:
        raise DataError(f"{INDEX}: {wrong[0]} is no text")
    for name, kind in lists.items():
        if not isinstance(meta[name], list) or not all(type(v) is kind for v in meta[name]):
            raise DataError(f"{INDEX}: {name} is no list of {'whole numbers' if kind is int else 'texts'}")
    if not isinstance(meta["files"], dict) or not all(isinstance(v, str) for v in meta["files"].values()):
        raise DataError(f"{INDEX}: files is no list of sha256 by name")
    if not NAME.fullmatch(meta["name"]) or len(meta["note"]) > MAX_NOTE:
        raise DataError(f"{INDEX}: the name {shown(meta['name'])!r} or the note is none that a bundle may have")
    try:
        same = bundle_id(meta) == meta["id"]
    except ValueError as error:
        raise DataError(f"{INDEX}: {shown(error)}") from error
    if not same:
        raise DataError(f"{INDEX} was edited: its content does not hash to its id")


def _lines(data: bytes, name: str) -> Iterator[tuple[Any, str]]:
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        where = f"{name}, line {number}"
        value = parse_json(line, where)
        try:
            same = canonical_json(value).encode() == line
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: {shown(error)}") from error
        if not same:
            raise DataError(f"{where} is not canonical JSON (sorted, without white space, each key once)")
        yield value, where


def _manifest(path: Path, value: Any) -> SplitManifest:
    name = f"manifests/{path.name}"
    try:
        manifest = SplitManifest.load(path)
        if manifest.id[:32] != path.stem or not isinstance(value, dict):
            raise DataError(f"{name} holds the split {manifest.id[:32]}")
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{name} is no split manifest: {shown(error)}") from error
    return manifest


def check_whole(bundle: Bundle) -> None:
    """Raise `DataError` unless the parts of a bundle speak of the same jobs."""
    meta, cards = bundle.meta, bundle.cards
    given = {"split_ids": {c["spec"]["split_id"] for c in cards}, "models": {c["model"] for c in cards}}
    for name, values in (given | {"seeds": {c["spec"]["seed"] for c in cards}}).items():
        if meta[name] != sorted(values):
            raise DataError(f"{INDEX}: {name} are not those of the cards")
    if set(bundle.manifests) != given["split_ids"]:
        raise DataError("the manifests are not those of the cards")
    for manifest in bundle.manifests.values():
        if manifest.data_id != meta["data_id"] or manifest.name != meta["split"]:
            raise DataError(f"manifest {manifest.id[:12]} is of other data or of another split than the bundle")
    order = [c["score_id"] for c in cards]
    if order != sorted(set(order)):
        raise DataError(f"{CARDS} is not sorted by score_id, or has one twice")
    questions = [question(c) for c in cards]
    if len(questions) != len(set(questions)):
        raise DataError(f"two cards of {CARDS} answer the same question; a bundle holds the one that counts")
    jobs = {c["job_id"] for c in cards}
    names = {prediction_name(job) for job in jobs}
    if other := sorted(n for n in meta["files"] if n.startswith("predictions/") and n not in names):
        raise DataError(f"{other[0]} belongs to no card")
    if other := [a for a in bundle.agreements if not set(a["jobs"]) <= jobs]:
        raise DataError(f"an agreement of {shown(other[0]['model'])} belongs to no card")
    _check_owned(bundle)


def _check_owned(bundle: Bundle) -> None:
    """Raise `DataError` if a row or a shift belongs to no finished job."""
    meta = bundle.meta
    fine = [c for c in bundle.cards if c["status"] == "ok"]
    keys = ["model", "fold", "seed", "reference_row", "dataset", "split"]
    known = {(c["model"], c["spec"]["fold"], c["spec"]["seed"], c["reference_row"], meta["dataset"], meta["split"]) for c in fine}
    for one in bundle.rows[keys].drop_duplicates().itertuples(index=False):
        if tuple(one) not in known:
            raise DataError(f"{ROWS} has rows of {shown(one[0])}, fold {shown(one[1])}, seed {one[2]}, and no card says so")
    asked = {(c["model"], m) for c in fine for m in c["metrics"]}
    for model, metric in bundle.rows[["model", "metric"]].drop_duplicates().itertuples(index=False):
        if (model, metric) not in asked:
            raise DataError(f"{ROWS} has rows of {shown(metric)} of {shown(model)}, and no card says so")
    if bundle.shifts is not None:
        folds = {(c["model"], c["spec"]["fold"]) for c in fine}
        for model, fold in bundle.shifts[["model", "fold"]].drop_duplicates().itertuples(index=False):
            if (model, fold) not in folds:
                raise DataError(f"{SHIFTS} has changes of {shown(model)}, fold {shown(fold)}, and no card says so")


def question(card: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a card answers, as `store.current` understands it."""
    spec = card["spec"]
    return (spec["fold"], card["model"], spec["seed"], card.get("predicts", True))

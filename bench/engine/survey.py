"""What is wrong in a folder of results and in the cache, each thing by name and with what can be done about it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts.errors import DataError, PbenchError
from .bundle import find_bundles, read_bundle
from .counted import age, question
from .encodings import read_agreement
from .folders import QUARANTINE, defects
from .record import OK, Newer, read_card, read_table, rows_path
from .sealed import MAX_JSON, Damaged, opened_json, plain_bytes, read_arrays
from .store import ROOMS, Store
from .temporaries import PATIENCE, is_left_over, is_temporary

#: Seconds by which the clocks of two machines may differ before that is told.
SKEW = 300.0
#: Kinds of findings that nothing is to be done about.
NOTES = ("newer schema", "being written", "stale", "clock", "quarantine", "unknown file")


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Parameters
    ----------
    kind
        ``record``, ``rows without a card``, ``left over``, ``archive``, ``agreement``, ``manifest``, ``records.parquet``,
        ``cache``, ``bundle``, or one of `NOTES`.
    path
        The file or folder.
    why
        What is wrong with it, in words that go after its name.
    with_it
        Files that belong to it and are of no use without it.
    """

    kind: str
    path: Path
    why: str
    with_it: tuple[Path, ...] = ()

    @property
    def is_defect(self) -> bool:
        return self.kind not in NOTES

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


def survey_results(folder: Path, *, now: float | None = None) -> list[Finding]:
    """What is wrong in a folder of results; nothing is changed.

    Parameters
    ----------
    now
        Seconds since 1970, where it is not the clock's.
    """
    now = time.time() if now is None else now
    store = Store(folder)
    found: list[Finding] = []
    cards: list[tuple[Path, Mapping[str, Any]]] = []
    for path, card, error in store.survey():
        if card is not None and (said := _rows(path, card)):
            found.append(Finding("record", path, said, _rows_of(path)))
        elif card is not None:
            cards.append((path, card))
        elif isinstance(error, Newer):
            found.append(Finding("newer schema", path, str(error)))
        else:
            found.append(Finding("record", path, str(error), _rows_of(path)))
    named: set[Path | None] = {rows_path(path, card) for path, card in cards}
    named.update(p for f in found for p in f.with_it)
    found += _strays(folder / "records", named, now)
    found += _clock(cards, now)
    found += _each(folder / "predictions", ".npz", "archive", _archive)
    found += _each(folder / "encodings", ".npz", "archive", _archive)
    found += _each(folder / "checkpoints", ".npz", "archive", _archive)
    found += _each(folder / "agreements", ".json", "agreement", _agreement)
    found += _each(folder / "manifests", ".json", "manifest", _manifest)
    for room in (".", *ROOMS):
        found += _left_over(folder / room, now)
    found += _all_rows(store, [path for path, _ in cards])
    found += _bundles(folder)
    return found + list(_quarantined(folder))


def _rows(path: Path, card: Mapping[str, Any]) -> str:
    try:
        if card["status"] == OK:
            read_table(path)
    except FileNotFoundError:
        return ""
    except Damaged as error:
        return str(error)
    return ""


def _rows_of(path: Path) -> tuple[Path, ...]:
    """Rows that a damaged card may have had: none of them is another record's."""
    return tuple(sorted(p for p in path.parent.glob(f"{path.stem}.*parquet") if not is_temporary(p.name)))


def _strays(records: Path, named: set[Path | None], now: float) -> Iterator[Finding]:
    for path in sorted(records.glob("*")):
        if path in named or path.suffix == ".json" or is_temporary(path.name):
            continue
        if path.is_dir() and find_bundles(path):
            continue
        if path.suffix != ".parquet":
            yield Finding("unknown file", path, "is no file of ours")
        elif _newer(records, path):
            continue
        elif now - path.lstat().st_mtime > PATIENCE:
            yield Finding("rows without a card", path, "holds rows that no card names: its record was replaced or never finished")
        else:
            yield Finding("being written", path, "holds rows that no card names yet; perhaps a run is writing it")


def _newer(records: Path, rows: Path) -> bool:
    try:
        read_card(records / f"{rows.name.split('.')[0]}.json")
    except Newer:
        return True
    except (FileNotFoundError, Damaged):
        pass
    return False


def _clock(cards: list[tuple[Path, Mapping[str, Any]]], now: float) -> Iterator[Finding]:
    latest: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for path, card in sorted(cards, key=lambda item: age(item[1])):
        before = latest.get(question(card))
        if card["started"] > now + SKEW:
            yield Finding("clock", path, f"says that it was started {card['started'] - now:,.0f} s from now: a clock was wrong")
        elif before and before["started"] > card["started"] + SKEW:
            yield Finding("clock", path, "counts, though its clock says that it was started before the record that it follows")
        latest[question(card)] = card


def _each(folder: Path, suffix: str, kind: str, check: Callable[[Path], str]) -> Iterator[Finding]:
    for path in sorted(folder.glob(f"*{suffix}")):
        if not is_temporary(path.name) and (said := check(path)):
            yield Finding(kind, path, said)


def _archive(path: Path) -> str:
    try:
        read_arrays(path)
    except FileNotFoundError:
        return ""
    except Damaged as error:
        return str(error)
    return ""


def _agreement(path: Path) -> str:
    try:
        opened_json(plain_bytes(path, MAX_JSON))
    except FileNotFoundError:
        return ""
    except Damaged as error:
        return str(error)
    return "" if read_agreement(path) is not None else "is no agreement of the codes of two seeds"


def _manifest(path: Path) -> str:
    from ..contracts.split import SplitManifest

    try:
        plain_bytes(path)
        split_id = SplitManifest.load(path).id
    except FileNotFoundError:
        return ""
    except (PbenchError, RecursionError) as error:
        return str(error) if isinstance(error, Damaged) else "is no whole split manifest"
    return "" if split_id[:32] == path.stem else "is the manifest of another split"


def _left_over(folder: Path, now: float) -> Iterator[Finding]:
    for path in sorted(folder.glob("*")):
        if is_left_over(path, now=now):
            yield Finding("left over", path, "was being written by a process that has ended")


def _all_rows(store: Store, cards: list[Path]) -> Iterator[Finding]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = store.folder / "records.parquet"
    if not path.is_file():
        return
    try:
        held = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield Finding("records.parquet", path, f"is no readable table ({type(error).__name__})")
        return
    try:
        wanted = store.consolidated()
    except DataError:
        # That is told of the record.
        return
    if wanted is None or held.equals(wanted) or held.to_pandas().equals(wanted.to_pandas()):
        return
    older = any(p.stat().st_mtime > path.stat().st_mtime for p in cards)
    said = "is older than the records; the next run writes it again" if older else "holds other rows than the records"
    yield Finding("stale" if older else "records.parquet", path, said)


def _bundles(folder: Path) -> Iterator[Finding]:
    for path in find_bundles(folder):
        try:
            read_bundle(path)
        except PbenchError as error:
            yield Finding("bundle", path, f"is no whole bundle: {' '.join(str(error).split())[:500]}")


def _quarantined(root: Path) -> Iterator[Finding]:
    for note in sorted((root / QUARANTINE).glob("*.why.json")):
        path = note.with_name(note.name.removesuffix(".why.json"))
        if not path.exists():
            continue
        try:
            told = json.loads(plain_bytes(note, MAX_JSON))
            why = f"was quarantined at {told['when']}: {told['why']}"
        except (Damaged, ValueError, KeyError, TypeError, OSError, RecursionError):
            why = "was quarantined"
        yield Finding("quarantine", path, why[:500])


def survey_cache(folder: Path, *, now: float | None = None) -> list[Finding]:
    """What is wrong in the cache; every file in it is read, and nothing is changed."""
    now = time.time() if now is None else now
    found: list[Finding] = []
    for room in ("screens", "submissions"):
        for path in sorted((folder / room).glob("*")):
            if is_temporary(path.name):
                found += [Finding("left over", path, "was being built by a process that has ended")] * is_left_over(path, now=now)
            elif path.name.endswith(".partial"):
                found.append(Finding("being written", path, "is a conversion that is not done; the next run goes on with it"))
            elif path.is_dir():
                found += _sealed_folder(path)
                found += _splits(path / "splits", now)
    found += _each(folder / "resources", ".npz", "cache", _archive)
    found += _left_over(folder / "resources", now)
    return found + list(_quarantined(folder))


def _sealed_folder(path: Path) -> Iterator[Finding]:
    if said := defects(path):
        more = f" and {len(said) - 1} more" if len(said) > 1 else ""
        yield Finding("cache", path, f"is not as it was written: {said[0]}{more}")


def _splits(folder: Path, now: float) -> Iterator[Finding]:
    yield from _left_over(folder, now)
    for path in sorted(folder.glob("*")):
        if is_temporary(path.name):
            continue
        said = ""
        if path.is_dir():
            yield from _sealed_folder(path)
        elif path.suffix == ".npz":
            said = _archive(path)
        elif path.suffix == ".json":
            said = _note_or_manifest(path)
        if said:
            yield Finding("cache", path, said)


def _note_or_manifest(path: Path) -> str:
    if path.name.endswith((".index.json", ".audit.json")):
        try:
            return "" if opened_json(plain_bytes(path, MAX_JSON))[1] else "has no checksum: an earlier version wrote it"
        except FileNotFoundError:
            return ""
        except Damaged as error:
            return str(error)
    return _manifest(path)

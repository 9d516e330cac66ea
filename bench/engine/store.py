"""The result store: one record a job, written whole or not at all, named by the content of what was asked."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..contracts.condition import Condition
from ..contracts.errors import DataError
from ..contracts.split import SplitManifest
from .answer import Answer
from .counted import age, current
from .folders import QUARANTINE, quarantine, write_atomically
from .predictions import answer_of, prediction_arrays
from .record import OK, SCHEMA, Card, Newer, read_card, read_record, read_table, rows_path
from .sealed import MAX_JSON, Damaged, parsed_json, plain_bytes, read_arrays, save_arrays, sealed_json
from .tables import ROW_COLUMNS, decoded, frame
from .temporaries import sweep

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["OK", "SCHEMA", "Store", "age", "current"]
#: Folders of a results folder.
ROOMS = ("records", "predictions", "encodings", "agreements", "manifests", "checkpoints")


@dataclass(frozen=True)
class Store:
    """A folder of results. Several processes and machines may write into it at once.

    Layout: ``records/<score id>.json`` (the run card, with its own checksum) beside ``<score id>.<random>.parquet`` (its rows),
    ``predictions/<job id>.npz`` (predicted pseudobulks), ``encodings/<job id>.npz`` (codes of held-out cells),
    ``agreements/*.json`` (how far those of two seeds agree), ``manifests/<split id>.json``, ``checkpoints/<job id>.npz``
    (weights of a network whose training broke off) and ``records.parquet`` (all rows, rebuilt after each run).

    Every writing of a record has a file of its own for the rows, and the card, which is renamed into place last, holds its name
    and sha256: whoever comes last, a card always finds the rows that it was written with. Nothing is locked.
    """

    folder: Path

    def _path(self, kind: str, name: str, suffix: str) -> Path:
        return self.folder / kind / f"{name[:32]}{suffix}"

    def card(self, score_id: str) -> Card | None:
        """The run card of a record, or None where it is absent or damaged.

        Raises
        ------
        DataError
            If a newer pbench has written it: it is not ours to write over.
        """
        path = self._path("records", score_id, ".json")
        try:
            return read_record(path)[0]
        except Newer as error:
            raise DataError(f"{path} {error}, or choose another folder with --out.") from error
        except (FileNotFoundError, Damaged):
            return None

    def write(self, score_id: str, card: Mapping[str, Any], table: pa.Table | None = None) -> None:
        """Write a record, over an earlier one of the same id; one that did not end well never hides one that did.

        Parameters
        ----------
        table
            Its rows. Without them, a card with the status ok is a changed one, and the rows of the record that is there stay.

        Raises
        ------
        DataError
            If a newer pbench has written the earlier one, or there are no rows.
        PbenchError
            If it cannot be written.
        """
        path = self._path("records", score_id, ".json")
        earlier = self.card(score_id)
        if card["status"] != OK:
            if earlier is None or earlier["status"] != OK:
                self._put(path, {k: v for k, v in card.items() if k not in ("rows_file", "rows_sha256")})
            return
        if table is None:
            try:
                data = read_record(path)[1]
            except (FileNotFoundError, Damaged) as error:
                raise DataError(f"{path} has lost its rows; the same pbench run again computes them.") from error
        else:
            import pyarrow.parquet as pq

            buffer = io.BytesIO()
            pq.write_table(table, buffer, compression="zstd")
            data = buffer.getvalue()
        rows = path.with_name(f"{path.stem}.{uuid4().hex[:12]}.parquet")
        write_atomically(rows, lambda p: p.write_bytes(data))
        try:
            self._put(path, {**card, "rows_file": rows.name, "rows_sha256": hashlib.sha256(data).hexdigest()})
        except BaseException:
            # The card may be in place all the same, where what went wrong came after it.
            with contextlib.suppress(OSError):
                if not path.is_file() or rows.name.encode() not in path.read_bytes():
                    rows.unlink()
            raise
        if earlier is not None and (replaced := rows_path(path, earlier)) is not None:
            with contextlib.suppress(OSError):
                replaced.unlink()

    @staticmethod
    def _put(path: Path, card: Mapping[str, Any]) -> None:
        data = sealed_json({**_finite(card), "schema": SCHEMA})
        if len(data) > MAX_JSON:
            raise DataError(
                f"{path} would have {len(data) / 2**20:.0f} MiB, more than is read of a card; let the model say less."
            )
        if path.is_dir() and not path.is_symlink():
            quarantine(path, "is a folder, not a record")
        write_atomically(path, lambda p: p.write_bytes(data))

    def cards(self) -> list[Card]:
        """All whole records' run cards, in the order of their ids."""
        return [card for _, card, _ in self.survey() if card is not None]

    def damaged(self) -> list[Path]:
        """Record files that are there and cannot be read as a whole record."""
        return [path for path, card, _ in self.survey() if card is None]

    def whole_and_damaged(self) -> tuple[list[Card], list[Path]]:
        """`cards` and `damaged`, for which every file is read once."""
        found = self.survey()
        return [card for _, card, _ in found if card is not None], [path for path, card, _ in found if card is None]

    def survey(self) -> list[tuple[Path, Card | None, Damaged | None]]:
        """Every record file with its card, or with what is wrong with it; read as a whole, the rows too."""
        found: list[tuple[Path, Card | None, Damaged | None]] = []
        for path in sorted((self.folder / "records").glob("*.json")):
            try:
                found.append((path, read_record(path)[0], None))
            except FileNotFoundError:
                continue
            except Damaged as error:
                found.append((path, None, error))
        return found

    def next_turn(self) -> int:
        """A number above that of any record here, for the records of a run that starts now."""
        turns = [0]
        for path in (self.folder / "records").glob("*.json"):
            with contextlib.suppress(FileNotFoundError, Damaged):
                turns.append(read_card(path).get("turn", 0))
        return max(turns) + 1

    def put_aside(self) -> set[str]:
        """First letters of the ids of jobs whose archive was quarantined and has not been made again."""
        found: set[str] = set()
        for note in (self.folder / QUARANTINE).glob("*.npz.why.json"):
            with contextlib.suppress(FileNotFoundError, Damaged, KeyError, TypeError, IndexError):
                room, name = Path(parsed_json(plain_bytes(note, MAX_JSON))["from"]).parts[-2:]
                if room in ("predictions", "encodings") and not (self.folder / room / name).exists():
                    found.add(Path(name).stem)
        return found

    def check_kept(self, score_ids: Iterable[str]) -> None:
        """See that records which were written are still there.

        Raises
        ------
        DataError
            If some are gone: somebody has removed the folder or a part of it meanwhile.
        """
        gone = [s for s in score_ids if not self._path("records", s, ".json").is_file()]
        if gone:
            raise DataError(
                f"{len(gone)} record(s) that were there are gone from {self.folder / 'records'}: the folder was removed, emptied or "
                "unmounted meanwhile. Type the same command again: what is there is kept, the rest is computed."
            )

    def rows(self, cards: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Tidy rows of some records, of each metric from the record that `current` names for it.

        Raises
        ------
        DataError
            If a record is damaged or gone that was whole when its card was read.
        """
        import pandas as pd
        import pyarrow as pa

        tables = self._tables(cards)
        # Empty ones have no dictionaries.
        full = [table for table in tables if len(table)] or tables[:1]
        return frame(pa.concat_tables(full).unify_dictionaries()) if full else pd.DataFrame()

    def _tables(self, cards: Iterable[Mapping[str, Any]]) -> list[pa.Table]:
        wanted = [part for card in cards for part in card.get("parts", [(card["score_id"], None)])]
        return [self._table(score_id, metrics) for score_id, metrics in wanted]

    def _table(self, score_id: str, metrics: Any) -> pa.Table:
        import pyarrow.compute as pc

        path = self._path("records", score_id, ".json")
        try:
            # Whoever has replaced the record meanwhile has answered the same question with the same code.
            table = read_table(path)
        except FileNotFoundError:
            raise DataError(f"{path} is gone; type the same command again.") from None
        except Damaged as error:
            raise DataError(f"{path} {error}. Type: pbench doctor --repair --results {self.folder}") from error
        return table if metrics is None else table.filter(pc.field("metric").isin(metrics))

    def consolidated(self) -> pa.Table | None:
        """The rows of all `current` records that ended well; None where there are none."""
        import pyarrow as pa

        tables: list[pa.Table] = []
        for attempt in range(3):
            try:
                tables = self._tables(c for c in current(self.cards()) if c["status"] == OK)
                break
            except DataError:
                # A record has been taken away or damaged since it was listed: the next list is without it.
                if attempt == 2:
                    raise
        return pa.concat_tables(decoded(table, ROW_COLUMNS) for table in tables) if tables else None

    def consolidate(self) -> Path:
        """Write the rows of all `current` records into ``records.parquet`` and return its path."""
        import pyarrow.parquet as pq

        path, whole = self.folder / "records.parquet", self.consolidated()
        if whole is not None:
            write_atomically(path, lambda p: pq.write_table(whole, p, compression="zstd"))
        return path

    def sweep(self) -> int:
        """Remove what processes of this machine that have ended left half written; returns how many files that were."""
        return sweep(self.folder, *(self.folder / room for room in ROOMS))

    def save_checkpoint(self, job_id: str, weights: Mapping[str, Any]) -> Path:
        """Keep a network's weights as arrays by name; returns the file."""
        path = self._path("checkpoints", job_id, ".npz")
        write_atomically(path, lambda p: save_arrays(p, weights, compressed=False))
        return path

    def save_prediction(self, job_id: str, conditions: Iterable[Condition], genes: Any, answer: Answer) -> None:
        """Archive predicted pseudobulks and variances (float32): a new metric of them needs no new fit. Cells are not kept."""
        arrays = prediction_arrays(conditions, genes, answer)
        write_atomically(self._path("predictions", job_id, ".npz"), lambda p: save_arrays(p, arrays))

    def prediction(self, job_id: str, conditions: tuple[Condition, ...]) -> Answer | None:
        """The archived answer to these conditions, or None where there is none or it is damaged."""
        try:
            return answer_of(read_arrays(self._path("predictions", job_id, ".npz")), conditions)
        except (FileNotFoundError, Damaged):
            return None

    def save_manifest(self, manifest: SplitManifest) -> Path:
        """Keep a manifest; returns the file."""
        path = self._path("manifests", manifest.id, ".json")
        if not is_manifest(path, manifest.id):
            write_atomically(path, manifest.save)
        return path


def is_manifest(path: Path, split_id: str) -> bool:
    """Whether a file is the manifest of this id, whole."""
    try:
        return SplitManifest.load(path).id == split_id
    except (DataError, RecursionError, OSError):
        return False


def _finite(value: Any) -> Any:
    """A value that fits into JSON: NaN and infinite numbers are None."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""The result store: one record a job, written whole or not at all, named by the content of what was asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np

from ..contracts.condition import Condition
from ..contracts.identity import file_sha256
from ..contracts.split import SplitManifest
from .answer import Answer
from .folders import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SCHEMA = 1
OK = "ok"


def current(cards: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of the records that answer the same question, the one that was started last, with what others say of the same answer.

    The question is (model and parameters, data set, split, fold, seed), and whether predictions are asked for or latent
    variables alone; records differ under it where code, data,
    environment or metrics have changed since. The newest record says which answer counts (its ``job_id``). Metrics that it
    lacks are taken from the newest whole record of that same answer that has them; answers are never mixed.

    Returns
    -------
    Run cards. One that speaks for several records is the newest's with all of their ``metrics``, and with ``parts``: for
    each of these records its score id and the metrics that are read from it.
    """
    asked: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for card in sorted(cards, key=lambda c: (c["started"], c["score_id"]), reverse=True):
        spec = card["spec"]
        question = (spec["dataset"], spec["split"], spec["fold"], card["model"], spec["seed"], card.get("predicts", True))
        asked.setdefault(question, []).append(card)
    return [_merged(*asked[key]) for key in sorted(asked, key=str)]


def _merged(newest: Mapping[str, Any], *older: Mapping[str, Any]) -> Mapping[str, Any]:
    if newest["status"] != OK or "job_id" not in newest or "metrics" not in newest:
        return newest
    have = set(newest["metrics"])
    parts = [(newest["score_id"], sorted(have))]
    for card in older:
        if card["status"] == OK and card.get("job_id") == newest["job_id"]:
            more = sorted(set(card.get("metrics", ())) - have)
            have.update(more)
            parts += [(card["score_id"], more)] if more else []
    return newest if len(parts) == 1 else {**newest, "metrics": sorted(have), "parts": parts}


@dataclass(frozen=True)
class Store:
    """A folder of results.

    Layout: ``records/<score id>.json`` (the run card) beside ``.parquet`` (its rows), ``predictions/<job id>.npz``
    (predicted pseudobulks), ``encodings/<job id>.npz`` (codes of held-out cells), ``agreements/*.json`` (how far those of two
    seeds agree), ``manifests/<split id>.json``, ``checkpoints/<job id>.npz`` (weights of a network whose training
    broke off) and ``records.parquet`` (all rows, rebuilt after each run).
    The JSON is written last and holds the sha256 of the rows, so a record is there as a whole or not there.
    """

    folder: Path

    def _path(self, kind: str, name: str, suffix: str) -> Path:
        return self.folder / kind / f"{name[:32]}{suffix}"

    def card(self, score_id: str) -> dict[str, Any] | None:
        """The run card of a record, or None where it is absent or damaged."""
        return self._read_card(self._path("records", score_id, ".json"))

    @staticmethod
    def _read_card(path: Path) -> dict[str, Any] | None:
        try:
            card = json.loads(path.read_text())
            if not isinstance(card, dict) or card.get("schema") != SCHEMA:
                return None
            if card["status"] == OK and file_sha256(path.with_suffix(".parquet")) != card["rows_sha256"]:
                return None
        except (OSError, ValueError, KeyError):
            return None
        return card

    def write(self, score_id: str, card: Mapping[str, Any], table: pa.Table | None = None) -> None:
        """Write a record, over an earlier one of the same id."""
        path = self._path("records", score_id, ".json")
        full: dict[str, Any] = {"schema": SCHEMA, **card}
        if table is not None:
            import pyarrow.parquet as pq

            write_atomically(path.with_suffix(".parquet"), lambda p: pq.write_table(table, p, compression="zstd"))
            full["rows_sha256"] = file_sha256(path.with_suffix(".parquet"))
        text = json.dumps(full, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomically(path, lambda p: p.write_text(text))

    def cards(self) -> list[dict[str, Any]]:
        """All whole records' run cards, in the order of their ids."""
        return [card for _, card in self._read() if card is not None]

    def damaged(self) -> list[Path]:
        """Record files that are there and cannot be read as a whole record."""
        return [path for path, card in self._read() if card is None]

    def whole_and_damaged(self) -> tuple[list[dict[str, Any]], list[Path]]:
        """`cards` and `damaged`, for which every file is read once."""
        found = self._read()
        return [card for _, card in found if card is not None], [path for path, card in found if card is None]

    def _read(self) -> list[tuple[Path, dict[str, Any] | None]]:
        return [(p, self._read_card(p)) for p in sorted((self.folder / "records").glob("*.json"))]

    def rows(self, cards: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Tidy rows of some records, of each metric from the record that `current` names for it."""
        import pandas as pd

        tables = [table.to_pandas() for table in self._tables(cards)]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def _tables(self, cards: Iterable[Mapping[str, Any]]) -> list[pa.Table]:
        import pyarrow.parquet as pq

        return [
            pq.read_table(
                self._path("records", score_id, ".parquet"), filters=None if metrics is None else [("metric", "in", metrics)]
            )
            for card in cards
            for score_id, metrics in card.get("parts", [(card["score_id"], None)])
        ]

    def consolidate(self) -> Path:
        """Write the rows of all `current` records into ``records.parquet`` and return its path."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = self._tables(c for c in current(self.cards()) if c["status"] == OK)
        path = self.folder / "records.parquet"
        if tables:
            write_atomically(
                path, lambda p: pq.write_table(pa.concat_tables(tables, promote_options="permissive"), p, compression="zstd")
            )
        return path

    def save_checkpoint(self, job_id: str, weights: Mapping[str, Any]) -> Path:
        """Keep a network's weights as arrays by name; returns the file."""
        path = self._path("checkpoints", job_id, ".npz")

        def save(target: Path) -> None:
            with open(target, "wb") as f:
                np.savez(f, **weights)

        write_atomically(path, save)
        return path

    def save_prediction(self, job_id: str, conditions: Iterable[Condition], genes: Any, answer: Answer) -> None:
        """Archive predicted pseudobulks and variances (float32): a new metric of them needs no new fit. Cells are not kept."""
        facts = {
            "conditions": [c.to_dict() for c in conditions],
            "absent": [str(a) for a in answer.absent],
            "fallback": [bool(f) for f in answer.fallback],
            "seconds": dict(answer.seconds),
            "has_cells": answer.has_cells,
            "cells_offered": answer.cells_offered,
        }
        arrays: dict[str, Any] = {
            "mean": answer.mean,
            "genes": np.asarray(genes, dtype=str),
            "facts": np.array(json.dumps(facts)),
        }
        if answer.variance is not None:
            arrays["variance"] = answer.variance

        def save(path: Path) -> None:
            with open(path, "wb") as f:
                np.savez_compressed(f, **arrays)

        write_atomically(self._path("predictions", job_id, ".npz"), save)

    def prediction(self, job_id: str, conditions: tuple[Condition, ...]) -> Answer | None:
        """The archived answer to these conditions, or None where there is none or it is damaged."""
        try:
            with np.load(self._path("predictions", job_id, ".npz"), allow_pickle=False) as f:
                facts = json.loads(str(f["facts"]))
                mean = f["mean"]
                variance = f["variance"] if "variance" in f.files else None
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError):
            return None
        if [Condition.from_dict(c) for c in facts["conditions"]] != list(conditions):
            return None
        return Answer(
            mean,
            np.array(facts["fallback"], dtype=bool),
            np.array(facts["absent"], dtype=object),
            facts["seconds"],
            variance,
            has_cells=bool(facts.get("has_cells")),
            cells_offered=bool(facts.get("cells_offered")),
        )

    def save_manifest(self, manifest: SplitManifest) -> Path:
        path = self._path("manifests", manifest.id, ".json")
        if not path.exists():
            write_atomically(path, manifest.save)
        return path

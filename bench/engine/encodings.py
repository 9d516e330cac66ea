"""Codes of held-out cells, archived by job, and how far those of two trainings agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts.identity import content_id
from ..contracts.latents import Encoding
from ..kernels.matching import agreement
from .folders import write_atomically
from .sealed import MAX_JSON, Damaged, opened_json, plain_bytes, read_arrays, save_arrays, sealed_json

Array = np.ndarray[Any, Any]
SCHEMA = 1


def _path(folder: Path, job_id: str) -> Path:
    return folder / "encodings" / f"{job_id[:32]}.npz"


def save_encoding(folder: Path, job_id: str, encoding: Encoding, report: Array) -> Path:
    """Archive an encoding (codes as float32) and which cells are reported on; returns the file."""
    arrays: dict[str, Any] = {f"code {name}": value.astype(np.float32) for name, value in encoding.codes.items()}
    arrays |= {f"blind {name}": value.astype(np.float32) for name, value in (encoding.blind or {}).items()}
    arrays |= {f"target {name}": value for name, value in encoding.targets.items()}
    if encoding.graph is not None:
        arrays["graph"] = encoding.graph

    write_atomically(_path(folder, job_id), lambda p: save_arrays(p, {"report": report, **arrays}))
    return _path(folder, job_id)


def _read(folder: Path, job_id: str) -> dict[str, Array] | None:
    try:
        found = read_arrays(_path(folder, job_id))
    except (FileNotFoundError, Damaged):
        return None
    return found if "report" in found else None


def read_encoding(folder: Path, job_id: str) -> Encoding | None:
    """The archived encoding of a job; None where there is none or it is damaged."""
    found = _read(folder, job_id)
    if found is None:
        return None

    def part(kind: str, as_type: Any = np.float64) -> dict[str, Array]:
        return {
            name.removeprefix(f"{kind} "): value.astype(as_type) for name, value in found.items() if name.startswith(f"{kind} ")
        }

    return Encoding(part("code"), part("blind") or None, part("target"), found.get("graph"))


def agreements(folder: Path, cards: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How far the codes of two seeds of a model agree on the same held-out cells, for all pairs of seeds; written beside the records.

    The value is the cross-fitted mean correlation coefficient between the two codes, all codes of a model side by side: 1 where
    one is a reordering and rescaling of the other. It is the only score of codes that needs no known latent variables.

    Parameters
    ----------
    cards
        Run cards of jobs with archived encodings.
    """
    groups: dict[tuple[str, ...], dict[int, str]] = {}
    for card in cards:
        if card["status"] == "ok" and card.get("encoded") and card["stochastic"]:
            spec = card["spec"]
            key = (card["model"], spec["dataset"], spec["data_id"], spec["split"], spec["split_id"], spec["fold"])
            groups.setdefault(key, {})[spec["seed"]] = card["job_id"]
    made = []
    for (model, dataset, data_id, split, split_id, fold), jobs in sorted(groups.items()):
        seeds = sorted(jobs)
        for i, first in enumerate(seeds):
            for second in seeds[i + 1 :]:
                found = {
                    "schema": SCHEMA,
                    "model": model,
                    "dataset": dataset,
                    "data_id": data_id,
                    "split": split,
                    "split_id": split_id,
                    "fold": fold,
                    "seeds": [first, second],
                    "jobs": [jobs[first], jobs[second]],
                }
                path = folder / "agreements" / f"{content_id(found)[:32]}.json"
                if (kept := read_agreement(path)) is not None:
                    made.append(kept)
                    continue
                a, b = _read(folder, jobs[first]), _read(folder, jobs[second])
                if a is None or b is None or len(a["report"]) != len(b["report"]):
                    continue
                found["value"] = agreement(_codes(a), _codes(b), a["report"])
                if not np.isfinite(found["value"]):
                    continue
                data = sealed_json(found)
                write_atomically(path, lambda p, data=data: p.write_bytes(data))
                made.append(found)
    return made


def read_agreements(folder: Path) -> list[dict[str, Any]]:
    """All whole agreements that were written to a folder of results, in the order of their names."""
    found = [read_agreement(path) for path in sorted((folder / "agreements").glob("*.json"))]
    return [value for value in found if value is not None]


def read_agreement(path: Path) -> dict[str, Any] | None:
    """The agreement in a file; None where there is none or it is damaged."""
    try:
        value, _ = opened_json(plain_bytes(path, MAX_JSON))
    except (FileNotFoundError, Damaged):
        return None
    number = value.get("value")
    whole = value.get("schema") == SCHEMA and isinstance(number, float | int) and isinstance(value.get("jobs"), list)
    return value if whole else None


def _codes(arrays: Mapping[str, Array]) -> Array:
    return np.concatenate([arrays[n].astype(np.float64) for n in sorted(arrays) if n.startswith("code ")], axis=1)

"""Codes of held-out cells, archived by job, and how far those of two trainings agree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np

from ..contracts.identity import content_id
from ..contracts.latents import Encoding
from ..kernels.matching import agreement
from .folders import write_atomically

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

    def save(path: Path) -> None:
        with open(path, "wb") as f:
            np.savez_compressed(f, report=report, **arrays)

    write_atomically(_path(folder, job_id), save)
    return _path(folder, job_id)


def _read(folder: Path, job_id: str) -> dict[str, Array] | None:
    try:
        with np.load(_path(folder, job_id), allow_pickle=False) as f:
            return {name: f[name] for name in f.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError):
        return None


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
                if path.exists():
                    made.append(json.loads(path.read_text()))
                    continue
                a, b = _read(folder, jobs[first]), _read(folder, jobs[second])
                if a is None or b is None or len(a["report"]) != len(b["report"]):
                    continue
                found["value"] = agreement(_codes(a), _codes(b), a["report"])
                text = json.dumps(found, indent=1, sort_keys=True) + "\n"
                write_atomically(path, lambda p, text=text: p.write_text(text))
                made.append(found)
    return made


def read_agreements(folder: Path) -> list[dict[str, Any]]:
    """All whole agreements that were written to a folder of results, in the order of their names."""
    found = []
    for path in sorted((folder / "agreements").glob("*.json")):
        try:
            value = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(value, dict) and value.get("schema") == SCHEMA:
            found.append(value)
    return found


def _codes(arrays: Mapping[str, Array]) -> Array:
    return np.concatenate([arrays[n].astype(np.float64) for n in sorted(arrays) if n.startswith("code ")], axis=1)

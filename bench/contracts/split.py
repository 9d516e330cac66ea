"""Splits as manifests: files whose content, not a seed, is their identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .condition import Condition
from .errors import DataError
from .identity import canonical_json, content_id

SCHEMA = 1
#: Bytes of a manifest that are read: the barcodes of ten million test cells have less.
LARGEST = 2**30
ROLES = ("train", "validation", "test", "excluded")


@dataclass(frozen=True)
class SplitManifest:
    """Which condition of a screen plays which role.

    Parameters
    ----------
    dataset, data_id
        Registered name, and the identity of the data (sha256) that the manifest was made for.
    split, params, fold
        Generator name, its parameters (seed included) and the fold among those it makes.
    roles
        Role (``train``, ``validation``, ``test``, ``excluded``) of each perturbed condition. Control cells are
        always in training and are the reference of the truth (declared in `declared`).
    reasons
        Why an excluded condition is excluded.
    subgroups
        Strata of test conditions; ``seen_k`` is always recomputed from the final training list.
    test_cells
        Only for cell-level splits: barcodes of the test cells, whose conditions are then also in training.
    declared
        Facts for the audit, such as ``{"target_context_controls": "train"}``.
    """

    dataset: str
    data_id: str
    split: str
    params: Mapping[str, Any]
    fold: str
    generator_version: int
    roles: Mapping[Condition, str]
    reasons: Mapping[Condition, str] = field(default_factory=dict)
    subgroups: Mapping[Condition, Mapping[str, str]] = field(default_factory=dict)
    test_cells: tuple[str, ...] = ()
    declared: Mapping[str, str] = field(default_factory=dict)

    def with_role(self, role: str) -> tuple[Condition, ...]:
        """Conditions of a role, sorted."""
        return tuple(c for c, r in self._sorted if r == role)

    @cached_property
    def _sorted(self) -> list[tuple[Condition, str]]:
        return sorted(self.roles.items(), key=lambda item: canonical_json(item[0].to_dict()))

    @property
    def name(self) -> str:
        """The split and its parameters as they are typed: ``doubles[seed=1]``."""
        shown = ",".join(f"{k}={v}" for k, v in sorted(self.params.items()))
        return f"{self.split}[{shown}]" if shown else self.split

    def to_dict(self) -> dict[str, Any]:
        """The JSON object whose hash is the manifest's identity."""
        rows = []
        for condition, role in self._sorted:
            row: dict[str, Any] = {"condition": condition.to_dict(), "role": role}
            if condition in self.reasons:
                row["reason"] = self.reasons[condition]
            if self.subgroups.get(condition):
                row["subgroups"] = dict(self.subgroups[condition])
            rows.append(row)
        return {
            "schema": SCHEMA,
            "dataset": self.dataset,
            "data_id": self.data_id,
            "split": self.split,
            "params": dict(self.params),
            "fold": self.fold,
            "generator_version": self.generator_version,
            "conditions": rows,
            "test_cells": sorted(self.test_cells),
            "declared": dict(self.declared),
        }

    @cached_property
    def id(self) -> str:
        """sha256 of the canonical content."""
        return content_id(self.to_dict())

    def save(self, path: Path) -> None:
        """Write the manifest and its id as a JSON file that people can read and compare."""
        path.write_text(json.dumps({"id": self.id, **self.to_dict()}, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> SplitManifest:
        """Read a manifest file.

        Raises
        ------
        DataError
            If the file is not a manifest or its content does not match its id.
        """
        try:
            value = json.loads(_text(Path(path)))
            rows = [(Condition.from_dict(r["condition"]), r) for r in value["conditions"]]
            manifest = cls(
                **{name: _of(str, value[name]) for name in ("dataset", "data_id", "split", "fold")},
                params=_of(dict, value["params"]),
                generator_version=_of(int, value["generator_version"]),
                roles={c: _of(str, r["role"]) for c, r in rows},
                reasons={c: _of(str, r["reason"]) for c, r in rows if "reason" in r},
                subgroups={c: _texts(r["subgroups"]) for c, r in rows if "subgroups" in r},
                test_cells=tuple(_of(str, cell) for cell in _of(list, value["test_cells"])),
                declared=_texts(value["declared"]),
            )
            found = manifest.id
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, DataError) as error:
            raise DataError(
                f"{path} is not a pbench split manifest ({_said(error)}). Write one with: pbench show SPLIT --dataset NAME --out FILE"
            ) from error
        if len(manifest.roles) != len(rows):
            raise DataError(f"{path} lists a condition twice; every condition has exactly one role.")
        if unknown := sorted(set(manifest.roles.values()) - set(ROLES)):
            raise DataError(f"{path} has the unknown role {unknown[0]!r}. Known: {', '.join(ROLES)}.")
        if found != value.get("id"):
            raise DataError(f"{path} was edited: its content hashes to {found[:12]}, its id says {str(value.get('id'))[:12]!r}.")
        return manifest


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"there is no such file: {path}")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST // 2**20} MiB")
    return path.read_text(encoding="utf-8")


def _of(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:60]!r} is no {kind.__name__}")
    return value


def _texts(value: Any) -> Mapping[str, str]:
    return {name: _of(str, text) for name, text in _of(dict, value).items()}


def _said(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else repr(error)[:300]

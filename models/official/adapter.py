"""A model whose work an official implementation does, in a process of an interpreter that the user names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, ClassVar

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import TrainingFailed, UsageError
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.model import Model
from ...bench.contracts.prediction import LazyCells, Prediction
from ...bench.contracts.training import Profiles, TrainingData
from ..neural.held_out import seen_targets
from .exchange import names_of, read_answers, write_cells
from .foreign import interpreter, run

Array = np.ndarray[Any, Any]


class OfficialModel(Model):
    """Base of the adapters: writes the training cells, runs a script, reads predictions and holds them against what was asked.

    `fit` writes training and control cells, and the validation cells where the split has some, into a temporary folder, and has
    the script train there; `predict` runs it again. The folder goes with the model. Test cells are never written, and test
    conditions are told to the script no sooner than in `predict`.

    A subclass sets what follows and its parameters, of which `python` (path of the interpreter) is common to all; ``""`` takes
    the path from the environment variable `variable`.
    """

    #: What the row is called, the environment variable with its interpreter, and the script.
    name: ClassVar[str] = ""
    variable: ClassVar[str] = ""
    script: ClassVar[Path]
    #: Distributions whose versions are recorded.
    records: ClassVar[tuple[str, ...]] = ()
    #: Whether counts are given as log1p of counts per 10,000; other scales are given as they are.
    log1p: ClassVar[bool] = True

    python: str

    def _unfit(self, data: TrainingData) -> str | None:
        """Why the package cannot learn from a screen; None where it can."""
        return None

    def _roles(self, data: TrainingData, seed: int) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
        """Conditions to train on, and others to watch while training."""
        kept = data.perturbed.conditions
        return kept, data.validation.select(lambda c: seen_targets(c, list(kept))).conditions

    def _side_files(self, folder: Path, data: TrainingData) -> None:
        """Write what the script needs beside cells."""

    def _question(self, condition: Condition) -> dict[str, Any] | str:
        """What the script is asked beside the names of a condition, or why it cannot be asked."""
        return {}

    def fit(self, data: TrainingData, *, seed: int) -> OfficialModel:
        """Have the official implementation train.

        Raises
        ------
        UsageError
            If no interpreter is named, it lacks the package, or the package cannot learn from this kind of screen.
        TrainingFailed
            If training ends with an error; the message quotes the end of what the package wrote.
        """
        self.interpreter_ = interpreter(self.python, self.variable, self.name)
        if reason := self._unfit(data):
            raise UsageError(f"'{self.name}' cannot learn from this screen: {reason}.")
        kept, watched = self._roles(data, seed)
        if not kept:
            raise UsageError(f"'{self.name}' has no training condition that it can use.")
        self.folder_ = TemporaryDirectory(prefix="pbench-official-")
        self.genes_, self.scale_ = data.genes, "raw" if data.scale == "raw" else "log1p_1e4"
        folder = Path(self.folder_.name)
        apart = [c for c in watched if c in data.validation]
        parts = [
            ("train", data.cells, [*data.controls.conditions, *kept]),
            ("valid", data.cells, [c for c in watched if c not in data.validation]),
        ]
        if apart:
            parts.append(("valid", data.validation_cells, apart))
        self.n_cells_ = write_cells(folder / "train.h5ad", data.genes, parts, log1p=self.log1p)
        self._side_files(folder, data)
        given = "log1p_1e4" if self.log1p and data.cells.scale == "counts" else data.cells.scale
        self.task_: dict[str, Any] = {
            "params": {k: v for k, v in self.get_params().items() if k != "python"},
            "seed": derived_seed(self.name, seed),
            "given": given,
            "scale": self.scale_,
            "packages": list(self.records),
        }
        self._run(folder, "fit")
        self.versions_: dict[str, str] = json.loads((folder / "versions.json").read_text())
        return self

    def _run(self, folder: Path, step: str, **more: Any) -> None:
        (folder / "task.json").write_text(json.dumps({**self.task_, **more}))
        run(self.interpreter_, self.script, folder, step, self.name, failure=TrainingFailed)

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Have the official implementation predict, from control cells that were in training.

        Raises
        ------
        TrainingFailed
            If the script ends with an error.
        InvalidPrediction
            If what it wrote cannot be scored.
        """
        self._check_fitted("versions_")
        folder = Path(self.folder_.name)
        questions = {c: self._question(c) for c in conditions}
        absent = {c: q for c, q in questions.items() if isinstance(q, str)}
        asked = {c: q for c, q in questions.items() if not isinstance(q, str)}
        if not asked:
            return Prediction((), np.empty((0, len(self.genes_)), dtype=np.float32), scale=self.scale_, absent=absent)
        # A folder of its own for each call: cells of an earlier one may still be looked up.
        own = Path(mkdtemp(prefix="answers-", dir=folder))
        self._run(folder, "predict", answers=str(own), queries=[{**names_of(c), **more} for c, more in asked.items()])
        answers = read_answers(own, tuple(asked), self.genes_, self.scale_, self.name)
        return Prediction(
            answers.conditions,
            answers.mean,
            scale=self.scale_,
            variance=answers.variance,
            # The folder lives as long as this model, which the function below holds.
            cells=LazyCells(answers.cells, lambda c: self._cells(answers.cells[c])) if answers.cells else None,
            absent={**absent, **answers.absent},
        )

    def _cells(self, path: Path) -> Array:
        return np.load(path, allow_pickle=False)

    def diagnostics(self) -> dict[str, Any]:
        """The interpreter, the versions of its packages, and the number of cells of training and validation."""
        return {"versions": self.versions_, "python": self.interpreter_, "cells": self.n_cells_}

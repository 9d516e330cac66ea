"""Predictions that somebody brings in a file, in the place of a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..bench.contracts.condition import Condition
from ..bench.contracts.errors import UsageError
from ..bench.contracts.model import Capabilities, Model
from ..bench.contracts.prediction import LazyCells, Prediction
from ..bench.contracts.training import Profiles, TrainingData

Array = np.ndarray[Any, Any]


class Content(str):
    """The identity of prepared predictions, which also knows the folder where they lie.

    It equals the identity alone and is written to JSON as that, so that a record does not depend on where a file was kept.
    """

    folder: Path | None

    def __new__(cls, identity: str, folder: Path | None = None) -> Content:
        made = super().__new__(cls, identity)
        made.folder = folder
        return made

    def __getnewargs__(self) -> tuple[str, Path | None]:
        return str(self), self.folder


class Submission(Model):
    """Answers with predictions that were made elsewhere, as ``pbench score`` has read them from a file.

    It learns nothing. Of a condition that the file does not predict it is absent. Where the file holds cells, they are
    given one condition at a time.

    Parameters
    ----------
    content
        `Content` with the folder of the prepared predictions.
    label
        What its owner calls it; the same predictions under another label are another row of a board.
    prepared
        Identity of what was made of the content: with which truth and by which code.
    """

    capabilities = Capabilities(
        unseen_targets=True,
        unseen_contexts=True,
        unseen_times=True,
        unseen_doses=True,
        prior_knowledge=("not stated: only predictions were given",),
        pretraining_overlap="unknown",
    )
    reference = "a file of predictions"

    def __init__(self, *, content: str = "", label: str = "", prepared: str = "") -> None:
        self.content, self.label, self.prepared = content, label, prepared

    def fit(self, data: TrainingData, *, seed: int) -> Submission:
        """Find the predictions.

        Raises
        ------
        UsageError
            If there are none: they are given to ``pbench score``.
        """
        folder = getattr(self.content, "folder", None)
        if folder is None:
            raise UsageError("a submission needs its file of predictions. Type: pbench score FILE --truth DATASET")
        self.answers_ = Answers(folder)
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Look up the answer to each condition."""
        self._check_fitted("answers_")
        answers = self.answers_
        present = tuple(c for c in conditions if c in answers.rows)
        rows = [answers.rows[c] for c in present]
        variance = answers.variance
        return Prediction(
            present,
            answers.mean[rows],
            scale=answers.facts["scale"],
            variance=None if variance is None else variance[rows],
            cells=LazyCells(present, answers.cells) if answers.facts["cells"] else None,
            absent={c: "resource: not in the file of predictions" for c in conditions if c not in answers.rows},
        )


class Answers:
    """Prepared predictions in their folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = json.loads((folder / "submission.json").read_text())
        self.rows = {Condition.from_dict(c): i for i, c in enumerate(self.facts["conditions"])}

    @cached_property
    def mean(self) -> Array:
        return np.load(self.folder / "mean.npy", allow_pickle=False)

    @cached_property
    def variance(self) -> Array | None:
        path = self.folder / "variance.npy"
        return np.load(path, allow_pickle=False) if path.exists() else None

    def cells(self, condition: Condition) -> Any:
        """(m, G) float32 predicted cells of a condition; only these are read."""
        folder = self.folder.with_name(f"{self.folder.name}-cells")

        def part(name: str, a: int, b: int) -> Array:
            return np.array(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)[a:b])

        first, last = map(int, part("starts", self.rows[condition], self.rows[condition] + 2))
        if (folder / "dense.npy").exists():
            return part("dense", first, last)
        from scipy.sparse import csr_matrix

        indptr = part("indptr", first, last + 1)
        a, b = int(indptr[0]), int(indptr[-1])
        shape = (last - first, self.mean.shape[1])
        found = csr_matrix((part("data", a, b), part("indices", a, b), indptr - indptr[0]), shape=shape)
        found.sort_indices()
        return found

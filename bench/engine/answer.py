"""Ask one model: fit, predict, refuse what cannot be scored, and put the answer on the scale of the profiles."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..contracts.condition import Condition
from ..contracts.errors import LONGEST, InvalidPrediction
from ..contracts.latents import Encoding
from ..contracts.model import Capabilities, ReferenceRow
from ..contracts.prediction import Prediction
from ..contracts.training import Profiles, TrainingData
from ..contracts.truth import Truth
from .encoding import HeldOut, encode
from .spread import predicted_cells, predicted_variance

Array = np.ndarray[Any, Any]
SCALES = ("log1p_1e4", "raw", "delta", "counts")


@dataclass(frozen=True)
class Answer:
    """A model's answer to all test conditions of a split.

    Parameters
    ----------
    mean
        (n, G) float32 mean log1p in the order of the asked conditions; a row of NaN where absent.
    fallback
        (n,) bool.
    absent
        (n,) reason why a row is absent; an empty string where it is there.
    seconds
        Wall time of ``fit`` and ``predict``, and of ``encode`` where that was asked.
    variance
        (n, G) float32 predicted variance over cells, NaN where a row has none; None where the model gives none.
    cells
        Predicted cells by row; not archived.
    has_cells
        Whether the model gave cells; an answer from the archive remembers it and has them no more.
    cells_offered
        Whether control cells and test cells were there for it to make cells of.
    diagnostics
        What the model says of its training, for the run card.
    encoding
        What it says of the latent variables of held-out cells, where that was asked.
    """

    mean: Array
    fallback: Array
    absent: Array
    seconds: Mapping[str, float]
    variance: Array | None = None
    cells: Mapping[int, Any] = field(default_factory=dict)
    has_cells: bool = False
    cells_offered: bool = False
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    encoding: Encoding | None = None


#: Why nothing is predicted where only latent variables were asked for.
NOT_ASKED = "not asked: this run scores latent variables only"


def ask(
    model: Any,
    data: TrainingData,
    truth: Truth,
    *,
    seed: int,
    spread: bool = True,
    predict: bool = True,
    held_out: HeldOut | None = None,
) -> Answer:
    """Fit `model`, predict the test conditions that it can answer, and check what comes back.

    Parameters
    ----------
    spread
        Whether predicted cells, and variances that follow from them, are looked at.
    predict
        Whether conditions are asked for at all.
    held_out
        Cells to encode, where the model encodes.

    Raises
    ------
    InvalidPrediction
        If the answer cannot be scored: wrong genes, wrong shape, NaN, a condition that nobody asked for, or one that is
        neither predicted nor declared absent.
    """
    asked = truth.conditions
    capabilities: Capabilities = getattr(model, "capabilities", Capabilities())
    refused = {c: capabilities.refusal(c, data.perturbed.conditions) if predict else NOT_ASKED for c in asked}
    queries = tuple(c for c in asked if refused[c] is None)
    start = time.perf_counter()
    if isinstance(model, ReferenceRow):
        fitted = model.fit(data, seed=seed, truth=truth)
    else:
        fitted = model.fit(data, seed=seed)
    fit_seconds = time.perf_counter() - start
    if fitted is not model:
        raise InvalidPrediction("fit must return the model itself (end it with: return self).")
    start = time.perf_counter()
    # A copy: whatever a model does to the controls that it is given, the truth keeps its own.
    prediction = model.predict(queries, _copied(truth.controls)) if queries else Prediction((), np.empty((0, len(data.genes))))
    seconds = {"fit": fit_seconds, "predict": time.perf_counter() - start}
    encoding = None
    if held_out is not None and hasattr(model, "encode"):
        start = time.perf_counter()
        encoding = encode(model, held_out)
        seconds["encode"] = time.perf_counter() - start
    mean, fallback = checked(prediction, queries, data.genes, truth.controls)
    row_of = {c: i for i, c in enumerate(prediction.conditions)}
    out = np.full((len(asked), len(data.genes)), np.nan, dtype=np.float32)
    fallbacks = np.zeros(len(asked), dtype=bool)
    absent = np.full(len(asked), "", dtype=object)
    for i, condition in enumerate(asked):
        if condition in row_of:
            out[i], fallbacks[i] = mean[row_of[condition]], fallback[row_of[condition]]
        else:
            absent[i] = refused[condition] or str(prediction.absent[condition])[:LONGEST] or "the model gave no reason"
    cells = predicted_cells(prediction, asked, data.genes) if spread else {}
    variance = predicted_variance(prediction, asked, data.genes, cells)
    return Answer(
        out,
        fallbacks,
        absent,
        seconds,
        variance,
        cells,
        has_cells=bool(prediction.cells),
        cells_offered=data.load_controls is not None,
        diagnostics=model.diagnostics() if hasattr(model, "diagnostics") else {},
        encoding=encoding,
    )


def _copied(profiles: Profiles) -> Profiles:
    return Profiles(profiles.conditions, profiles.mean.copy(), profiles.var.copy(), profiles.n_cells.copy())


def checked(prediction: Prediction, queries: Sequence[Condition], genes: Array, controls: Profiles) -> tuple[Array, Array]:
    """Mean (n, G) on the scale of the profiles and fallback mask (n,) of a prediction that holds what was asked.

    Raises
    ------
    InvalidPrediction
        In plain words, what is wrong.
    """
    if not isinstance(prediction, Prediction):
        raise InvalidPrediction(f"predict must return a pbench.Prediction, not {type(prediction).__name__}.")
    conditions = tuple(prediction.conditions)
    known = set(queries)
    if strange := [c for c in conditions if c not in known]:
        raise InvalidPrediction(f"predict returned {strange[0].key!r}, which was not asked for.")
    if len(set(conditions)) != len(conditions):
        raise InvalidPrediction("predict returned a condition twice.")
    silent = [c for c in queries if c not in set(conditions) and c not in prediction.absent]
    if silent:
        raise InvalidPrediction(
            f"predict left out {len(silent)} of {len(queries)} conditions without a reason (first: {silent[0].key!r}); "
            "name them in Prediction.absent."
        )
    mean = np.asarray(prediction.mean, dtype=np.float64)
    if mean.ndim != 2 or mean.shape[0] != len(conditions):
        raise InvalidPrediction(
            f"predicted mean has shape {mean.shape}; {len(conditions)} conditions x {len(genes)} genes were expected."
        )
    mean = _by_gene(mean, prediction.genes, genes)
    # Beyond half of what float32 holds, the conversion to the scale of the profiles would not be finite.
    finite = np.abs(mean) < np.finfo(np.float32).max / 2
    if not finite.all():
        rows = np.flatnonzero(~finite.all(axis=1))
        raise InvalidPrediction(
            f"predicted mean holds NaN or infinite values in {len(rows)} of {len(conditions)} rows (first: {conditions[rows[0]].key!r})."
        )
    if prediction.scale not in SCALES:
        raise InvalidPrediction(f"predicted scale {prediction.scale!r} is unknown; use one of {', '.join(SCALES)}.")
    if prediction.scale == "delta":
        mean = mean + controls.control_mean(conditions)
    elif prediction.scale == "counts":
        if (mean < 0).any():
            raise InvalidPrediction("predicted counts are negative.")
        mean = np.log1p(mean)
    fallback = (
        np.zeros(len(conditions), dtype=bool) if prediction.fallback is None else np.asarray(prediction.fallback, dtype=bool)
    )
    if fallback.shape != (len(conditions),):
        raise InvalidPrediction(
            f"the fallback mask has shape {fallback.shape}; one value for each of {len(conditions)} conditions was expected."
        )
    return mean, fallback


def _by_gene(mean: Array, given: Array | None, genes: Array) -> Array:
    if given is None:
        if mean.shape[1] != len(genes):
            raise InvalidPrediction(f"predicted mean has {mean.shape[1]} genes; the screen has {len(genes)}.")
        return mean
    position = {str(g): i for i, g in enumerate(given)}
    if len(position) != mean.shape[1]:
        raise InvalidPrediction(f"Prediction.genes names {len(position)} distinct genes for {mean.shape[1]} columns.")
    if missing := [str(g) for g in genes if str(g) not in position]:
        raise InvalidPrediction(f"predicted mean lacks {len(missing)} of {len(genes)} genes (first: {missing[0]}).")
    return mean[:, [position[str(g)] for g in genes]]

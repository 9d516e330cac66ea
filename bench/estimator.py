"""A registered model as a scikit-learn estimator: fit on an AnnData, predict perturbations by label, score by a named metric."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from .cli.progress import Silent
from .cli.requests import parse_metrics, split_requests
from .contracts import registry
from .contracts.condition import Condition
from .contracts.errors import NotFitted, UsageError
from .contracts.model import build, parameters
from .contracts.screen import Screen
from .contracts.split import SplitManifest
from .engine.execute import execute_here
from .engine.plan import Request
from .engine.run import Matrix, run_matrix
from .engine.stage import make_splits
from .evaluate import ARGUMENTS, evaluate, held_dataset, listed, tabulated
from .fitted import Fitted, learned, predicting
from .workspace import cache_in, spoken, workspace

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from .engine.stage import DatasetRequest

Array = np.ndarray[Any, Any]
#: As in the table of arguments of `evaluate`, but for those that have another name here.
SPOKEN = ARGUMENTS | {"scale": "scale", "metrics": "metric", "resource": "resources", "prediction-scale": "scale"}
NESTED = "model__"


class PerturbationPredictor(BaseEstimator):
    """A model of the registry, plugins included, with the manners of scikit-learn.

    Parameters
    ----------
    model
        Registered name, such as ``additive`` or ``cpa+anchor``. Type ``pbench list models``.
    params
        Parameters of the model that differ from their defaults. Each is also a parameter of the estimator under ``model__NAME``, for
        ``set_params`` and grids.
    preset
        Named parameters of the model: ``quick``, ``standard``, ``paper``.
    scale
        What X holds: ``counts``, ``log1p_1e4`` or ``raw``; declared, never guessed.
    perturbation_key, control_label, separator, context_key, dose_key, time_key, layer
        How the AnnData says what was done to each cell; as for `evaluate`.
    seed
        Of the model.
    metric
        What `score` returns, by its id.
    resources
        Files with side information by name, such as ``{"go": "annotations.tsv"}``.

    Attributes
    ----------
    fitted_
        The model that has learned, with ``genes``, ``trained_on`` and ``controls``.

    Examples
    --------
    >>> PerturbationPredictor("ridge-pca", scale="counts").set_params(model__ridge=10.0).params
    {'ridge': 10.0}
    """

    def __init__(
        self,
        model: str = "additive",
        *,
        params: dict[str, Any] | None = None,
        preset: str = "standard",
        scale: str | None = None,
        perturbation_key: str = "perturbation",
        control_label: str = "control",
        separator: str | None = "+",
        context_key: str | None = None,
        dose_key: str | None = None,
        time_key: str | None = None,
        layer: str | None = None,
        seed: int = 0,
        metric: str = "l2@all",
        resources: dict[str, str] | None = None,
    ) -> None:
        self.model = model
        self.params = params
        self.preset = preset
        self.scale = scale
        self.perturbation_key = perturbation_key
        self.control_label = control_label
        self.separator = separator
        self.context_key = context_key
        self.dose_key = dose_key
        self.time_key = time_key
        self.layer = layer
        self.seed = seed
        self.metric = metric
        self.resources = resources

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; with `deep` those of the model too, as ``model__NAME``."""
        found: dict[str, Any] = super().get_params(deep=False)
        if deep and self.model in registry.models:
            cls: Any = registry.models.get(self.model)
            presets: Mapping[str, Mapping[str, Any]] = getattr(cls, "presets", {})
            own = {**parameters(cls), **presets.get(self.preset, {}), **(self.params or {})}
            found |= {f"{NESTED}{name}": value for name, value in own.items()}
        return found

    def set_params(self, **given: Any) -> Self:
        """Set parameters, those of the model as ``model__NAME``.

        Raises
        ------
        UsageError
            If the model has no such parameter.
        """
        super().set_params(**{name: value for name, value in given.items() if not name.startswith(NESTED)})
        nested = {name.removeprefix(NESTED): value for name, value in given.items() if name.startswith(NESTED)}
        if nested:
            build(registry.models.get(self.model), nested, name=self.model)
            self.params = {**(self.params or {}), **nested}
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fitted_")

    def fit(self, X: AnnData, y: None = None) -> Self:
        """Learn from all perturbed cells of an AnnData and its controls; a second call forgets the first.

        Raises
        ------
        UsageError
            If the model, a parameter or a column does not exist, or if the model predicts nothing or needs test cells.
        DataError
            If the values are not what was declared, or side information is missing.
        """
        scratch = TemporaryDirectory(prefix="pbench-")
        with spoken(SPOKEN), cache_in(Path(scratch.name) / "cache"):
            predicting(self.model)
            held = self._held(X, Path(scratch.name))
            self.fitted_ = learned(self.model, self.params or {}, self.preset, self.seed, self.resources or {}, held, scratch)
        return self

    def predict(self, X: Iterable[str | Condition] | AnnData) -> AnnData:
        """Predicted mean expression of perturbations.

        Parameters
        ----------
        X
            Labels as in the column of perturbations, or `Condition` objects where contexts, doses or times differ; of an AnnData its
            perturbed conditions are asked for.

        Returns
        -------
        AnnData (conditions, G) with a row for each, in the order of asking: X is the mean of log1p counts per 10,000 (or on the raw
        scale). A condition that the model cannot answer is NaN throughout, with the reason in ``obs["absent"]``. ``obs["fallback"]``
        marks answers with something simpler than the model. ``.to_df()`` makes it a frame.

        Raises
        ------
        NotFitted
            Before `fit`.
        UsageError
            If a label is none, is that of controls, or leaves open which context, dose or time is meant.
        InvalidPrediction
            If the model breaks its contract.
        """
        if not hasattr(self, "fitted_"):
            raise NotFitted("this PerturbationPredictor is not fitted; call fit(adata) before predict.")
        return self.fitted_.answers(self._asked(X, self.fitted_), separator=self.separator)

    def score(self, X: AnnData, y: None = None, *, metric: str | None = None, partial: bool = False) -> float:
        """The mean of a metric over the perturbations of an AnnData; higher is better, as scikit-learn wants it.

        Of a metric that is an error it is the negative mean; of one with a target value minus the mean distance to it. With several
        contexts it is the mean of their means. Changes are measured against the controls in `X`. Perturbations with fewer than 12 cells
        are not scored.

        Parameters
        ----------
        metric
            Id; by default that of the constructor. Metrics that look at the training mean are undefined here: use `cross_validate`.
        partial
            Also where some perturbations have no value. By default the score is then NaN, with a warning that says why: a mean over
            what a model chose to answer is not comparable.

        Raises
        ------
        UsageError
            If the metric does not exist, or is defined for none of the perturbations.
        """
        rows = self._rows(X, metric or self.metric)
        info = registry.metrics.get(rows["metric"].iloc[0])
        value = rows["value"].astype(float)
        reasons = "; ".join(dict.fromkeys(str(r) for r in rows["reason"] if r))
        if value.isna().all():
            raise UsageError(f"{info.id} is undefined for all {len(rows)} perturbations: {reasons}.")
        if value.isna().any() and not partial:
            warnings.warn(
                f"{info.id} has no value for {int(value.isna().sum())} of {len(rows)} perturbations ({reasons}), so the score is "
                "NaN; score(..., partial=True) takes the mean of the others.",
                stacklevel=2,
            )
            return float("nan")
        better = value if info.direction == "up" else -value if info.direction == "down" else -(value - info.perfect).abs()
        return float(better.groupby(rows["context"].fillna("").to_numpy()).mean().mean())

    def _rows(self, X: AnnData, metric: str) -> pd.DataFrame:
        import pandas as pd
        from anndata import AnnData

        predicted = self.predict(X)
        about: Any = predicted.obs
        answered = (about["absent"] == "").to_numpy()
        reasons = [r for r in about["absent"] if r]
        if not answered.any():
            raise UsageError(f"the model answers none of the {len(reasons)} perturbations: {reasons[0]}.")
        keys = {name: getattr(self, name) for name in ("perturbation_key", "context_key", "dose_key", "time_key")}
        renamed = {name.removesuffix("_key"): key for name, key in keys.items() if key is not None}
        obs = about.loc[answered, list(renamed)].rename(columns=renamed)
        found = evaluate(
            X,
            AnnData(np.asarray(predicted.X)[answered], obs=obs, var=pd.DataFrame(index=self.fitted_.genes)),
            true_scale=self._declared(),
            pred_scale=self.fitted_.scale,
            control_label=self.control_label,
            separator=self.separator,
            layer=self.layer,
            rows="means",
            metrics=metric,
            baselines=False,
            **keys,
        )
        told = dict(zip(about["perturbation"], about["absent"], strict=True))
        missing = found["status"] == "unavailable"
        found.loc[missing, "reason"] = [told.get(p) or reasons[0] for p in found.loc[missing, "perturbation"]]
        return found

    def cross_validate(
        self,
        X: AnnData,
        *,
        split: str = "unseen-single",
        metrics: str | Sequence[str] | None = None,
        baselines: Sequence[str] = (),
    ) -> pd.DataFrame:
        """Fit and score on every fold of a registered split, as ``pbench run`` does; the numbers are the same.

        Parameters
        ----------
        split
            Name with parameters: ``unseen-single[folds=3]``, ``doubles``, ``unseen-context`` …
        metrics
            A profile or ids; by default the metric of the constructor.
        baselines
            Models to set beside it, such as ``["additive", "no-change"]``.

        Returns
        -------
        The tidy frame of `evaluate`.
        """
        with spoken(SPOKEN), workspace() as folder:
            predicting(self.model)
            matrix = Matrix(
                models=[Request(self.model, dict(self.params or {})), *map(Request, baselines)],
                datasets=[self._held(X, folder)],
                splits=split_requests(split),
                seeds=(self.seed,),
                metrics=parse_metrics(listed(self.metric if metrics is None else metrics)),
                out=folder / "results",
                preset=self.preset,
                resources=self.resources or {},
            )
            return tabulated(run_matrix(matrix, Silent(), execute=execute_here), matrix.out, ())

    def folds(self, X: AnnData, *, split: str = "unseen-single") -> list[tuple[Array, Array]]:
        """Rows of training and of test cells for each fold of a registered split, for ``cv=`` of scikit-learn.

        Control cells are in both: they are in training and are the reference of the truth. Conditions that the split sets aside for
        validation train.
        """
        with spoken(SPOKEN), workspace() as folder:
            dataset = self._held(X, folder).dataset()
            wanted, *more = split_requests(split)
            if more or isinstance(wanted, Path):
                raise UsageError(f"split={split!r}: name one registered split, such as 'unseen-single[folds=3]'.")
            screen = dataset.load()
            return list(_rows_of(make_splits(wanted, screen, dataset.data_id()), screen))

    def _declared(self) -> str:
        if self.scale is None:
            raise UsageError("say what X holds with scale='counts', 'log1p_1e4' or 'raw'; it is never guessed.")
        return self.scale

    def _held(self, adata: AnnData, folder: Path) -> DatasetRequest:
        names = ("perturbation_key", "control_label", "separator", "context_key", "dose_key", "time_key")
        options = {"scale": self._declared(), **{name: getattr(self, name) for name in names}}
        return held_dataset(adata, folder / "adata.h5ad", options, self.layer)

    def _asked(self, X: Any, fitted: Fitted) -> list[Condition]:
        if hasattr(X, "obs"):
            with spoken(SPOKEN), workspace() as folder:
                return list(self._held(X, folder).dataset().load().perturbed)
        if isinstance(X, str | Condition):
            raise UsageError(f"predict takes a list of perturbations; write predict([{X!r}]).")
        said: dict[str, Any] = {"separator": self.separator, "control_label": self.control_label, "doses": bool(self.dose_key)}
        return [c if isinstance(c, Condition) else fitted.condition(str(c), **said) for c in X]


def _rows_of(manifests: Sequence[SplitManifest], screen: Screen) -> Iterator[tuple[Array, Array]]:
    control = np.array([c.is_control for c in screen.conditions])[screen.codes]
    for manifest in manifests:
        role = np.array([manifest.roles.get(c, "") for c in screen.conditions])[screen.codes]
        held_out = role == "test"
        if manifest.test_cells:
            held_out &= np.isin(screen.barcodes, np.asarray(manifest.test_cells, dtype=str))
        train = np.isin(role, ["train", "validation"]) | control | ((role == "test") & ~held_out)
        yield np.flatnonzero(train), np.flatnonzero(held_out | control)

"""Networks that generate perturbed cells, and what fits and asks them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.model import Capabilities
from ...bench.contracts.prediction import LazyCells, Prediction
from ...bench.contracts.training import Cells, Profiles, TrainingData
from .cell_model import CONTROLS, SCORED, CellModel
from .condition_codes import ConditionCodes
from .held_out import held_out, mean_error

if TYPE_CHECKING:
    import torch

    from .expression import Expression
    from .fitting import Settings

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scene:
    """What a network is made for.

    Parameters
    ----------
    n_genes, n_targets, n_covariates, n_conditions, n_cells
        Sizes; cells are those trained on, conditions those that `Batch.codes` counts, controls included.
    kind
        ``normal`` or ``counts``, of `ExpressionHead`.
    mean, variance
        (G,) of the training cells on the scale of the likelihood: shares of the total for counts, values for normal.
    told, covariates
        (n_conditions, n_targets) and (n_conditions, n_covariates) tensors, indexed by ``Batch.codes``.
    """

    n_genes: int
    n_targets: int
    n_covariates: int
    n_conditions: int
    n_cells: int
    kind: str
    mean: Array
    variance: Array
    told: torch.Tensor
    covariates: torch.Tensor


class CellGenerator(CellModel):
    """Base of models that generate the cells of a condition from control cells.

    A subclass makes the network in `_network`, a module with two methods, and a third where it has latents:

    - ``loss(batch)``: the mean loss of a `Batch`, whose codes index ``scene.told`` and ``scene.covariates``;
    - ``imagine(cells, depth, told, covariates)``: an `Expression` for control cells (n, G) as if perturbed, told (n, k);
    - ``latents(cells, told, covariates)``: named latent means, such as ``basal``.

    Predicted means and variances are exact over the noise of the likelihood and averages over at most 300 control cells.
    Cells are drawn when they are looked up, the same ones each time.
    """

    capabilities = Capabilities(needs_cells=True, stochastic=True, packages=("torch",), imports=("torch", "numba"))

    likelihood: str
    #: Whether control cells are trained on as cells of a condition without targets, and whether batches hold partners.
    trains_on_controls = True
    partners = False
    #: Whether some perturbations are left out of training to stop early by.
    watches = True
    #: Conditions in a batch, where a batch holds pieces of a few; None for cells at random.
    groups: int | None = None

    @abstractmethod
    def _network(self, scene: Scene) -> Any:
        """The module."""

    def _step(self, network: Any, settings: Settings) -> tuple[Callable[[Any], float], Callable[[int], None]]:
        """What is done for a batch, and at the beginning of an epoch."""
        from .fitting import Descent

        descent = Descent(network, network.loss, settings)

        def at_epoch(epoch: int) -> None:
            descent.at_epoch(epoch)
            if hasattr(network, "at_epoch"):
                network.at_epoch(epoch, settings.epochs)

        return descent, at_epoch

    def fit(self, data: TrainingData, *, seed: int) -> CellGenerator:
        """Train on cells, watching perturbations that are left out of training.

        Raises
        ------
        TrainingFailed
            If the loss becomes NaN or infinite, or memory runs out.
        UsageError
            If the likelihood does not fit the screen.
        """
        from .cell_batches import starts
        from .fitting import device_of, seeded, train

        self.device_ = device_of(self.device)
        self.seed_, self.n_genes_, self.positive_ = seed, len(data.genes), data.scale != "raw"
        rng = np.random.default_rng(derived_seed("starts", seed))
        conditions, watched = data.perturbed.conditions, data.perturbed.select(lambda c: False)
        if self.watches:
            conditions, watched = held_out(data, seed=seed, predictable=self._predictable)
        if self.trains_on_controls:
            conditions = (*data.controls.conditions, *conditions)
        self.conditions_ = conditions
        self.codes_ = ConditionCodes.of([*data.perturbed.conditions, *data.controls.conditions])
        self.starts_ = {context: starts(data.cells, context, CONTROLS, rng) for context in self.codes_.contexts}
        settings = self._settings()
        with seeded(seed, self.device_):
            scene = self._scene(data, conditions)
            batches = self._batches(data, conditions, scene)
            self.network_ = self._network(scene).to(self.device_)
            step, at_epoch = self._step(self.network_, settings)
            score = (lambda: mean_error(self._moments(watched.conditions, SCORED)[0], watched)) if len(watched) else None
            self.history_ = train(self.network_, batches.epoch, step, settings, seed=seed, score=score, at_epoch=at_epoch)
        return self

    def _batches(self, data: TrainingData, conditions: Sequence[Condition], scene: Scene) -> Any:
        """What gives the batches of an epoch."""
        from .cell_batches import CellBatches

        return CellBatches(
            data.cells,
            conditions,
            self.batch_size,
            self.device_,
            partners=self.partners,
            counts=scene.kind == "counts",
            groups=self.groups,
        )

    def _scene(self, data: TrainingData, conditions: Sequence[Condition]) -> Scene:
        from .cell_batches import gene_totals
        from .expression import likelihood_of

        kind = likelihood_of(self.likelihood, data.cells.scale)
        known = set(conditions)
        taken = np.isin(data.cells.codes, [i for i, c in enumerate(data.cells.conditions) if c in known])
        if kind == "counts":
            mean = gene_totals(data.cells, np.flatnonzero(taken))
            mean, variance = mean / max(mean.sum(), 1), np.ones(len(data.genes))
        else:
            trained = data.profiles(conditions)
            trained = trained if len(trained) else data.controls
            mean, variance = trained.pooled_mean(), trained.pooled_variance()
        told, covariates = self._tensors(conditions)
        return Scene(
            n_genes=len(data.genes),
            n_targets=told.shape[1],
            n_covariates=covariates.shape[1],
            n_conditions=len(conditions),
            n_cells=int(taken.sum()),
            kind=kind,
            mean=mean,
            variance=variance,
            told=told,
            covariates=covariates,
        )

    def _imagined(self, condition: Condition, n: int = CONTROLS) -> Expression:
        """An `Expression` for control cells of a condition's context; the same whenever it is asked."""
        import torch

        from .fitting import seeded

        own = self.starts_[condition.context]
        cells, depth = (torch.from_numpy(a[:n]).to(self.device_) for a in (own.cells, own.depth))
        with torch.no_grad(), seeded(derived_seed("imagined", self.seed_, condition.key), self.device_):
            told, covariates = (t.expand(len(cells), -1) for t in self._tensors([condition]))
            return self.network_.imagine(cells, depth, told, covariates)

    def _moments(self, conditions: Sequence[Condition], n: int = CONTROLS) -> tuple[Array, Array]:
        moments = [self._imagined(c, n).moments() for c in conditions]
        shape = (len(conditions), self.n_genes_)
        return np.array([m for m, _ in moments]).reshape(shape), np.array([v for _, v in moments]).reshape(shape)

    def _cells(self, condition: Condition) -> Array:
        rng = np.random.default_rng(derived_seed("cells", self.seed_, condition.key))
        return self._imagined(condition).draws(rng, positive=self.positive_)

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Mean, variance and cells of each condition, from control cells of its context."""
        self._check_fitted("network_")
        known, absent = self._parted(conditions)
        mean, variance = self._moments(known)
        return Prediction(
            known,
            mean,
            fallback=np.zeros(len(known), dtype=bool),
            variance=variance,
            cells=LazyCells(known, self._cells),
            absent=absent,
        )

    def encode(self, cells: Cells) -> dict[str, Array]:
        """Latent means of cells by name, each (n, d) float32, in the order of the rows.

        Raises
        ------
        NotFitted
            If the model is not fitted.
        UsageError
            If the network is told of targets, and one of the cells was not trained on.
        """
        parts: dict[str, list[Array]] = {}
        for _, block in self.encoded_blocks(cells):
            for name, value in block.items():
                parts.setdefault(name, []).append(value)
        return {name: np.concatenate(values) for name, values in parts.items()}

    def encoded_blocks(self, cells: Cells) -> Iterator[tuple[slice, dict[str, Array]]]:
        """The same in blocks of rows, each with where it lies."""
        import torch

        from .cell_batches import profiles_of

        self._check_fitted("network_")
        told, covariates = self._tensors(cells.conditions)
        for start in range(0, len(cells.codes), self.batch_size):
            rows = slice(start, start + self.batch_size)
            X = torch.from_numpy(profiles_of(cells.X[rows], cells.scale)).to(self.device_)
            codes = torch.from_numpy(np.asarray(cells.codes[rows], dtype=np.int64)).to(self.device_)
            with torch.no_grad():
                found = self.network_.latents(X, told[codes], covariates[codes])
            yield rows, {name: value.cpu().numpy() for name, value in found.items()}

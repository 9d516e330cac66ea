"""What CITE-VAE does with its parameters: regimes, networks, codes, and what it says of targets, graph and identification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import UsageError
from ...bench.contracts.training import Cells, TrainingData
from .cell_model import CONTROLS
from .cite_clock import Clock
from .generation import CellGenerator, Scene

if TYPE_CHECKING:
    from typing import Self

    import torch

    from .cite_coder import Lens
    from .fitting import Settings

Array = np.ndarray[Any, Any]

ALIGNMENTS = ("centroid", "mmd", "random_pairs", "none")
#: What each regime can use; the first is what ``auto`` means.
TRANSITIONS = {
    "endpoint": ("deviation", "weight-variant"),
    "timed": ("deviation", "weight-variant"),
    "paired": ("mlp", "linear"),
}
#: Sizes where neither the user nor the data set says anything, and the least deviation that expression is divided by.
RESPONSIVE, INVARIANT, FLOOR = 10, 20, 0.1
#: Training cells, about, that the report and derivatives look at, and those that what is left of genes is averaged over.
SAMPLED, REBUILT = 10_000, 2000
#: Passes over the training cells, of raw values in a regime or of expression in any.
PASSES = {"paired": 300, "timed": 100, "endpoint": 100, "expression": 60}
#: Learning rate at first, on raw values and on expression.
RATES = (8e-3, 2e-3)
#: Share of training in which gates stand open.
SETTLE = 0.5


class CiteGenerator(CellGenerator):
    """Base of CITE-VAE, which has the parameters and says what they mean."""

    partners = True
    epochs: int | None  # type: ignore[assignment]
    learning_rate: float | None  # type: ignore[assignment]
    effort: float
    regime: str
    transition: str
    steps: int | None
    alignment: str
    alignment_weight: float
    gates: bool
    basis: bool
    informed: bool
    instantaneous: bool
    responsive: int | None
    invariant: int | None
    rank: int
    sparsity: float
    graph_sparsity: float
    kl_responsive: float
    kl_invariant: float
    warmup: float
    noise: float | None
    fixed_noise: bool
    width: int
    hidden: int
    mechanism_width: int
    mechanism_rate: float

    @property
    def watches(self) -> bool:  # type: ignore[override]
        """Whether perturbations are left out of training to stop early by: only where there is patience."""
        return self.patience > 0

    def _settings(self) -> Settings:
        from .fitting import Settings

        usual = PASSES["expression" if self.positive_ else self.clock_.regime]
        epochs = self.epochs or max(1, round(self.effort * usual))
        rate = self.learning_rate or RATES[self.positive_]
        return Settings(epochs, rate, self.weight_decay, self.patience, decay="cosine")

    def fit(self, data: TrainingData, *, seed: int) -> Self:
        """Learn from cells, in the regime that they allow.

        Raises
        ------
        TrainingFailed
            If the loss becomes NaN or infinite, or memory runs out.
        UsageError
            If a parameter is unknown, or asks for what the screen lacks.
        """
        self.clock_ = Clock.of(data, self.regime, self.steps)
        known = TRANSITIONS[self.clock_.regime]
        self.transition_ = known[0] if self.transition == "auto" else self.transition
        if self.transition_ not in known:
            raise UsageError(
                f"transition={self.transition!r} does not go with {self.clock_.regime} data; use auto or {' or '.join(known)}."
            )
        if self.alignment not in ALIGNMENTS:
            raise UsageError(f"alignment={self.alignment!r} is unknown; use {', '.join(ALIGNMENTS)}.")
        if self.alignment in ("centroid", "mmd") and not self.groups and self.clock_.regime != "paired":
            raise UsageError(
                f"alignment={self.alignment} needs groups, the number of conditions in a batch; use groups=8, or another alignment."
            )
        self.sizes_ = {
            "responsive": self.responsive or data.latents.get("responsive") or RESPONSIVE,
            "invariant": self.invariant or data.latents.get("invariant") or INVARIANT,
        }
        super().fit(data, seed=seed)
        self._finish(data, seed)
        return self

    def _finish(self, data: TrainingData, seed: int) -> None:
        """Where a unit begins, what features leave of genes, and codes of some training cells."""
        import torch

        from ...bench.contracts.identity import derived_seed
        from .cell_batches import profiles_of, starts
        from .sequences import units_of

        cells = data.cells
        rng = np.random.default_rng(derived_seed("cite", seed))
        if self.clock_.regime == "paired" and cells.time is not None:
            # Units are walked from the state in which control units were first seen.
            control = np.array([c.is_control for c in cells.conditions])[cells.codes]
            first = np.flatnonzero((cells.time == self.clock_.hours[0]) & control)
            if len(first):
                early = Cells(cells.X[first], cells.codes[first], cells.conditions, cells.scale)
                self.starts_ = {c: starts(early, c, CONTROLS, rng) for c in self.codes_.contexts}
        units = units_of(cells) if self.clock_.regime == "paired" else np.arange(len(cells.codes))[:, None]
        chosen = [units[i] for i in rng.permutation(len(units))[: max(1, SAMPLED * len(units) // max(len(cells.codes), SAMPLED))]]
        rows = np.concatenate(chosen)
        X: Any = cells.X[rows]  # type: ignore[index]
        unit = None if cells.unit is None else cells.unit[rows]
        sample = Cells(
            X, cells.codes[rows], cells.conditions, cells.scale, unit, None if cells.time is None else cells.time[rows]
        )
        self.sample_ = {name: value.astype(np.float64) for name, value in self.encode(sample).items()}
        self.sampled_ = tuple(cells.conditions[i] for i in sample.codes)
        lens: Lens = self.network_.lens
        if lens.projects:
            with torch.no_grad():
                z, y = (torch.from_numpy(self.sample_[n][:REBUILT]).float().to(self.device_) for n in ("responsive", "invariant"))
                rebuilt = self.network_.expression(self.network_.turned_back(z, y), y, None).mean
                x = torch.from_numpy(profiles_of(X[:REBUILT], cells.scale)).to(self.device_)
                lens.rest.copy_(((x - rebuilt) ** 2).mean(dim=0).clamp(min=1e-8))

    def _tensors(self, conditions: Sequence[Condition]) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, k) doses of targets; (n, c + 1) contexts and the step, on the device."""
        import torch

        codes = replace(self.codes_, times=(None,))
        step = np.array([[self.clock_.step(c)] for c in conditions], dtype=np.float32).reshape(-1, 1)
        covariates = np.concatenate([codes.covariates(conditions), step], axis=1)
        return torch.from_numpy(codes.multi_hot(conditions)).to(self.device_), torch.from_numpy(covariates).to(self.device_)

    def _refusal(self, condition: Condition) -> str | None:
        if not all(t in self.codes_.column for t in condition.targets) or condition.context not in self.codes_.contexts:
            return "capability: unseen target or context"
        return None if self.clock_.covers(condition) else "capability: time beyond those of training"

    def _lens(self, data: TrainingData, conditions: Sequence[Condition]) -> Lens:
        from .cite_coder import Lens

        if data.scale == "raw":
            from ..encoders.encoder import Features

            own = Features.of(data.cells)
            return Lens(own.centre, own.spread, own.axes, own.unit)
        trained = data.profiles(conditions)
        trained = trained if len(trained) else data.controls
        return Lens(trained.pooled_mean(), np.maximum(np.sqrt(trained.pooled_variance()), FLOOR))

    def _scene(self, data: TrainingData, conditions: Sequence[Condition]) -> Scene:
        self.lens_ = self._lens(data, conditions)
        return super()._scene(data, conditions)

    def _batches(self, data: TrainingData, conditions: Sequence[Condition], scene: Scene) -> Any:
        if self.clock_.regime != "paired":
            return super()._batches(data, conditions, scene)
        from .sequences import SequenceBatches

        return SequenceBatches(data.cells, conditions, self.batch_size, self.device_, counts=scene.kind == "counts")

    def _network(self, scene: Scene) -> Any:
        from .cite_coder import Shape
        from .cite_snapshot import SnapshotNetwork, Terms

        # Raw simulations and images are nearly noise-free, expression is not.
        noise = self.noise or (1.0 if self.lens_.projects or self.positive_ else 0.1)
        shape = Shape(
            self.sizes_["responsive"], self.sizes_["invariant"], self.width, self.hidden, self.basis, noise, self.fixed_noise
        )
        terms = Terms(
            self.kl_responsive,
            self.kl_invariant,
            self.alignment_weight,
            self.alignment,
            self.sparsity,
            self.graph_sparsity,
            self.warmup,
            SETTLE,
        )
        lens = self.lens_
        if self.clock_.regime == "paired":
            from .cite_paired import PairedNetwork

            return PairedNetwork(
                scene,
                shape,
                lens,
                terms,
                transition=self.transition_,
                gates=self.gates,
                instantaneous=self.instantaneous,
                memory=self.steps != 1,
            )
        return SnapshotNetwork(
            scene,
            shape,
            lens,
            terms,
            informed=self.informed,
            transition=self.transition_,
            steps=self.clock_.steps,
            rank=self.rank,
            gates=self.gates,
            mechanism_width=self.mechanism_width,
        )

    def _step(self, network: Any, settings: Settings) -> tuple[Callable[[Any], float], Callable[[int], None]]:
        from .cite_descent import RatedDescent

        descent = RatedDescent(network, network.loss, settings, network.mechanisms_of(), self.mechanism_rate)

        def at_epoch(epoch: int) -> None:
            descent.at_epoch(epoch)
            network.at_epoch(epoch, settings.epochs)

        return descent, at_epoch

    def encode(self, cells: Cells) -> dict[str, Array]:
        """Posterior means ``responsive`` (n, d) and ``invariant`` (n, e) float32, in the order of the rows.

        Where units are seen several times, the invariant code of a cell pools all frames of its unit among `cells`.
        """
        self._check_fitted("network_")
        if self.clock_.regime != "paired":
            return super().encode(cells)
        import torch

        from .cell_batches import profiles_of
        from .sequences import units_of

        n = len(cells.codes)
        out = {name: np.empty((n, size), dtype=np.float32) for name, size in self.sizes_.items()}
        units = units_of(cells)
        with torch.no_grad():
            for length in sorted({len(u) for u in units}):
                own = np.array([u for u in units if len(u) == length])
                size = max(1, self.batch_size // length)
                for start in range(0, len(own), size):
                    rows = own[start : start + size]
                    X = torch.from_numpy(profiles_of(cells.X[rows.ravel()], cells.scale))  # type: ignore[index]
                    for name, value in self.network_.unit_latents(X.view(*rows.shape, -1).to(self.device_)).items():
                        out[name][rows.ravel()] = value.flatten(0, 1).cpu().numpy()
        return out

    def targets(self) -> dict[str, Array]:
        """(d,) strength with which each target acts on each responsive code: the probability of its gate times the size of its edit."""
        import torch

        self._check_fitted("network_")
        with torch.no_grad():
            sizes = self.network_.sizes().double().cpu().numpy()
        return dict(zip(self.codes_.targets, sizes, strict=True))

    def graph(self) -> Array:
        """(d, d) strength with which the responsive code of the column causes that of the row, in units of standard deviations.

        The larger of the effect one step earlier and in the same instant. Of snapshots neither is identified: see the report.
        """
        import torch

        self._check_fitted("network_")
        z = self.sample_["responsive"]
        with torch.no_grad():
            effects = self.network_.effects(torch.from_numpy(z).float().to(self.device_)).max(dim=0).values.double().cpu().numpy()
        if self.clock_.regime != "paired":
            return effects
        spread = np.maximum(z.std(axis=0), 1e-12)
        return effects * spread / spread[:, None]

    def identifiability_report(self) -> dict[str, Any]:
        """What can be checked, without the truth, of the conditions under which the codes are identified, as JSON values.

        See `report` in ``models/neural/identifiability_report.py``. An environment is a perturbation at a time.

        Raises
        ------
        NotFitted
            If the model is not fitted.
        """
        import torch

        from .identifiability_report import report

        self._check_fitted("network_")
        seen = sorted({c for c in self.sampled_ if not c.is_control}, key=lambda c: c.key)
        number = {c: i for i, c in enumerate(seen, start=1)}
        environment = np.array([number.get(c, 0) for c in self.sampled_])
        with torch.no_grad():
            incoming = self.network_.incoming(*self._tensors([Condition(context=self.codes_.contexts[0]), *seen])).cpu().numpy()
        return report(
            self.sample_["responsive"],
            self.sample_["invariant"],
            environment,
            ["control", *(c.key for c in seen)],
            incoming,
            regime=self.clock_.regime,
            seed=self.seed_,
        )

    def diagnostics(self) -> dict[str, Any]:
        """Epochs, losses and speed of training, the regime, and what of the report are single numbers."""
        own = self.identifiability_report()
        return {
            **super().diagnostics(),
            "regime": self.clock_.regime,
            "transition": self.transition_,
            "steps": self.clock_.steps,
            **{name: own[name] for name in ("environments", "needed", "effective_rank", "leakage")},
            "collapsed": sum(own["collapsed"].values()),
        }

"""The model contract: keyword-only parameters that are only stored, ``fit`` that returns self, ``predict``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .condition import Condition
from .errors import NotFitted, UsageError, suggestion
from .prediction import Prediction

if TYPE_CHECKING:
    from typing import Self

    from .training import Profiles, TrainingData
    from .truth import Truth


@dataclass(frozen=True)
class Capabilities:
    """What a model can be asked, and what it brings along. A query outside is absent with a reason, never zero.

    Parameters
    ----------
    unseen_targets
        Predicts targets that were in no training condition.
    max_targets
        Largest number of targets in one query; None means any.
    unseen_contexts
        Predicts in a context that has control cells but no perturbed training cells.
    unseen_times, unseen_doses
        Extrapolates to a time or dose that was not in training.
    needs_cells
        `fit` reads cells; without it only profiles are loaded, which is far faster.
    needs_pairs
        `fit` reads the same units at several times; on snapshots, where no cell is seen twice, the model is not available.
    predicts
        False for a model that only encodes: no condition is asked of it.
    claim
        Up to what it claims to find latent variables, under its assumptions: ``permutation`` (and scale), ``affine``,
        ``orthogonal``, ``block``, or nothing. It is scored by it.
    stochastic
        Depends on the seed; deterministic models run once whatever `--seeds` says.
    resources
        Names of side information it reads (`TrainingData.resources`), each required.
    prior_knowledge
        Plain words for what it knows beyond the screen, for the leaderboard.
    pretraining_overlap
        ``no``, ``yes`` or ``unknown``: whether anything it was pretrained on contains the test cells.
    packages
        Distributions whose version changes its numbers, beside numpy and scipy.
    imports
        Slow modules that `fit` and `predict` import; a run imports them once for all its jobs.
    cpus, gpus
        Cores and GPUs, also parts of one, that a job asks a cluster for; on this machine nothing is counted.
    memory_mb
        Memory in MB of 2^20 bytes that it asks for; 0 asks for what ``--memory`` allows, or for nothing.
    """

    unseen_targets: bool = False
    max_targets: int | None = None
    unseen_contexts: bool = False
    unseen_times: bool = False
    unseen_doses: bool = False
    needs_cells: bool = False
    needs_pairs: bool = False
    predicts: bool = True
    claim: str = ""
    stochastic: bool = False
    resources: tuple[str, ...] = ()
    prior_knowledge: tuple[str, ...] = ()
    pretraining_overlap: str = "no"
    packages: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    cpus: float = 1
    gpus: float = 0
    memory_mb: float = 0

    def refusal(self, condition: Condition, train: Sequence[Condition]) -> str | None:
        """Why `condition` lies outside these capabilities given the training conditions; None where it does not."""
        if not self.predicts:
            return "capability: encodes only"
        if self.max_targets is not None and len(condition.targets) > self.max_targets:
            return f"capability: at most {self.max_targets} target(s)"
        if not self.unseen_targets:
            seen = {t for c in train for t in c.targets}
            if missing := [t for t in condition.targets if t not in seen]:
                return f"capability: unseen target {missing[0]}"
        if not self.unseen_contexts and condition.context not in {c.context for c in train}:
            return f"capability: unseen context {condition.context}"
        if not self.unseen_times and condition.time not in {c.time for c in train}:
            return f"capability: unseen time {condition.time}"
        if not self.unseen_doses and condition.doses:
            seen_doses = {(t, d) for c in train for t, d in zip(c.targets, c.doses, strict=False)}
            if any(pair not in seen_doses for pair in zip(condition.targets, condition.doses, strict=True)):
                return "capability: unseen dose"
        return None


class Model:
    """Base of all models; a plugin may inherit from it or only look like it.

    A subclass sets `capabilities`, stores its keyword-only parameters unchanged in ``__init__``, learns in `fit`
    (learned attributes end in an underscore) and answers in `predict`.

    Where there are such things, ``encode(cells)`` returns latent means of `Cells` by name, each (n, m) in the order of the rows:
    ``responsive``, which perturbations act on, and ``invariant``, which they leave alone, or ``latent`` where the two are not told
    apart. ``targets()`` returns (m,) strengths with which each target acts on the responsive (or latent) codes, by target, and
    ``graph()`` (m, m) strengths of direct causes, from the code of the column to that of the row.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()
    #: Named parameter sets for ``--preset``; every model has "standard", which is its defaults.
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    #: Reference for what is computed: paper, equation or implementation.
    reference: ClassVar[str] = ""
    #: Whether this is a control that metrics are calibrated with: every metric is then also scored on the second halves of
    #: the test cells, where duplicates made of the first halves are scored, so that both meet the same noise.
    calibrates: ClassVar[bool] = False

    def fit(self, data: TrainingData, *, seed: int) -> Self:
        """Learn from `data`; a second call forgets the first.

        Parameters
        ----------
        data
            Profiles of the training conditions and of the controls, each (n, G), and cells (m, G) where ``needs_cells=True`` is
            declared. Nothing of the test conditions is in it.
        seed
            The one source of randomness: the same seed and data give the same model.

        Returns
        -------
        self

        Raises
        ------
        TrainingFailed
            Where training cannot go on; the row of the board has the message as its reason, and other jobs go on.
        """
        raise TypeError(f"{type(self).__name__} defines no fit(data, *, seed)")

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """Predict expression under some conditions.

        Parameters
        ----------
        conditions
            What is asked: conditions within `capabilities`, in any order.
        controls
            Control profiles (k, G), a row for each context that is asked for.

        Returns
        -------
        Prediction
            Means (n, G) of log1p expression, genes in the order of the training data. A condition that cannot be answered is
            left out, with a reason in ``absent``; it is never zero.

        Raises
        ------
        NotFitted
            Before `fit`.
        """
        raise TypeError(f"{type(self).__name__} defines no predict(conditions, controls)")

    def diagnostics(self) -> dict[str, Any]:
        """What is worth knowing of the last `fit`, as JSON values for the run card: epochs, losses, speed."""
        return {}

    def get_params(self) -> dict[str, Any]:
        """Constructor parameters and their values."""
        return {name: getattr(self, name) for name in parameters(type(self))}

    def _check_fitted(self, attribute: str) -> None:
        if not hasattr(self, attribute):
            raise NotFitted(f"{type(self).__name__} is not fitted; call fit(data, seed=…) before predict.")


class ReferenceRow(Model):
    """A row that makes the others readable and does not compete: a ceiling or a floor made from test cells.

    `fit` additionally gets the truth. `scored_against` is ``"all"`` test cells or ``"half"``: the half of each
    condition's cells that the row did not look at.
    """

    scored_against: ClassVar[str] = "all"

    def fit(self, data: TrainingData, *, seed: int, truth: Truth) -> Self:  # type: ignore[override]
        """Learn from `data` and from the truth, which no model sees."""
        raise TypeError(f"{type(self).__name__} defines no fit(data, *, seed, truth)")


def parameters(cls: type) -> dict[str, Any]:
    """Constructor parameters of a model class with their defaults."""
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {n: p.default for n, p in signature.parameters.items() if n != "self" and p.kind in kinds}


def build(cls: type[Any], params: dict[str, Any], *, name: str, preset: str = "standard") -> Any:
    """Instantiate a model class with a preset's parameters and explicit `params` over them.

    Raises
    ------
    UsageError
        If a parameter or the preset does not exist, naming those that do.
    """
    known = parameters(cls)
    presets = {"standard": {}, "quick": {}, **getattr(cls, "presets", {})}
    if preset not in presets:
        raise UsageError(f"model '{name}' has no preset '{preset}'. {suggestion(preset, presets)}")
    for key in params:
        if key not in known:
            raise UsageError(f"model '{name}' has no parameter '{key}'. {suggestion(key, known)}")
    # A parameter whose values are names can have the name "none", which a command line reads as nothing.
    named = {key: "none" for key, value in params.items() if value is None and isinstance(known[key], str)}
    return cls(**{**presets[preset], **params, **named})

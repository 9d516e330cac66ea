"""Reference rows of the identifiability track: what noise, labels and the true latent variables themselves score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...bench.contracts.condition import Condition, parse_label
from ...bench.contracts.errors import UsageError
from ...bench.contracts.identity import derived_seed
from ...bench.contracts.latents import BLOCKS, GroundTruth
from ...bench.contracts.model import Capabilities, ReferenceRow
from ...bench.contracts.prediction import Prediction
from ...bench.contracts.training import Cells, Profiles, TrainingData
from ...bench.contracts.truth import Truth
from .encoder import Encoder

Array = np.ndarray[Any, Any]

UNKNOWN = "only a simulated screen knows its latent variables"


class _LatentRow(Encoder, ReferenceRow):
    """A row of codes; it answers no condition, and encodes only where latent variables are known."""

    capabilities = Capabilities(predicts=False, needs_cells=True)
    ground_: GroundTruth | None

    def fit(self, data: TrainingData, *, seed: int, truth: Truth) -> _LatentRow:  # type: ignore[override]
        """Remember what is known of the held-out cells."""
        self.n_genes_, self.seed_, self.ground_ = len(data.genes), seed, truth.ground
        return self

    def predict(self, conditions: Sequence[Condition], controls: Profiles) -> Prediction:
        """No condition is answered."""
        nothing = super().predict(conditions, controls)
        return nothing if self.ground_ is not None else replace(nothing, absent=dict.fromkeys(conditions, UNKNOWN))

    def _ground(self, cells: Cells | None = None) -> GroundTruth:
        """The latent variables of the held-out cells.

        Raises
        ------
        NotFitted
            If the row is not fitted.
        UsageError
            If they are not known, or `cells` are not as many.
        """
        self._check_fitted("ground_")
        if self.ground_ is None:
            raise UsageError(f"there are no codes here: {UNKNOWN}.")
        if cells is not None and len(cells.codes) != len(self.ground_):
            raise UsageError(
                f"{len(cells.codes)} cells were given to a row that knows the latent variables of the {len(self.ground_)} held-out "
                "ones; encode those, in their order."
            )
        return self.ground_


class NoiseCode(_LatentRow):
    """Independent normal noise, as many codes as there are latent variables: chance."""

    capabilities = replace(_LatentRow.capabilities, stochastic=True)
    reference = "control: codes that do not depend on the cells"

    def encode(self, cells: Cells) -> dict[str, Array]:
        """(n, d) draws; a cell's depends on the seed and its place alone."""
        d = self._ground().d
        rng = np.random.default_rng(derived_seed("noise-code", self.seed_))
        return {"latent": rng.standard_normal((len(cells.codes), d))}


class LabelCode(_LatentRow):
    """All that the labels say, and nothing that the cells say: the mean of each true variable among cells of the same label.

    A model that is told what was done to a cell may pass that on as if it had seen it. No code of labels alone can be expected to be
    closer to the true variables than their means given the label, so that what this row scores, and anything below it, can be had
    without a look at the cell. The label is condition and time. Each cell gets the mean over held-out cells of other units: units are
    halved, and the means of one half are the codes of the other, or a variable that the labels say nothing of would seem to be told. Among
    cells of one label this makes correlations a little negative, where they would be 0.
    """

    reference = "control: codes that depend on perturbation, context and time alone"

    def encode(self, cells: Cells) -> dict[str, Array]:
        """(n, m) means of the true variables, an angle as sine and cosine and a class as its frequencies."""
        ground = self._ground(cells)
        values = _numbers(ground, np.arange(ground.d))[0]
        n = len(values)
        unit = np.arange(n) if cells.unit is None else np.unique(cells.unit, return_inverse=True)[1]
        time = np.zeros(n) if cells.time is None else cells.time
        label = np.unique(np.column_stack([cells.codes, np.unique(time, return_inverse=True)[1]]), axis=0, return_inverse=True)[1]
        label = label.reshape(-1)
        first = (np.random.default_rng(derived_seed("label-code")).permutation(unit.max(initial=0) + 1) % 2 == 0)[unit]
        out = np.zeros_like(values)
        for own in (first, ~first):
            if own.all() or not own.any():
                continue
            count = np.bincount(label[~own], minlength=label.max() + 1)
            means = np.zeros((len(count), values.shape[1]))
            np.add.at(means, label[~own], values[~own])
            # A label that the other half has not: what is known is the mean of all.
            means = np.where(count[:, None] > 0, means / np.maximum(count, 1)[:, None], values[~own].mean(axis=0))
            out[own] = means[label[own]]
        return {"latent": out}


def _numbers(ground: GroundTruth, own: Array) -> tuple[Array, Array]:
    """(n, m) numbers that say the variables `own` in full, and the (m,) variable that each is of.

    Of an angle its sine and cosine, of a class 0 or 1 for each: what a linear map of them can be asked for.
    """
    parts: list[Array] = []
    for i in own.tolist():
        z = ground.values[:, i]
        if ground.kinds[i] == "circular":
            parts.append(np.stack([np.sin(z), np.cos(z)], axis=1))
        elif ground.kinds[i] == "categorical":
            parts.append((z[:, None] == np.unique(z)).astype(np.float64))
        else:
            parts.append(z[:, None])
    return np.concatenate(parts, axis=1), np.repeat(own, [part.shape[1] for part in parts])


class OracleCode(_LatentRow):
    """The true latent variables themselves, with their targets and their graph: the best that a code can be.

    An angle is given as sine and cosine, and a class as 0 or 1 for each.
    """

    reference = "truth.ground"

    def encode(self, cells: Cells) -> dict[str, Array]:
        """True values (n, ·) by block; a block without variables is left out."""
        ground = self._ground(cells)
        return {name: _numbers(ground, own)[0] for name in BLOCKS if len(own := ground.block(name))}

    def _owners(self) -> Array:
        """(m,) variable of each responsive code; of each code where no variable is responsive."""
        ground = self._ground()
        own = ground.block("responsive")
        return _numbers(ground, own if len(own) else ground.block("invariant"))[1]

    def targets(self) -> dict[str, Array]:
        """(m,) 1 for each responsive code whose variable's mechanism a target changes, by target, of those perturbed alone."""
        ground, owners = self._ground(), self._owners()
        rows = zip(map(parse_label, ground.perturbations), ground.targets, strict=True)
        return {targets[0]: row[owners].astype(np.float64) for targets, row in rows if len(targets) == 1}

    def graph(self) -> Array:
        """(m, m) 1 where a responsive variable (column) is a direct cause of another (row), in the same instant or earlier."""
        ground, owners = self._ground(), self._owners()
        every = ground.graph | ground.lagged.any(axis=0) if len(ground.lagged) else ground.graph
        return every[np.ix_(owners, owners)].astype(np.float64)


class RotatedCode(_LatentRow):
    """The true latent variables, standardised and turned at random: all information kept, and nothing taken apart.

    The honest floor of a matched correlation for an encoder that loses nothing; it rises where the variables are correlated. Angles
    and classes are given as by `OracleCode` before they are turned.
    """

    capabilities = replace(_LatentRow.capabilities, stochastic=True)
    reference = "control: a random orthogonal map of standardised latent variables (QR of a normal matrix; Mezzadri 2007)"

    def encode(self, cells: Cells) -> dict[str, Array]:
        """(n, m) codes under the name ``latent``; a variable that does not vary counts as zero."""
        ground = self._ground(cells)
        values = _numbers(ground, np.arange(ground.d))[0]
        spread = values.std(axis=0)
        standardised = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        rng = np.random.default_rng(derived_seed("rotated-code", self.seed_))
        rotation, triangle = np.linalg.qr(rng.standard_normal((values.shape[1],) * 2))
        return {"latent": standardised @ (rotation * np.sign(np.diag(triangle)))}

"""The toy screen of the conformance kit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from ..contracts.condition import Condition
from ..contracts.latents import GroundTruth
from ..contracts.model import Capabilities
from ..contracts.resource import FeatureTable
from ..contracts.training import Cells, TrainingData
from ..contracts.truth import Truth
from .assemble import de_order
from .encoding import HeldOut
from .statistics import group_sums

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Toy:
    """A small screen of singles and doubles: what `fit` sees, the truth of what is asked, and cells to encode."""

    data: TrainingData
    truth: Truth
    held_out: HeldOut


def toy(capabilities: Capabilities, *, seed: int = 0, order: Array | None = None, poison: bool = False) -> Toy:
    """A toy screen that stays inside `capabilities`.

    Parameters
    ----------
    seed
        Of the expression values.
    order
        Permutation of the training cells.
    poison
        Fill all test cells with NaN after the training side is made, as a model must not see them.
    """
    rng = np.random.default_rng(seed)
    genes = np.array([f"G{i:02d}" for i in range(40)])
    targets = [f"G{i:02d}" for i in range(8)]
    singles = [Condition((t,)) for t in targets]
    doubles = [Condition((targets[i], targets[i + 1])) for i in range(0, 7)]
    asked_doubles = doubles[:3] if capabilities.max_targets is None or capabilities.max_targets > 1 else []
    asked = asked_doubles or singles[-2:]
    if capabilities.unseen_targets:
        asked = [*asked_doubles, *singles[-2:]]
    hidden = {t for c in asked if len(c.targets) == 1 for t in c.targets}
    train = [c for c in singles + doubles if c not in asked and not hidden & set(c.targets)]
    if not asked_doubles and not capabilities.unseen_targets:
        asked, train = singles[:2], singles + doubles[3:]
    effect = {t: rng.normal(0, 0.5, len(genes)) for t in targets}
    base = rng.uniform(0.5, 2.0, len(genes))

    def expected(condition: Condition) -> Array:
        return base + sum((effect[t] for t in condition.targets), np.zeros(len(genes)))

    def cells(condition: Condition, n: int = 16) -> Array:
        return np.maximum(expected(condition) + rng.normal(0, 0.2, (n, len(genes))), 0).astype(np.float32)

    control = Condition()
    trained = (control, *train)
    blocks = {c: cells(c) for c in trained}
    X = np.concatenate([blocks[c] for c in trained])
    codes = np.repeat(np.arange(len(trained)), 16)
    test_blocks = {c: cells(c) for c in asked}
    if order is not None:
        X, codes = X[order], codes[order]
    held = np.concatenate([test_blocks[c] for c in asked])
    seen = Cells(sparse.csr_matrix(X), codes, trained, "log1p_1e4")
    if capabilities.needs_pairs:
        # Sixteen cells of a condition are four units at four times.
        place = np.arange(len(codes)) if order is None else order
        seen = replace(seen, unit=place // 4, time=(place % 4).astype(np.float64))
    sums = group_sums(X, codes, len(trained), scale="log1p_1e4")
    perturbed = sums.pool([[i] for i in range(1, len(trained))], tuple(train))
    controls = sums.pool([[0]], (control,))
    table = FeatureTable(tuple(targets), np.stack([effect[t][:6] for t in targets]).astype(np.float32), "toy")
    names = capabilities.resources
    data = TrainingData(
        genes,
        perturbed,
        controls,
        perturbed.select(lambda c: False),
        resources=dict.fromkeys(names, table),
        load_cells=(lambda role: seen) if capabilities.needs_cells else None,
        latents={"responsive": 3, "invariant": 1},
    )
    held_out = _held_out(seen, rng)
    test = group_sums(held, np.repeat(np.arange(len(asked)), 16), len(asked), scale="log1p_1e4").pool(
        [[i] for i in range(len(asked))], tuple(asked)
    )
    if poison:
        test = replace(test, mean=np.full_like(test.mean, np.nan), var=np.full_like(test.var, np.nan))
    index = {g: i for i, g in enumerate(genes)}
    own = tuple(tuple(index[t] for t in c.targets) for c in asked)
    ctrl = controls.control_mean(asked)
    truth = Truth(
        genes=genes,
        profiles=test,
        controls=controls,
        references={"ctrl": ctrl, "pert": ctrl + data.mean_shift, "loo": ctrl},
        de_order=de_order(test, controls, np.zeros(len(asked), dtype=int), own),
        target_genes=own,
        halves=(test, test),
        subgroups=tuple({} for _ in asked),
        noise_free=np.stack([expected(c) for c in asked]),
        load_cells=lambda c, half=None: sparse.csr_matrix(test_blocks[c] if half is None else test_blocks[c][half::2]),
        ground=held_out.truth,
    )
    return Toy(data, truth, held_out)


def _held_out(cells: Cells, rng: np.random.Generator) -> HeldOut:
    """The training cells once more, as if they had been held out, with latent variables that somebody might know."""
    labels = tuple(c.label for c in cells.conditions)
    ground = GroundTruth(
        rng.standard_normal((len(cells.codes), 4)),
        ("r1", "r2", "r3", "i1"),
        ("responsive", "responsive", "responsive", "invariant"),
        ("continuous",) * 4,
        labels,
        np.arange(4) < rng.integers(0, 4, (len(labels), 1)),
        np.zeros((4, 4), dtype=bool),
        np.zeros((0, 4, 4), dtype=bool),
    )
    return HeldOut(cells, ground)

"""The "simulation" split of GEARS, with its own labels and with labels recomputed from what is trained on."""

from __future__ import annotations

import numpy as np

from ...bench.contracts.screen import Screen
from ...bench.contracts.split import SplitManifest
from .applicable import require
from .folds import Fold, check_fraction, manifests, recorded

Targets = tuple[str, ...]
#: Shares of genes and of doubles with two seen genes that the second draw leaves in training (fixed in GEARS).
VALIDATION_SHARE = 0.9


def gears_simulation(
    screen: Screen,
    *,
    data_id: str,
    seed: int = 1,
    train_gene_set_size: float = 0.75,
    combo_seen2_train_frac: float = 0.75,
    min_cells: int = 12,
) -> tuple[SplitManifest, ...]:
    """Hide a quarter of the perturbed genes, and test singles and doubles of hidden genes and some seen doubles.

    Of the sorted perturbed genes ``int(a * n)`` are drawn as seen. Singles of seen genes train. Doubles with one seen
    gene are ``combo_seen1``, with none ``combo_seen0``, singles of hidden genes ``unseen_single``: all test. Of the m
    sorted doubles with two seen genes ``int(b * m)`` train and the others are test, ``combo_seen2``. The same
    procedure with 0.9 for both shares then takes the validation conditions out of the training list.

    GEARS' label is kept as the stratum ``gears``. It describes the first draw only: the second one moves singles to
    validation, so a ``combo_seen2`` pair may lack a member in training. The stratum ``seen_k`` says what is left.

    Two steps of GEARS are not repeated. Its filter by gene2go depends on the version of a file and must not decide
    what is evaluated, so all conditions take part. And canonical labels merge ``A+ctrl`` with ``ctrl+A``, which GEARS
    counts as two conditions; the draw of genes does not notice, but the doubles are drawn in the order of their
    canonical labels, so the members of ``combo_seen2`` may differ where a file writes a pair the other way round.

    Parameters
    ----------
    data_id
        Identity of the data.
    seed
        Of numpy's legacy generator, which GEARS uses and seeds anew before each draw.
    train_gene_set_size
        a above.
    combo_seen2_train_frac
        b above.
    min_cells
        Test conditions with fewer cells are excluded.

    Raises
    ------
    DataError
        If the screen has fewer than three perturbed genes.
    UsageError
        If a share is not in [0, 1).

    References
    ----------
    Roohani, Huang and Leskovec, Nature Biotechnology 2024, doi:10.1038/s41587-023-01905-6; snap-stanford/GEARS,
    class DataSplitter.
    """
    require(screen, "gears-simulation")
    check_fraction(train_gene_set_size=train_gene_set_size, combo_seen2_train_frac=combo_seen2_train_frac)
    perturbations: list[Targets] = sorted({c.targets for c in screen.perturbed if len(c.targets) <= 2})
    test = _held_out(perturbations, train_gene_set_size, combo_seen2_train_frac, seed)
    validation = _held_out([p for p in perturbations if p not in test], VALIDATION_SHARE, VALIDATION_SHARE, seed)

    role: dict[Targets, str] = {p: "test" if p in test else "validation" if p in validation else "train" for p in perturbations}
    larger = {c: "more than two targets" for c in screen.perturbed if len(c.targets) > 2}
    fold = Fold(
        roles={c: role.get(c.targets, "excluded") for c in screen.perturbed},
        reasons=larger,
        labels={c: {"gears": test[c.targets]} for c in screen.perturbed if c.targets in test},
    )
    params = recorded(
        gears_simulation,
        seed=seed,
        train_gene_set_size=train_gene_set_size,
        combo_seen2_train_frac=combo_seen2_train_frac,
        min_cells=min_cells,
    )
    return manifests(screen, [fold], data_id=data_id, split="gears-simulation", params=params, min_cells=min_cells, version=1)


def _held_out(perturbations: list[Targets], gene_share: float, pair_share: float, seed: int) -> dict[Targets, str]:
    """GEARS' label of each perturbation that one application of the procedure takes out of `perturbations`."""
    genes = sorted({g for p in perturbations for g in p})
    # The legacy generator, seeded anew for each draw: only so are GEARS' published subgroups the same.
    drawn = np.random.RandomState(seed).choice(len(genes), int(len(genes) * gene_share), replace=False)
    seen = {genes[i] for i in drawn}
    n_seen = {p: sum(g in seen for g in p) for p in perturbations}

    both = sorted((p for p in perturbations if len(p) == 2 and n_seen[p] == 2), key="+".join)
    kept = np.random.RandomState(seed).choice(len(both), int(len(both) * pair_share), replace=False)
    trained = {both[i] for i in kept}

    labels = {p: f"combo_seen{n_seen[p]}" for p in perturbations if len(p) == 2 and p not in trained}
    return labels | {p: "unseen_single" for p in perturbations if len(p) == 1 and n_seen[p] == 0}

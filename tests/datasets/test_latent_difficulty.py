"""The difficulty of a screen: what probes find where the answer is known beforehand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from pbench.bench.contracts.errors import DataError
from pbench.bench.contracts.latents import GroundTruth
from pbench.bench.contracts.screen import DatasetCard, Screen
from pbench.datasets.gene_sim import simulate as norman_sim
from pbench.datasets.latent.difficulty import _parts, difficulty, varsortability
from pbench.datasets.latent.static_causal import simulate

CARD = DatasetCard(name="toy", title="", source="", licence="", scale="raw", control_label="control")


def made(x, z, kinds, graph=None, unit=None):
    """A screen of measurements x (n, D) and latent variables z (n, d)."""
    n, d = z.shape
    obs = pd.DataFrame({"perturbation": np.where(np.arange(n) % 2, "A", "control")}, index=[f"c{i}" for i in range(n)])
    if unit is not None:
        obs["unit"] = unit
    adata = AnnData(x.astype(np.float32), obs=obs)
    graph = np.zeros((d, d), dtype=bool) if graph is None else graph
    names = tuple(f"z{i}" for i in range(d))
    lagged = np.stack([np.eye(d, dtype=bool), np.ones((d, d), dtype=bool)])
    GroundTruth(z, names, ("responsive",) * (d - 1) + ("invariant",), kinds, ("control", "A"), np.zeros((2, d), dtype=bool), graph, lagged).write(adata)  # fmt: skip
    return Screen(adata, CARD)


def test_a_linear_mixing_is_solved_and_noise_is_not():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, 3))
    x = np.column_stack([z[:, :2] @ rng.standard_normal((2, 6)), rng.standard_normal((2000, 2))])
    card = difficulty(made(x, z, ("continuous",) * 3))
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert (card["cells"], card["units"], card["features"], card["perturbations"]) == (2000, 2000, 8, 1)
    assert card["latents"] == {"responsive": 2, "invariant": 1}
    assert card["edges"] == {"same instant": 0, "earlier": 6}, "a variable that keeps its value is no edge"
    for probe in ("linear_r2", "kernel_r2"):
        assert min(card[probe]["z0"], card[probe]["z1"]) > 0.999 and abs(card[probe]["z2"]) < 0.05
    assert card["largest_correlation"] < 0.08 and card["varsortability"] is None
    # Three independent variables: .79 is the mean over rotations; here principal components find no more than mixtures.
    assert 0.7 < card["rotation_floor"] < 0.88 and 0.3 < card["pca_mcc"] < 0.8


def test_probes_tell_linear_mixings_from_others_and_know_angles_and_classes():
    rng = np.random.default_rng(1)
    angle, label, number = rng.uniform(0, 2 * np.pi, 3000), rng.integers(0, 3, 3000), rng.standard_normal(3000)
    z = np.column_stack([angle, label, number])
    x = np.column_stack([np.sin(angle), np.cos(angle), np.eye(3)[label], number**2, np.sign(number) * 0.1])
    card = difficulty(made(x, z, ("circular", "categorical", "continuous")))
    # As a number an angle would jump at 0 and 2 pi, and classes would have an order.
    assert card["linear_r2"]["z0"] > 0.999 and card["linear_r2"]["z1"] > 0.999
    assert card["linear_r2"]["z2"] < 0.7 < 0.95 < card["kernel_r2"]["z2"]
    assert card["rotation_floor"] == 1.0, "one continuous variable is left, and it has no rotation"


def test_classes_are_no_numbers():
    """That a cell is of the middle class says nothing of its number on average, and much of its class."""
    rng = np.random.default_rng(6)
    label = rng.integers(0, 3, 2000)
    z = np.column_stack([label, rng.standard_normal(2000)])
    card = difficulty(made((label == 1)[:, None] + np.zeros((1, 3)), z, ("categorical", "continuous")))
    # Its own indicator is known, and a quarter of the variance of each of the two others: 1/3 + 2/3 x 1/4.
    assert card["linear_r2"]["z0"] == pytest.approx(0.5, abs=0.02)


def test_units_are_not_torn_apart():
    """Every unit has measurements of its own that say nothing of others: to probes that see all units, unseen ones are dark."""
    unit = np.repeat(np.arange(150), 8)
    z = np.random.default_rng(2).standard_normal((150, 2))[unit]
    x = np.random.default_rng(3).standard_normal((150, 5))[unit]
    leaked = difficulty(made(x, z, ("continuous",) * 2))["kernel_r2"]
    honest = difficulty(made(x, z, ("continuous",) * 2, unit=[f"u{u}" for u in unit]))
    assert min(leaked.values()) > 0.2 > 0.1 > max(honest["kernel_r2"].values()) and honest["units"] == 150
    part = _parts(unit.astype(str), 0)
    assert all(len(set(part[unit == u])) == 1 for u in range(150)) and 0.3 < part.mean() < 0.4
    assert not np.array_equal(part, _parts(unit.astype(str), 1))


def test_of_large_screens_a_part_is_read():
    unit = np.array([f"u{i // 4}" for i in range(20_000)])
    part = _parts(unit, 0)
    assert 5900 <= (part >= 0).sum() <= 6000 and part[part >= 0].mean() == pytest.approx(0.35, abs=0.01)


def test_varsortability_reads_the_order_of_variances():
    rng = np.random.default_rng(4)
    chain = np.eye(4, k=-1, dtype=bool)
    z = np.zeros((500, 4))
    for i in range(4):
        z[:, i] = rng.standard_normal(500) + (1.5 * z[:, i - 1] if i else 0)
    assert varsortability(z, chain) == 1.0 and varsortability(z, chain.T) == 0.0
    assert varsortability(z / z.std(axis=0), chain) == 0.5
    assert varsortability(z * [1, 1, 0.01, 1], chain) == pytest.approx(2 / 3)
    assert np.isnan(varsortability(z, np.zeros((4, 4), dtype=bool)))


def test_the_card_of_a_generated_screen_follows_its_dials():
    dials = {"cells_per_perturbation": 100, "n_controls": 400, "n_features": 20, "degree": 1.0}
    easy, hard = (difficulty(simulate(**dials, mixing_layers=layers)) for layers in (1, 5))
    linear, bent = (np.mean(list(c["linear_r2"].values())) for c in (easy, hard))
    assert linear > 0.99 > 0.95 > bent and np.mean(list(hard["kernel_r2"].values())) > bent
    assert easy["varsortability"] == pytest.approx(0.5, abs=0.2)
    crowded = difficulty(simulate(**{**dials, "degree": 6.0}))
    assert crowded["edges"]["same instant"] > easy["edges"]["same instant"]
    assert crowded["rotation_floor"] > easy["rotation_floor"] and crowded["largest_correlation"] > 0.5


def test_counts_are_brought_to_a_common_depth_and_many_variables_to_components():
    rng = np.random.default_rng(5)
    z = rng.standard_normal((800, 2))
    rates = np.exp(z @ rng.normal(size=(2, 150)) * 0.5)
    depth = rng.lognormal(5, 1, (800, 1))
    x = rng.poisson(depth * rates)
    counts = made(x, z, ("continuous",) * 2)
    read = difficulty(replace(counts, card=replace(CARD, scale="counts")))
    assert read["features"] == 150 and min(read["linear_r2"].values()) > 0.8
    assert min(difficulty(counts)["linear_r2"].values()) < 0.8, "without a common depth the components are those of depth"


def test_screens_without_known_latent_variables_have_no_difficulty():
    screen = norman_sim(n_genes=30, n_programs=3, n_singles=3, n_doubles=1, cells_per_perturbation=3, n_controls=3)
    with pytest.raises(DataError, match="latent variables of data set 'norman-sim' are not known"):
        difficulty(screen)

"""The kit for data sets: the built-in ones pass, and each bad one fails where it is bad."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from pbench import Dataset, Screen
from pbench.bench.contracts import registry
from pbench.bench.engine.check_dataset import CARD, CHECKS, IDENTITY, LOADS, check_dataset
from pbench.bench.engine.toy_screen import CARD as TOY
from pbench.bench.engine.toy_screen import toy_screen

COMPLETE = replace(TOY, modality="CRISPRi")


def good(**options):
    return replace_card(toy_screen(**options), COMPLETE)


def replace_card(screen, card):
    return Screen(screen.adata, card, screen.noise_free, screen.resources)


def dataset(load=good, card=COMPLETE, data_id=lambda: "1" * 64):
    return Dataset(card, data_id, load)


def problems(value):
    return {v.check: v.problem for v in check_dataset(value) if v.problem}


@pytest.mark.parametrize("name", ["latent-static", "latent-temporal"])
def test_generated_data_sets_pass(name):
    assert problems(registry.datasets.get(name)) == {}


def test_a_good_data_set_passes():
    assert problems(dataset()) == {} and len(list(check_dataset(dataset()))) == len(CHECKS)


def spoiled(change):
    def load():
        screen = good()
        adata = screen.adata.copy()
        adata.obs["perturbation"] = adata.obs["perturbation"].astype(str)
        return Screen(change(adata) or adata, screen.card)

    return dataset(load)


def with_value(value):
    def change(adata):
        X = adata.X.toarray()
        X[0, 0] = value
        adata.X = sparse.csr_matrix(X)

    return change


def rename(adata):
    adata.var_names = ["G00", *adata.var_names[:-1]]


def relabel(adata):
    adata.obs["perturbation"] = adata.obs["perturbation"].str.replace("G00+G01", "G01+G00", regex=False)


def bare(adata):
    return adata[(adata.obs["perturbation"] != "control").to_numpy() | (np.arange(adata.n_obs) < 5)].copy()


def only_singles(adata):
    return adata[~adata.obs["perturbation"].str.contains("+", regex=False).to_numpy()].copy()


def latent(adata):
    adata.obsm["latents"] = np.zeros((adata.n_obs, 1))
    adata.uns["ground_truth"] = {
        "names": ["z"],
        "blocks": ["responsive"],
        "kinds": ["continuous"],
        "perturbations": ["control"],
        "targets": np.zeros((1, 1)),
        "graph": np.zeros((1, 1)),
        "lagged": np.zeros((0, 1, 1)),
    }


def another_each_time():
    seeds = iter(range(10))
    return dataset(lambda: good(seed=next(seeds)))


def wrong_profiles():
    screen = good()
    flat = dict.fromkeys(screen.conditions, np.linspace(9, 0, screen.adata.n_vars))
    return dataset(lambda: Screen(screen.adata, screen.card, noise_free=flat))


def ids():
    numbers = iter(range(100))
    return dataset(data_id=lambda: str(next(numbers)))


BAD = {
    "no licence": (dataset(card=replace(COMPLETE, licence="")), CARD, "licence"),
    "no citation": (dataset(card=replace(COMPLETE, simulated=False)), CARD, "citation"),
    "no such split": (dataset(card=replace(COMPLETE, default_split="doubels")), CARD, "doubles"),
    "a set on the card": (
        dataset(card=replace(COMPLETE, known_defects=["a"])),
        "the card is the same after JSON",
        "known_defects",
    ),
    "another id": (ids(), IDENTITY, "called again"),
    "no screen": (dataset(lambda: None), LOADS, "NoneType"),
    "another card": (dataset(lambda: replace_card(good(), replace(COMPLETE, scale="raw"))), LOADS, "scale"),
    "NaN": (spoiled(with_value(np.nan)), "values are finite numbers", "NaN"),
    "fractions": (spoiled(with_value(0.5)), "the declared scale is true", "0.5"),
    "negative": (spoiled(with_value(-1.0)), "the declared scale is true", "negative"),
    "twice": (spoiled(rename), "names of cells and genes are unique", "G00"),
    "labels": (spoiled(relabel), "labels are canonical, columns are complete", "G00+G01"),
    "few controls": (spoiled(bare), "there are enough control cells in every context", "5 cells"),
    "nothing": (spoiled(with_value(np.inf)), "nothing else stands against a run", "infinite"),
    "counts": (dataset(card=replace(COMPLETE, n_cells=7)), "the card counts what is loaded", "n_cells=7"),
    "drawn anew": (another_each_time(), "two loads give the same", "seed"),
    "latents": (spoiled(latent), "known latent variables cover every perturbation", "G00"),
    "profiles": (wrong_profiles(), "profiles without noise belong to the cells", "genes"),
    "no doubles": (spoiled(only_singles), "the default split can be made", "two-target"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_data_set_fails_where_it_is_bad(what):
    value, check, says = BAD[what]
    found = problems(value)
    assert check in found and says in found[check], found


def test_a_log_scale_has_to_add_up_to_ten_thousand():
    def load(total):
        screen = good()
        adata = screen.adata.copy()
        X = adata.X.toarray()
        adata.X = sparse.csr_matrix(np.log1p(total * X / X.sum(axis=1, keepdims=True)).astype(np.float32))
        return Screen(adata, card)

    card = replace(COMPLETE, scale="log1p_1e4")
    assert problems(dataset(lambda: load(1e4), card)) == {}
    assert "another total" in problems(dataset(lambda: load(1.5e4), card))["the declared scale is true"]


def test_what_is_no_data_set_is_told():
    assert "Dataset" in problems(good())[CARD]

"""Dials of generated data sets: names, identities, and what is refused."""

from __future__ import annotations

import sys
import types

import pytest

from pbench.bench.contracts.errors import UsageError
from pbench.datasets.latent.gene_programs import GENE_SIM
from pbench.datasets.latent.generated import identity
from pbench.datasets.latent.static_causal import LATENT_STATIC
from pbench.datasets.latent.temporal import LATENT_TEMPORAL

ALL = (LATENT_STATIC, LATENT_TEMPORAL, GENE_SIM)


def test_dials_make_data_sets_with_a_name_and_an_identity_of_their_own():
    plain = LATENT_TEMPORAL
    turned = plain.generate(n_features=12, mode="snapshot", units_per_perturbation=5)
    assert turned.card.name == "latent-temporal[mode=snapshot,n_features=12,units_per_perturbation=5]"
    assert (turned.card.n_cells, turned.card.n_genes) == (None, None)
    screen = turned.load()
    assert screen.card.name == turned.card.name and screen.adata.shape == (11 * 5 * 6, 12)
    assert (screen.card.n_cells, screen.card.n_genes) == (330, 12)
    assert turned.generate(mode="snapshot").card.name == "latent-temporal[mode=snapshot]", "dials are turned from the default"
    ids = {d.data_id() for d in (*ALL, turned, *(d.generate(seed=1) for d in ALL))}
    assert len(ids) == 7


@pytest.mark.parametrize("dataset", ALL, ids=lambda d: d.card.name)
def test_dials_at_their_default_change_nothing(dataset):
    same = dataset.generate(seed=0, baseline_sd=1.3) if dataset is GENE_SIM else dataset.generate(seed=0, observation_noise=0.05)
    assert same.card == dataset.card and same.data_id() == dataset.data_id()
    assert dataset.card.simulated and "SIMULATED" in dataset.card.title


def test_whole_numbers_and_fractions_that_are_equal_name_the_same_data():
    assert LATENT_STATIC.generate(degree=3).data_id() == LATENT_STATIC.generate(degree=3.0).data_id()
    assert LATENT_STATIC.generate(n_features=20.0).card.name == "latent-static[n_features=20]"


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"modes": "snapshot"}, "data set 'latent-temporal' has no parameter 'modes'. Did you mean 'mode'"),
        ({"whatever": 1}, "has no parameter 'whatever'. Known: edge_probability"),
        (
            {"n_features": 20.5},
            "n_features=20.5 of data set 'latent-temporal' is not a whole number; the default is n_features=30",
        ),
        ({"n_features": True}, "n_features=True"),
        ({"instantaneous": 1}, "is not True or False"),
        ({"mode": 3}, "mode=3 of data set 'latent-temporal' is not a name"),
        ({"observation_noise": "low"}, "is not a number"),
        ({"observation_noise": float("nan")}, "observation_noise=nan of data set 'latent-temporal' is not a number"),
        ({"observation_noise": float("inf")}, "observation_noise=inf of data set 'latent-temporal' is not a number"),
        ({"n_times": float("inf")}, "n_times=inf of data set 'latent-temporal' is not a whole number"),
        ({"n_times": float("nan")}, "n_times=nan of data set 'latent-temporal' is not a whole number"),
    ],
)
def test_dials_that_do_not_exist_or_do_not_fit_are_refused(dials, message):
    with pytest.raises(UsageError) as error:
        LATENT_TEMPORAL.generate(**dials).load()
    assert message in str(error.value)


def test_identity_follows_what_is_computed_and_not_how_it_is_written(tmp_path, monkeypatch):
    def module(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    plain = module("one", '"""Text."""\nX = 1\n')
    commented = module("two", '"""Another text."""\n# why\nX = (1)\n')
    other = module("three", '"""Text."""\nX = 2\n')
    assert isinstance(plain, types.ModuleType)
    assert identity({"a": 1}, (plain,)) == identity({"a": 1}, (commented,))
    assert len({identity({"a": 1}, (m,)) for m in (plain, other)} | {identity({"a": 2}, (plain,))}) == 3

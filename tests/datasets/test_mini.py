"""The small real screens: what their cards say is what the files hold."""

from __future__ import annotations

import anndata
import numpy as np
import pytest

from pbench.bench.contracts import registry
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.identity import file_sha256
from pbench.bench.contracts.screen import SCALES
from pbench.datasets.files import SOURCES, card
from pbench.datasets.splits.applicable import applicable

MINI = {
    "norman-mini": "perturbench_devel.h5ad",
    "mcfaline-mini": "perturbench_devel.h5ad",
    "papalexi-mini": "papalexi21_thp1_299genes.h5ad",
    "kang-mini": "kang18_scgen_valid_6998genes.h5ad",
    "shalek-lps": "shalek14_bmdc_lps_timecourse_4016genes.h5ad",
    "kouno-pma": "kouno13_thp1_pma_timecourse_45tf.h5ad",
}


@pytest.fixture
def load(real_data):
    def by_name(name):
        real_data(MINI[name])
        return registry.datasets.get(name).load()

    return by_name


@pytest.mark.parametrize("name", MINI)
def test_card_agrees_with_the_file(name, load, real_data):
    declared, found = card(name), load(name).card
    assert (declared.n_cells, declared.n_genes, declared.n_perturbations) == (found.n_cells, found.n_genes, found.n_perturbations)
    assert declared.scale == found.scale
    assert declared.sha256 == file_sha256(real_data(MINI[name]))
    assert declared.known_defects


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_card_is_complete(name):
    facts = card(name)
    assert facts.name == name and facts.title and facts.source and facts.licence and facts.citation and not facts.simulated
    assert facts.default_split in registry.splits and facts.scale in SCALES and name in registry.datasets


@pytest.mark.parametrize("name", MINI)
def test_the_default_split_fits(name, load):
    assert applicable(load(name))[card(name).default_split] == ""


def test_norman_mini(load, real_data):
    screen = load("norman-mini")
    raw = anndata.read_h5ad(real_data(MINI["norman-mini"]))
    raw = raw[raw.obs["dataset"] == "norman19"]
    assert screen.n_cells[Condition(("KLF1", "SET"))] == (raw.obs["perturbation"] == "SET+KLF1").sum() == 100
    assert screen.n_cells[Condition()] == (raw.obs["perturbation"] == "control").sum()
    assert sorted(len(c.targets) for c in screen.perturbed) == [1] * 18 + [2] * 15
    np.testing.assert_array_equal(screen.adata.X.toarray(), raw.X.toarray().astype(np.float32))
    assert list(screen.barcodes) == list(raw.obs_names)


def test_the_two_halves_of_one_file_are_two_data_sets(load):
    norman, mcfaline = load("norman-mini"), load("mcfaline-mini")
    assert {c.context for c in norman.conditions} == {None}
    assert {c.context for c in mcfaline.conditions} == {"A172", "T98G", "U87MG"}
    assert not set(norman.barcodes) & set(mcfaline.barcodes)
    assert registry.datasets.get("norman-mini").data_id() != registry.datasets.get("mcfaline-mini").data_id()


@pytest.mark.parametrize(("name", "first", "later"), [("shalek-lps", 1, [2, 4, 6]), ("kouno-pma", 0, [1, 6, 12, 24, 48, 72, 96])])
def test_the_first_time_point_is_the_control(name, first, later, load, real_data):
    screen = load(name)
    times = anndata.read_h5ad(real_data(MINI[name])).obs["time_h"]
    assert [c.time for c in screen.perturbed] == later
    assert screen.n_cells[Condition()] == (times == first).sum()


def test_papalexi_mini_has_its_replicates(load):
    assert sorted(load("papalexi-mini").adata.obs["batch"].unique()) == ["rep_1", "rep_2", "rep_3"]


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    from pbench.bench.contracts.errors import DataError

    (tmp_path / MINI["norman-mini"]).write_bytes(b"half a download")
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"norman-mini.*sha256.*220998f5630c813"):
        registry.datasets.get("norman-mini").load()


@pytest.mark.parametrize("name", ["papalexi-mini", "kouno-pma"])
def test_an_absent_file_is_one_message(name, tmp_path, monkeypatch):
    from pbench.bench.contracts.errors import DataError

    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"'{name}' is not here.*{MINI[name]}.*norman-sim"):
        registry.datasets.get(name).data_id()

"""Quirks of public screens as they are published."""

import sys

import anndata
import numpy as np
import pytest

from pbench.bench.contracts import registry
from pbench.bench.contracts.condition import Condition


def load(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    return registry.datasets.get(name).load()


def test_adamson_reads_vectors(write, monkeypatch, tmp_path):
    write(
        ["62(mod)_pBA581", "63(mod)_pBA580", "3x_neg_ctrl_pMJ144-1", "SPI1_pDS255", "PERK_only_pMJ146", "*", None],
        name="adamson_2016_upr_perturb_seq.h5ad",
    )
    s = load("adamson", tmp_path, monkeypatch)
    assert s.n_cells == {Condition(): 3, Condition(("SPI1",)): 1, Condition(("PERK_only",)): 1}


def test_papalexi_merges_guides(write, monkeypatch, tmp_path):
    write(["control", "ATF2g1", "ATF2g4", "nan"], name="PapalexiSatija2021_eccite_RNA.h5ad")
    assert load("papalexi", tmp_path, monkeypatch).n_cells == {Condition(): 1, Condition(("ATF2",)): 2}


def test_gears_genes_are_symbols(write, monkeypatch, tmp_path, counts, log1p_1e4):
    path = write(
        ["ctrl", "KLF1+ctrl"],
        X=log1p_1e4(counts(2)),
        key="condition",
        name="norman/perturb_processed.h5ad",
        genes=[f"ENSG{i}" for i in range(5)],
    )
    a = anndata.read_h5ad(path)
    a.var["gene_name"] = ["KLF1", "SET", "AHR", "SET", "TBX3"]
    a.write_h5ad(path)
    assert list(load("norman", tmp_path, monkeypatch).genes) == ["KLF1", "ENSG1", "AHR", "ENSG3", "TBX3"]


def test_kang_mini_is_cp10k(real_data):
    raw = anndata.read_h5ad(real_data("kang18_scgen_valid_6998genes.h5ad"))
    total = np.repeat(raw.obs["n_counts"].to_numpy(), np.diff(raw.X.indptr))
    umi = np.expm1(raw.X.data.astype(float)) * total / 1832.5
    assert np.abs(umi - np.rint(umi)).max() < 1e-3
    s = registry.datasets.get("kang-mini").load()
    np.testing.assert_array_equal(s.adata.X.indices, raw.X.indices)
    np.testing.assert_allclose(s.adata.X.data, np.log1p(np.rint(umi) / total * 1e4), rtol=2e-5, atol=1e-6)


def test_a_kept_checksum_is_verified_on_use(write, monkeypatch, tmp_path):
    from pbench.bench.contracts.errors import DataError

    write(["ctrl", "stim"], key="label", name="kang_2018.h5ad", cell_type=["T", "T"], replicate=["a", "a"])
    load("kang", tmp_path, monkeypatch)
    assert not list(tmp_path.glob("*.json"))
    (tmp_path / "kang_2018.h5ad.sha256.json").write_text('{"sha256": "%s"}' % ("0" * 64))
    with pytest.raises(DataError, match="pbench fetch kang"):
        registry.datasets.get("kang").load()


def test_pertpy_stays_off_stdout(monkeypatch, tmp_path, capsys):
    import types

    from pbench.datasets.download import with_pertpy

    sc, pt = types.ModuleType("scanpy"), types.ModuleType("pertpy")
    sc.settings = types.SimpleNamespace(datasetdir=None)

    def go():
        print("40 %")
        (sc.settings.datasetdir / "d.h5ad").write_bytes(b"x")

    pt.dt = types.SimpleNamespace(d=go)
    monkeypatch.setitem(sys.modules, "scanpy", sc)
    monkeypatch.setitem(sys.modules, "pertpy", pt)
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    with_pertpy("d", "d", ["d.h5ad"])
    assert capsys.readouterr().out == ""

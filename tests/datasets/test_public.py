"""Public screens in each shape in which people hold them."""

from __future__ import annotations

import anndata
import numpy as np
import pytest

from pbench.bench.contracts import registry
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError

TARGETS = [(), (), ("KLF1",), ("BAK1",), ("KLF1", "BAK1"), ("BAK1", "KLF1"), ("AHR",)]
GUIDE = {0: "NegCtrl0_NegCtrl0", 1: "{0}_NegCtrl0", 2: "{0}_{1}"}


def labels(style: str, targets: list[tuple[str, ...]]) -> list[str]:
    """Labels of cells as GEARS, scPerturb and pertpy write them."""
    if style == "gears":
        return ["+".join(t) if len(t) == 2 else f"{t[0]}+ctrl" if t else "ctrl" for t in targets]
    if style == "scperturb":
        return ["_".join(t) or "control" for t in targets]
    return ["__".join([GUIDE[len(t)].format(*t)] * 2) for t in targets]


FILES = {"gears": "norman/perturb_processed.h5ad", "scperturb": "NormanWeissman2019_filtered.h5ad", "pertpy": "norman_2019.h5ad"}
KEYS = {"gears": "condition", "scperturb": "perturbation", "pertpy": "guide_identity"}


@pytest.fixture
def norman(write, monkeypatch, tmp_path, counts, log1p_1e4):
    """The registered Norman screen, read from a small file in one of its three published shapes."""

    def load(style, targets=TARGETS, X=None, *, logs=None):
        X = counts(len(targets)) if X is None else X
        logs = log1p_1e4(X) if logs is None else logs
        layers = {"counts": X} if style == "pertpy" else None
        name, key = FILES[style], KEYS[style]
        extra = {"gears": {"cell_type": "K562"}, "scperturb": {"nperts": 1}, "pertpy": {"gemgroup": 1}}[style]
        extra = {k: [v] * len(targets) for k, v in extra.items()}
        genes = [f"G{i}" for i in range(X.shape[1])]
        stored = X if style == "scperturb" else logs
        write(labels(style, targets), X=stored, key=key, name=name, genes=genes, layers=layers, **extra)
        monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
        return registry.datasets.get("norman").load()

    return load


@pytest.mark.parametrize(("style", "scale"), [("gears", "log1p_1e4"), ("scperturb", "counts"), ("pertpy", "counts")])
def test_norman_in_three_shapes(style, scale, norman, counts, log1p_1e4):
    screen = norman(style)
    assert screen.card.scale == scale
    assert screen.n_cells == {Condition(): 2, Condition(("AHR",)): 1, Condition(("BAK1",)): 1, Condition(("KLF1",)): 1} | {
        Condition(("BAK1", "KLF1")): 2
    }
    expected = counts(len(TARGETS)) if scale == "counts" else log1p_1e4(counts(len(TARGETS)))
    np.testing.assert_allclose(screen.adata.X.toarray(), expected, rtol=1e-6)


@pytest.mark.parametrize("style", FILES)
def test_real_cells_survive_every_shape(style, norman, real_data):
    raw = anndata.read_h5ad(real_data("perturbench_devel.h5ad"))
    raw = raw[raw.obs["dataset"] == "norman19"][::7]
    given = [tuple(p.split("+")) if p != "control" else () for p in raw.obs["perturbation"]]
    logs = raw.X.toarray()
    whole = np.rint(np.expm1(logs))
    screen = norman(style, given, whole, logs=logs)
    expected = [tuple(sorted(t)) for t in given]
    assert [screen.conditions[i].targets for i in screen.codes] == expected
    np.testing.assert_allclose(screen.adata.X.toarray(), logs if style == "gears" else whole, rtol=1e-6)


def naive_pseudobulks(screen):
    """Mean over the cells of each condition of log1p of counts per 10,000, one cell at a time."""
    cells = {}
    for code, values in zip(screen.codes, np.asarray(screen.adata.X.todense(), dtype=float), strict=True):
        if screen.card.scale == "counts":
            values = np.array([np.log1p(v / values.sum() * 1e4) for v in values])
        cells.setdefault(screen.conditions[code], []).append(values)
    return {condition: np.mean(rows, axis=0) for condition, rows in cells.items()}


def assert_one_screen(norman, targets, X):
    first, *others = (naive_pseudobulks(norman(style, targets, X)) for style in FILES)
    assert set(first) == {Condition(tuple(t)) for t in targets}
    for other in others:
        assert set(other) == set(first)
        for condition, profile in first.items():
            np.testing.assert_allclose(other[condition], profile, rtol=1e-5, atol=1e-6)


def test_the_three_shapes_are_one_screen(norman, counts):
    assert_one_screen(norman, TARGETS, counts(len(TARGETS)))


def test_the_three_shapes_of_real_cells_are_one_screen(norman, real_data):
    raw = anndata.read_h5ad(real_data("perturbench_devel.h5ad"))
    raw = raw[raw.obs["dataset"] == "norman19"][::11]
    targets = [() if p == "control" else tuple(p.split("+")) for p in raw.obs["perturbation"]]
    assert_one_screen(norman, targets, np.rint(np.expm1(raw.X.toarray())))


def test_gears_writes_a_single_in_two_ways(write, monkeypatch, tmp_path, counts, log1p_1e4):
    styles = ["ctrl", "KLF1+ctrl", "ctrl+KLF1", "KLF1+BAK1", "BAK1+KLF1"]
    write(styles, X=log1p_1e4(counts(5)), key="condition", name="perturb_processed.h5ad")
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    screen = registry.datasets.get("norman").load()
    assert screen.n_cells == {Condition(): 1, Condition(("KLF1",)): 2, Condition(("BAK1", "KLF1")): 2}


def test_pertpys_file_without_a_layer_of_counts_holds_logs(write, monkeypatch, tmp_path, counts, log1p_1e4):
    guides = ["NegCtrl0_NegCtrl0__NegCtrl0_NegCtrl0", "KLF1_NegCtrl0__KLF1_NegCtrl0"]
    write(guides, X=log1p_1e4(counts(2)), key="guide_identity", name="norman_2019.h5ad")
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    screen = registry.datasets.get("norman").load()
    assert screen.card.scale == "log1p_1e4"
    np.testing.assert_allclose(screen.adata.X.toarray(), log1p_1e4(counts(2)), rtol=1e-6)


def test_the_wrong_scale_in_a_known_shape_is_refused(norman, counts):
    with pytest.raises(DataError, match=r"perturb_processed\.h5ad.*log1p_1e4 but looks like counts"):
        norman("gears", logs=counts(len(TARGETS)) * 3)


def test_an_unknown_shape_lists_the_known_ones(write, monkeypatch, tmp_path):
    write(["control", "KLF1"], key="sgRNA", name="norman_2019.h5ad")
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"norman_2019.h5ad.*GEARS.*pertpy.*scPerturb.*sgRNA"):
        registry.datasets.get("norman").load()


def test_kang_reads_pertpys_columns(write, monkeypatch, tmp_path):
    donors = ["p1", "p2", "p1", "p2"]
    write(["ctrl", "stim", "ctrl", "stim"], key="label", name="kang_2018.h5ad", cell_type=list("TTBB"), replicate=donors)
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    screen = registry.datasets.get("kang").load()
    assert screen.perturbed == (Condition(("stim",), context="B"), Condition(("stim",), context="T"))
    assert list(screen.adata.obs["batch"]) == donors


def test_sciplex3_reads_doses_and_cell_lines(write, monkeypatch, tmp_path):
    names = ["control", "control", "Belinostat", "Belinostat"]
    write(names, name="srivatsan_2020_sciplex3.h5ad", cell_line=list("KMKM"), dose_value=[0.0, 0.0, 10.0, 10000.0])
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    screen = registry.datasets.get("sciplex3").load()
    assert [(c.doses, c.context) for c in screen.perturbed] == [((10.0,), "K"), ((10000.0,), "M")]


def test_frangieh_reads_its_culture_as_context(write, monkeypatch, tmp_path):
    write(["control", "B2M", "control"], name="frangieh_2021_rna.h5ad", perturbation_2=["IFNγ", "IFNγ", "Control"])
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path))
    assert registry.datasets.get("frangieh").load().perturbed == (Condition(("B2M",), context="IFNγ"),)

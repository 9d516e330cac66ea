"""Predictions of strangers: joined by key, summed in bounded blocks, found again by content."""

from __future__ import annotations

import json
import pickle
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.bench.contracts.identity import canonical_json
from pbench.bench.engine.answer import Answer
from pbench.bench.engine.plan import Request
from pbench.bench.engine.stage import DatasetRequest
from pbench.bench.engine.store import Store
from pbench.bench.engine.submission import SubmissionRequest, prepare_submission
from pbench.bench.engine.submission_layouts import Reading
from pbench.bench.engine.submission_notes import rows_shown
from pbench.datasets import row_blocks
from pbench.models.submission import Answers, Content, Submission

LOG = Reading(scale="log1p_1e4")


def log1p_1e4(X):
    X = np.asarray(X, dtype=np.float64)
    return np.log1p(1e4 * X / X.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def screen(make_screen):
    return make_screen(seed=3)


@pytest.fixture(scope="module")
def truth(screen, tmp_path_factory):
    """The request for a file of a screen, as the command line makes it."""

    def request(adata, **options):
        path = tmp_path_factory.mktemp("truth") / "truth.h5ad"
        adata.write_h5ad(path)
        return DatasetRequest("truth", str(path), {"scale": "counts", **options})

    request.toy = request(screen.adata)
    return request


@pytest.fixture
def predict(screen, tmp_path):
    """Write predicted cells: by default the true cells with a little noise, labels as cell-eval has them."""

    def write(
        name="predictions.h5ad",
        *,
        label=lambda x: x,
        key="target_gene",
        X=None,
        kind=sparse.csr_matrix,
        rows=None,
        genes=None,
        **columns,
    ):
        labels = screen.adata.obs["perturbation"].astype(str).to_numpy()
        labels = np.where(labels == "control", "non-targeting", labels) if key == "target_gene" else labels
        if X is None:
            X = log1p_1e4(screen.adata.X.toarray()) + 0.01 * np.random.default_rng(1).normal(size=screen.adata.shape)
        rows = np.arange(len(labels)) if rows is None else rows
        genes = np.arange(X.shape[1]) if genes is None else genes
        obs = pd.DataFrame({key: pd.Categorical([label(x) for x in labels[rows]]), **columns})
        obs.index = obs.index.astype(str)
        adata = AnnData(kind(X[rows][:, genes].astype(np.float32)), obs=obs, var=pd.DataFrame(index=screen.genes[genes]))
        path = tmp_path / name
        adata.write_h5ad(path)
        return path

    return write


@pytest.fixture
def means(screen, tmp_path):
    """Write a table of means: by default the true ones."""

    def write(name="means.csv", *, label=lambda x: x, genes=None, labels=None):
        values = log1p_1e4(screen.adata.X.toarray())
        where = screen.adata.obs["perturbation"].astype(str).to_numpy()
        labels = sorted(set(where) - {"control"}) if labels is None else labels
        table = pd.DataFrame([values[where == x].mean(axis=0) for x in labels], columns=screen.genes)
        table = table if genes is None else table.iloc[:, genes]
        table.insert(0, "perturbation", [label(x) for x in labels])
        path = tmp_path / name
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        return path

    return write


@pytest.fixture
def read(truth):
    def call(path, reading=LOG, *, against=None, splits=(), cells=False):
        against = against or truth.toy
        return prepare_submission(SubmissionRequest(Path(path), reading, against, against.dataset().data_id(), splits, cells))

    return call


def answers(submission):
    return Answers(submission.folder)


def dense(cells):
    return cells.toarray() if sparse.issparse(cells) else cells


def test_means_and_variances_are_those_of_the_cells(predict, read, screen):
    path = predict()
    import anndata

    written = anndata.read_h5ad(path)
    found = answers(read(path, cells=True))
    assert set(found.rows) == set(screen.perturbed)
    for condition, i in found.rows.items():
        own = written[written.obs["target_gene"] == condition.label].X.toarray().astype(np.float64)
        np.testing.assert_allclose(found.mean[i], own.mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose(found.variance[i], own.var(axis=0, ddof=1), rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(dense(found.cells(condition)), own.astype(np.float32))


def test_rows_genes_and_labels_are_joined_by_name(predict, read, screen):
    """T3: a file in any order is the same file."""
    rng = np.random.default_rng(0)
    straight = answers(read(predict("a.h5ad"), cells=True))
    order, genes = rng.permutation(screen.adata.n_obs), rng.permutation(len(screen.genes))
    turned = {"target_gene": lambda x: "+".join(reversed(x.split("+")))}
    mixed = answers(read(predict("b.h5ad", rows=order, genes=genes, label=turned["target_gene"]), cells=True))
    assert straight.rows == mixed.rows
    np.testing.assert_allclose(mixed.mean, straight.mean, rtol=1e-10)
    np.testing.assert_allclose(mixed.variance, straight.variance, rtol=1e-6, atol=1e-10)
    for condition in straight.rows:
        a, b = (dense(x.cells(condition)) for x in (straight, mixed))
        np.testing.assert_array_equal(a[np.lexsort(a.T)], b[np.lexsort(b.T)])


@pytest.mark.parametrize("block", [11, 97, 5000])
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_any_storage_in_any_blocks_gives_the_same(predict, read, monkeypatch, screen, kind, block):
    """T4: CSR, CSC and dense files, read whole or a few values at a time."""
    X = np.where(screen.adata.X.toarray() > 0, log1p_1e4(screen.adata.X.toarray()), 0)
    order = np.random.default_rng(5).permutation(len(X))
    whole = answers(read(predict("whole.h5ad", X=X, rows=order), cells=True))
    path = predict("parts.h5ad", X=X, kind=kind, rows=order)
    monkeypatch.setattr(row_blocks, "VALUES", block)
    monkeypatch.setenv("PBENCH_CACHE", str(path.parent / "cache"))
    parts = answers(read(path, cells=True))
    np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-12)
    np.testing.assert_allclose(parts.variance, whole.variance, atol=1e-10)
    for condition in list(whole.rows)[::5]:
        np.testing.assert_array_equal(dense(parts.cells(condition)), dense(whole.cells(condition)))
    assert not list((path.parent / "cache" / "submissions").glob("tmp*"))


def test_predicted_controls_change_nothing(predict, read, screen):
    """T7: whoever edits the controls in a file moves no number."""
    X = log1p_1e4(screen.adata.X.toarray())
    edited = X.copy()
    edited[screen.adata.obs["perturbation"] == "control"] = np.nan
    a, b = read(predict("a.h5ad", X=X), cells=True), read(predict("b.h5ad", X=edited), cells=True)
    without = read(predict("c.h5ad", X=X, rows=np.flatnonzero(screen.adata.obs["perturbation"] != "control")))
    for other in (b, without):
        np.testing.assert_array_equal(answers(a).mean, answers(other).mean)
        np.testing.assert_array_equal(answers(a).variance, answers(other).variance)
    assert any("60 predicted control row(s) are ignored" in n for n in b.notes)
    assert not any("control" in n for n in without.notes)


def test_missing_genes_are_named_and_extra_ones_ignored(means, read, screen):
    with pytest.raises(DataError, match=r"lacks 2 of 60 genes of the truth \(G03, G59\).*Predict every gene"):
        read(means(genes=[i for i in range(60) if i not in (3, 59)]))
    table = pd.read_csv(means("extra.csv"))
    table["XYZ"], table["ABC"] = np.nan, 5.0
    table.to_csv("extra.csv", index=False)
    submission = read("extra.csv")
    assert "2 predicted gene(s) are not in the truth and are ignored." in submission.notes
    np.testing.assert_allclose(answers(submission).mean, answers(read(means("plain.csv"))).mean, rtol=1e-12)


def test_missing_and_unknown_perturbations_are_named(means, read, screen):
    labels = [c.label for c in screen.perturbed if c.label not in ("G00", "G03+G04")]
    submission = read(means(labels=labels, label=lambda x: "G99" if x == "G01" else x))
    assert set(submission.missing) == {"G00", "G01", "G03+G04"}
    text = " ".join(submission.notes)
    assert "3 of 15 test perturbations are not predicted and count as absent: G00, G01, G03+G04." in text
    assert "1 predicted perturbation(s) are not in the truth and are ignored: G99." in text


def test_nothing_in_common_says_what_there_is_and_which_separator_would_do(means, read):
    doubles = [f"G0{i}+G0{i + 1}" for i in range(7)]
    with pytest.raises(DataError, match=r"predicts no perturbation.*G00_G01.*--prediction-separator _, 7 of them"):
        read(means(labels=doubles, label=lambda x: x.replace("+", "_")))
    with pytest.raises(DataError, match="predicts no perturbation of the truth. It has only controls"):
        read(means(labels=["control"]))
    found = read(means(labels=doubles, label=lambda x: x.replace("+", "_")), Reading(scale="log1p_1e4", separator="_"))
    assert len(answers(found).rows) == 7


def test_a_split_decides_what_is_test(means, read, screen):
    submission = read(means(), splits=[Request("doubles")])
    test = {c for c in screen.perturbed if len(c.targets) == 2}
    assert submission.missing == () and any("are no test conditions of doubles" in n for n in submission.notes)
    singles = [c.label for c in screen.perturbed if len(c.targets) == 1]
    with pytest.raises(DataError, match=r"none of the \d test perturbations of doubles.* is predicted"):
        read(means("singles.csv", labels=singles), splits=[Request("doubles")])
    (manifest,) = read(means("again.csv")).splits
    roles = [row["role"] for row in json.loads(Path(manifest).read_text())["conditions"]]
    assert roles == ["test"] * len(screen.perturbed) and len(test) == 7


def test_a_manifest_of_other_data_is_refused(means, read, contexts):
    (manifest,) = read(means()).splits
    assert read("means.csv", splits=[manifest]).missing == ()
    screen, against = contexts
    path = context_table(screen, "contexts.csv")
    with pytest.raises(DataError, match="manifest everything was made for data .* of 'truth'"):
        read(path, Reading(scale="log1p_1e4", context_key="cell_line"), against=against, splits=[manifest])


NAMES = ["a/b", "HLA-A+", "x_y", "two words", "β-catenin", "A|B", "100%", "g" * 300, "[1]", "a,b"]


def test_names_survive(read, truth, tmp_path, make_screen):
    """T18: slashes, plus signs, underscores, spaces, unicode and very long names of perturbations and genes."""
    adata = make_screen(seed=9).adata
    name = dict(zip([f"G0{i}" for i in range(8)], NAMES, strict=False))
    keep = adata.obs["perturbation"].isin(["control", *name]).to_numpy()
    adata = adata[keep].copy()
    labels = [name.get(x, "NT") for x in adata.obs["perturbation"]]
    adata.obs = pd.DataFrame({"gene": labels}, index=adata.obs_names)
    adata.var_names = [NAMES[i] if i < len(NAMES) else f"G{i:02d}" for i in range(adata.n_vars)]
    against = truth(adata, perturbation_key="gene", control_label="NT", separator=None)
    values, labels = log1p_1e4(adata.X.toarray()), np.array(labels)
    table = pd.DataFrame([values[labels == x].mean(axis=0) for x in name.values()], columns=adata.var_names)
    table.insert(0, "perturbation", list(name.values()))
    table.iloc[::-1, [0, *range(table.shape[1] - 1, 0, -1)]].to_csv(tmp_path / "names.csv", index=False)
    found = answers(read(tmp_path / "names.csv", Reading(scale="log1p_1e4", separator="none"), against=against))
    assert {c.targets for c in found.rows} == {(n,) for n in name.values()}
    order = np.argsort(adata.var_names.to_numpy().astype(str), kind="stable")
    for condition, i in found.rows.items():
        np.testing.assert_allclose(found.mean[i], values[labels == condition.targets[0]].mean(axis=0)[order])


@pytest.mark.parametrize(
    ("label", "separator"),
    [
        (lambda x: "+".join(reversed(x.split("+"))), None),
        (lambda x: x if "+" in x else f"{x}+ctrl", None),
        (lambda x: f"ctrl_{x}".replace("+", "_"), "_"),
    ],
    ids=["reversed", "with control", "underscores"],
)
def test_combinations_are_canonical(means, read, label, separator):
    plain = answers(read(means("plain.csv")))
    found = answers(read(means("other.csv", label=label), Reading(scale="log1p_1e4", separator=separator)))
    assert found.rows == plain.rows
    np.testing.assert_array_equal(found.mean, plain.mean)


def test_one_condition_under_two_labels_is_a_mistake_of_means_and_none_of_cells(means, predict, read):
    with pytest.raises(DataError, match=r"1 perturbation\(s\) more than once \(first: 'G00\+G01', as 'G00\+G01', 'G01\+G00'"):
        table = pd.read_csv(means())
        twice = table[table["perturbation"] == "G00+G01"].assign(perturbation="G01+G00")
        pd.concat([table, twice]).to_csv("twice.csv", index=False)
        read("twice.csv")
    flip = iter([False, True] * 1000)
    submission = read(predict(label=lambda x: "G01+G00" if x == "G00+G01" and next(flip) else x))
    assert submission.facts["n_rows"] == [24] * 15


def test_one_row_a_perturbation_is_means_in_an_h5ad_too(predict, read, screen):
    labels = screen.adata.obs["perturbation"].astype(str)
    first = np.flatnonzero(~labels.duplicated())
    assert read(predict(rows=first)).facts["cells"] is False
    some = np.flatnonzero((~labels.duplicated() | (labels == "G00")).to_numpy())
    submission = read(predict("some.h5ad", rows=some), replace(LOG, rows="cells"), cells=True)
    assert submission.facts["cells"] is True
    assert "14 perturbation(s) have a single predicted cell, which has no variance." in submission.notes
    assert answers(submission).variance is None


def replicates(screen, n):
    """The first `n` rows of each label, and which of them a row is."""
    labels = screen.adata.obs["perturbation"].astype(str)
    number = labels.groupby(labels).cumcount().to_numpy()
    rows = np.flatnonzero(number < n)
    return rows, [f"r{k}" for k in number[rows]]


def test_few_rows_a_perturbation_are_cells_for_nobody_who_has_not_said_so(predict, read, screen):
    """Two pseudobulk replicates of each perturbation are no population of two cells."""
    rows, replicate = replicates(screen, 2)
    depth = np.linspace(1, 2, len(rows))
    path = predict("two.h5ad", rows=rows, replicate=pd.Categorical(replicate), lab="ours", depth=depth)
    with pytest.raises(UsageError, match=r"2 row\(s\) a perturbation.*--rows cells or --rows means.*not declared: replicate\."):
        read(path, cells=True)
    import anndata

    written = anndata.read_h5ad(path)
    means = read(path, replace(LOG, rows="means"), cells=True)
    assert means.facts["cells"] is False and means.facts["n_rows"] == [2] * 15
    assert means.notes[0].startswith("CAUTION: the 2 row(s) per perturbation (median) are taken as means, which are averaged")
    assert "replicate in obs tells the rows" in means.notes[0] and "depth" not in means.notes[0] and "lab" not in means.notes[0]
    assert rows_shown(means.facts) == "rows per perturbation: 2, taken as means and averaged"
    found = answers(means)
    for condition, i in found.rows.items():
        own = written[written.obs["target_gene"] == condition.label].X.toarray()
        np.testing.assert_allclose(found.mean[i], own.mean(axis=0, dtype=np.float64), rtol=1e-6)
    assert found.variance is None and not means.folder.with_name(f"{means.folder.name}-cells").exists()
    cells = read(path, replace(LOG, rows="cells"), cells=True)
    assert cells.facts["cells"] is True and answers(cells).variance is not None
    assert cells.notes[0].startswith("CAUTION: the 2 row(s) per perturbation (median) are taken as cells")
    assert len({means.id, cells.id}) == 2


@pytest.mark.parametrize(("n", "asked"), [(9, True), (10, False)])
def test_from_ten_rows_at_the_median_on_rows_are_cells(predict, read, screen, n, asked):
    path = predict(rows=replicates(screen, n)[0])
    if asked:
        with pytest.raises(UsageError, match="9 row"):
            read(path)
    else:
        submission = read(path)
        assert submission.facts["cells"] is True and not any("CAUTION" in x for x in submission.notes)


def test_means_may_be_declared_of_many_rows_and_of_tables(predict, means, read):
    many = read(predict(), replace(LOG, rows="means"))
    assert (
        many.facts["cells"] is False
        and "Several rows of a perturbation are means, as --rows says, and are averaged." in many.notes
    )
    table = pd.read_csv(means())
    twice = pd.concat([table, table.assign(**{"G00": table["G00"] + 1})])
    twice.to_csv("twice.csv", index=False)
    with pytest.raises(DataError, match="more than once.*--rows means"):
        read("twice.csv")
    averaged = answers(read("twice.csv", replace(LOG, rows="means")))
    once = answers(read("means.csv"))
    np.testing.assert_allclose(averaged.mean - once.mean, np.eye(60)[[0] * 15] / 2, atol=1e-12)


@pytest.fixture(scope="module")
def contexts(make_screen, truth):
    screen = make_screen(seed=4, contexts=("K562", "RPE1"))
    return screen, truth(screen.adata, context_key="context")


def context_table(screen, path, **columns):
    values, obs = log1p_1e4(screen.adata.X.toarray()), screen.adata.obs
    keys = sorted({(p, c) for p, c in zip(obs["perturbation"], obs["context"], strict=True) if p != "control"})
    rows = [values[((obs["perturbation"] == p) & (obs["context"] == c)).to_numpy()].mean(axis=0) for p, c in keys]
    table = pd.DataFrame(rows, columns=screen.genes)
    table.insert(0, "perturbation", [p for p, _ in keys])
    table.insert(0, "cell_line", [c for _, c in keys])
    table.to_csv(path, index=False)
    return path


def test_contexts_are_joined_by_name_and_asked_for(contexts, read):
    screen, against = contexts
    path = context_table(screen, "contexts.csv")
    found = answers(read(path, Reading(scale="log1p_1e4", context_key="cell_line"), against=against))
    assert set(found.rows) == set(screen.perturbed)
    table = pd.read_csv(path).drop(columns="cell_line").drop_duplicates("perturbation")
    table.to_csv("bare.csv", index=False)
    with pytest.raises(UsageError, match="--prediction-context-key"):
        read("bare.csv", against=against)
    with pytest.raises(DataError, match="'cell_line' holds text.*--prediction-context-key"):
        read(path, against=against)


def test_a_context_that_the_truth_does_not_have_is_refused(contexts, read):
    path = context_table(contexts[0], "contexts.csv")
    with pytest.raises(UsageError, match="the truth has no contexts"):
        read(path, Reading(scale="log1p_1e4", context_key="cell_line"))


def test_doses_and_times_are_keys_too(read, truth, make_screen):
    adata = make_screen(seed=6).adata
    adata = adata[adata.obs["perturbation"].isin(["control", "G00", "G00+G01"]).to_numpy()].copy()
    label = adata.obs["perturbation"].astype(str)
    adata.obs["hours"] = np.where(label == "control", 0.0, np.where(np.arange(adata.n_obs) % 2, 6.0, 24.0))
    adata.obs["amount"] = np.where(label == "G00+G01", "0.5+2", "1")
    against = truth(adata, dose_key="amount", time_key="hours")
    values = log1p_1e4(adata.X.toarray())
    rows = []
    for name, dose in (("G00", "1"), ("G01+G00", "2+0.5")):
        for time in (6, 24):
            own = (label == "+".join(sorted(name.split("+")))).to_numpy() & (adata.obs["hours"] == time).to_numpy()
            rows.append([name, dose, time, *values[own].mean(axis=0)])
    pd.DataFrame(rows, columns=["perturbation", "d", "t", *adata.var_names]).to_csv("timed.csv", index=False)
    found = answers(read("timed.csv", Reading(scale="log1p_1e4", dose_key="d", time_key="t"), against=against))
    assert set(found.rows) == {
        Condition(("G00",), (1.0,), 6.0),
        Condition(("G00",), (1.0,), 24.0),
        Condition(("G00", "G01"), (0.5, 2.0), 6.0),
        Condition(("G00", "G01"), (0.5, 2.0), 24.0),
    }
    with pytest.raises(UsageError, match="--prediction-time-key"):
        read("timed.csv", Reading(scale="log1p_1e4", dose_key="d"), against=against)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, np.asarray])
def test_memory_does_not_grow_with_the_file(truth, make_screen, read, tmp_path, monkeypatch, kind):
    """Ten times the cells: the same means, and less than a tenth of what the matrix has grown by."""
    screen = make_screen(seed=2, n_genes=600)
    against = truth(screen.adata)
    monkeypatch.setattr(row_blocks, "VALUES", 100_000)
    values = log1p_1e4(screen.adata.X.toarray()).astype(np.float32)
    values[values == 0] = 0.01
    peaks, means = [], []
    for times in (2, 20):
        obs = pd.DataFrame({"target_gene": pd.Categorical(np.tile(screen.adata.obs["perturbation"].astype(str), times))})
        obs.index = obs.index.astype(str)
        path = tmp_path / f"{times}.h5ad"
        AnnData(kind(np.tile(values, (times, 1))), obs=obs, var=pd.DataFrame(index=screen.genes)).write_h5ad(path)
        request = SubmissionRequest(path, LOG, against, against.dataset().data_id(), (), True)
        del obs
        prepare_submission(SubmissionRequest(tmp_path / "2.h5ad", LOG, against, request.data_id, (), True))
        tracemalloc.start()
        found = answers(prepare_submission(request if times > 2 else replace(request, reading=replace(LOG, layout="cell-eval"))))
        for condition in found.rows:
            assert found.cells(condition).shape == (24 * times, 600)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        means.append(found.mean)
    np.testing.assert_allclose(means[0], means[1], rtol=1e-12)
    assert peaks[1] - peaks[0] < 0.1 * 18 * values.nbytes


def test_a_value_that_is_no_number_is_named(predict, read, screen):
    X = log1p_1e4(screen.adata.X.toarray())
    row = int(np.flatnonzero(screen.adata.obs["perturbation"] == "G02+G03")[4])
    X[row, 7] = np.nan
    with pytest.raises(DataError, match=r"NaN or infinite values \(first: G07 of 'G02\+G03'\)"):
        read(predict(X=X))


def test_the_same_bytes_are_the_same_submission(means, read):
    first = read(means())
    shutil.copy("means.csv", "elsewhere.csv")
    again = read("elsewhere.csv")
    assert (again.id, again.folder) == (first.id, first.folder)
    assert read("means.csv", Reading(scale="log1p_1e4", separator="_")).id != first.id
    text = Path("means.csv").read_text()
    Path("means.csv").write_text(text.replace("5.", "5.0", 1))
    assert read("means.csv").id != first.id


def test_cells_are_prepared_when_they_are_asked_for(predict, read):
    path = predict()
    before = read(path)
    folder = before.folder.with_name(f"{before.folder.name}-cells")
    shutil.rmtree(folder, ignore_errors=True)
    assert read(path).id == before.id and not folder.exists()
    after = read(path, cells=True)
    assert (after.id, after.folder) == (before.id, before.folder) and folder.exists()


def test_an_archive_is_read_with_its_variances_and_whole_conditions(contexts, read, tmp_path):
    screen, against = contexts
    rng = np.random.default_rng(0)
    values = log1p_1e4(screen.adata.X.toarray())
    asked = screen.perturbed[::-1]
    mean = np.array([values[screen.codes == screen.conditions.index(c)].mean(axis=0) for c in asked], dtype=np.float32)
    variance = rng.gamma(1, 1, mean.shape).astype(np.float32)
    answer = Answer(mean, np.zeros(len(asked), dtype=bool), np.full(len(asked), "", dtype=object), {}, variance)
    genes = rng.permutation(len(screen.genes))
    moved = replace(answer, mean=mean[:, genes], variance=variance[:, genes])
    Store(tmp_path).save_prediction("1" * 64, asked, screen.genes[genes], moved)
    (path,) = (tmp_path / "predictions").iterdir()
    found = answers(read(path, Reading(), against=against))
    for i, condition in enumerate(asked):
        np.testing.assert_array_equal(found.mean[found.rows[condition]], mean[i])
        np.testing.assert_array_equal(found.variance[found.rows[condition]], variance[i])


def test_content_is_its_identity_and_remembers_the_folder(predict, read, screen):
    content = Content("abc", Path("/somewhere"))
    assert content == "abc" and canonical_json({"content": content}) == '{"content":"abc"}'
    for copy in (pickle.loads(pickle.dumps(content)), __import__("copy").deepcopy(content)):
        assert copy == "abc" and copy.folder == Path("/somewhere")
    submission = read(predict(), cells=True)
    model = Submission(content=Content(submission.id, submission.folder)).fit(None, seed=0)
    asked = (*screen.perturbed[:2], Condition(("unheard",)))
    prediction = model.predict(asked, None)
    assert prediction.conditions == asked[:2] and set(prediction.cells) == set(asked[:2])
    assert prediction.absent == {asked[2]: "resource: not in the file of predictions"}
    with pytest.raises(UsageError, match="pbench score FILE"):
        Submission().fit(None, seed=0)

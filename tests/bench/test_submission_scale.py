"""T6: a scale is declared; what contradicts the declaration is refused and never guessed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from pbench.bench.contracts.errors import DataError
from pbench.bench.engine.stage import DatasetRequest
from pbench.bench.engine.submission import SubmissionRequest, prepare_submission
from pbench.bench.engine.submission_layouts import Reading
from pbench.bench.engine.submission_scale import check_level
from pbench.models.submission import Answers


def normalised(X, total=1e4):
    X = np.asarray(X, dtype=np.float64)
    return total * X / X.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def screen(make_screen):
    return make_screen(seed=8)


@pytest.fixture(scope="module")
def truths(screen, make_screen, tmp_path_factory):
    """Requests for the same truth in counts, in log1p of counts per 10,000, and on a scale of its own."""
    folder = tmp_path_factory.mktemp("truths")
    screen.adata.write_h5ad(folder / "counts.h5ad")
    make_screen(seed=8, scale="log1p_1e4").adata.write_h5ad(folder / "logs.h5ad")
    return {
        "counts": DatasetRequest("counts", str(folder / "counts.h5ad"), {"scale": "counts"}),
        "log1p_1e4": DatasetRequest("logs", str(folder / "logs.h5ad"), {"scale": "log1p_1e4"}),
        "raw": DatasetRequest("raw", str(folder / "logs.h5ad"), {"scale": "raw"}),
    }


@pytest.fixture
def read(screen, truths, tmp_path):
    """Prepare predictions that are `values` of the true cells, as cells or as means."""

    def call(values, declared, *, truth="counts", means=False, name="predictions"):
        labels = screen.adata.obs["perturbation"].astype(str)
        frame = pd.DataFrame(values, columns=screen.genes)
        if means:
            path = tmp_path / f"{name}.csv"
            frame.groupby(labels.to_numpy()).mean().drop(index="control").to_csv(path)
        else:
            path = tmp_path / f"{name}.h5ad"
            AnnData(
                sparse.csr_matrix(values.astype(np.float32)), obs=labels.to_frame(), var=frame.columns.to_frame()[[]]
            ).write_h5ad(path)
        request = truths[truth]
        submission = prepare_submission(
            SubmissionRequest(path, Reading(scale=declared), request, request.dataset().data_id(), (), True)
        )
        return Answers(submission.folder)

    return call


RIGHT = {
    "log1p_1e4": lambda X: np.log1p(normalised(X)),
    "counts": lambda X: X,
}
WRONG = {
    "counts declared to be logs": (lambda X: X, "log1p_1e4", "look like counts"),
    "counts per 10,000 declared to be logs": (normalised, "log1p_1e4", "look like counts"),
    "logs declared to be counts": (lambda X: np.log1p(normalised(X)), "counts", "hold fractions"),
    "scaled declared to be counts": (lambda X: X - 1, "counts", "hold negative values"),
    "counts per million": (lambda X: np.log1p(normalised(X, 1e6)), "log1p_1e4", "largest value|another total"),
    "log2": (lambda X: np.log2(1 + normalised(X)), "log1p_1e4", "largest value|log2"),
    "log10": (lambda X: np.log10(1 + normalised(X)), "log1p_1e4", "log10"),
    "not normalised": (lambda X: np.log1p(X), "log1p_1e4", "no normalisation"),
    "centred": (
        lambda X: np.log1p(normalised(X)) - np.log1p(normalised(X)).mean(axis=0),
        "log1p_1e4",
        "declare --prediction-scale delta",
    ),
    "unknown scale": (lambda X: np.log1p(normalised(X)), "raw", "the truth is counts"),
}


@pytest.mark.parametrize("means", [False, True], ids=["cells", "means"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_scale_is_refused(read, screen, case, means):
    transform, declared, message = WRONG[case]
    message = "one row a perturbation and are declared as counts" if means and declared == "counts" else message
    message += "|another total" if means and "10,000" in case else ""
    with pytest.raises(DataError, match=message):
        read(transform(screen.adata.X.toarray()), declared, means=means)


@pytest.mark.parametrize("declared", RIGHT)
def test_counts_and_their_logs_are_the_same_prediction(read, screen, declared):
    X = screen.adata.X.toarray()
    logs = read(RIGHT["log1p_1e4"](X), "log1p_1e4", name="logs")
    found = read(RIGHT[declared](X), declared)
    assert found.facts["scale"] == "log1p_1e4"
    np.testing.assert_allclose(found.mean, logs.mean, rtol=1e-6)
    np.testing.assert_allclose(found.variance, logs.variance, rtol=1e-4, atol=1e-6)
    for condition in list(logs.rows)[::4]:
        np.testing.assert_allclose(found.cells(condition).toarray(), logs.cells(condition).toarray(), rtol=1e-5, atol=1e-6)


def test_counts_are_refused_where_the_truths_genes_may_be_a_selection(read, screen):
    with pytest.raises(DataError, match="over which genes its cells add up to 10,000 is not known"):
        read(screen.adata.X.toarray(), "counts", truth="log1p_1e4")


def test_changes_are_means_of_changes(read, screen):
    values = np.log1p(normalised(screen.adata.X.toarray()))
    control = values[(screen.adata.obs["perturbation"] == "control").to_numpy()].mean(axis=0)
    found = read(values - control, "delta", means=True)
    assert found.facts["scale"] == "delta"
    np.testing.assert_allclose(found.mean + control, read(values, "log1p_1e4", means=True, name="plain").mean, rtol=1e-9)
    with pytest.raises(DataError, match="hold expression rather than changes"):
        read(values, "delta", means=True, name="absolute")
    with pytest.raises(DataError, match="declare --prediction-scale delta"):
        read(values - control, "log1p_1e4", means=True, name="changes")
    with pytest.raises(DataError, match="this file holds cells"):
        read(values - control, "delta", name="cells")


def test_a_scale_of_its_own_is_taken_for_what_it_is(read, screen):
    values = 3 * np.log1p(normalised(screen.adata.X.toarray()))
    assert read(values, "raw", truth="raw").facts["scale"] == "raw"
    with pytest.raises(DataError, match="on a scale of its own"):
        read(np.log1p(normalised(screen.adata.X.toarray())), "log1p_1e4", truth="raw", name="logs")


def test_the_level_is_blind_to_perturbations_and_sees_factors():
    """Strong effects in a fifth of the genes, noise and the profile of other cells pass; the factor of another logarithm does not."""
    rng = np.random.default_rng(0)
    control, other = (np.tile(rng.gamma(1, 1.2, 2000), (40, 1)) for _ in range(2))
    truth = np.maximum(control + rng.normal(0, 1.5, control.shape) * (rng.random(control.shape) < 0.2), 0)
    for prediction in (
        control,
        truth,
        np.maximum(control + rng.normal(0, 0.5, control.shape), 0),
        other,
        0.8 * truth,
        1.2 * truth,
    ):
        check_level(prediction, truth, control, "log1p_1e4", "it")
    million = np.log1p(100 * np.expm1(truth))
    for prediction in (truth / np.log(2), truth / np.log(10), million, 0 * truth, truth - control):
        with pytest.raises(DataError, match="do not lie on the truth's scale"):
            check_level(prediction, truth, control, "log1p_1e4", "it")

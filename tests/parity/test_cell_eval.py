"""cell-eval 0.8.2 (with pdex 0.3.0), run as its users run it, on the formulas that it shares with us."""

from __future__ import annotations

import numpy as np
import pytest

cell_eval = pytest.importorskip("cell_eval", reason="cell-eval is not installed: pip install 'pbench[parity]'")

#: Pseudobulks are float32 means on their side.
SINGLE = 2e-5


def evaluate(real, predicted, folder, **selection):
    """Results of every metric of cell-eval by column, sorted by perturbation."""
    evaluator = cell_eval.MetricsEvaluator(
        predicted.anndata(),
        real.anndata(),
        control_pert="control",
        pert_col="perturbation",
        num_threads=1,
        outdir=str(folder),
        **selection,
    )
    skipped = ["clustering_agreement"]
    results, _ = evaluator.compute(profile="full", skip_metrics=skipped, write_csv=False, break_on_error=True)
    return results.sort("perturbation")


@pytest.fixture(scope="module")
def theirs(screen, tmp_path_factory):
    return evaluate(*screen, tmp_path_factory.mktemp("cell_eval"))


@pytest.mark.parametrize(
    ("column", "metric"), [("mse", "mse@all"), ("mae", "mae@all"), ("pearson_delta", "pearson_delta@all~ctrl")]
)
def test_pointwise_and_delta(agree, theirs, comparison, value, column, metric):
    agree("cell-eval", f"{metric} = {column}", value(metric, comparison), theirs[column], tolerance=SINGLE)


def test_error_of_changes_is_the_error_of_expression(agree, theirs, comparison, value):
    """With one control on both sides the control cancels, so we have no metric of its own for ``mse_delta``."""
    agree("cell-eval", "mse@all = mse_delta", value("mse@all", comparison), theirs["mse_delta"], tolerance=SINGLE)
    agree("cell-eval", "mae@all = mae_delta", value("mae@all", comparison), theirs["mae_delta"], tolerance=SINGLE)


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
def test_discrimination(agree, theirs, comparison, value, distance):
    """Theirs is 1 - r / N over 0-based positions r, ours 1 - r / (N - 1): the worst is 0. No ties, no target genes here."""
    n = theirs.height
    converted = 1 - (1 - theirs[f"discrimination_score_{distance}"].to_numpy()) * n / (n - 1)
    ours = value(f"retrieval.truths@all~ctrl#{distance}", comparison)
    assert ours.min() < 1, "every rank is the first: nothing is told apart"
    agree("cell-eval", f"retrieval.truths#{distance} = 1 - (1 - PDS) N / (N - 1)", ours, converted, tolerance=1e-9)


def test_difference_a_constant_prediction_is_worth_one_half(screen, compare, value, with_cells, tmp_path):
    """cell-eval's denominator gives a constant prediction 0.5 + 1 / 2N; with ours it is worth exactly what a coin toss is."""
    real, predicted = screen
    constant = np.where((predicted.labels == "control")[:, None], predicted.X, real.of("P000").mean(axis=0))
    constant = with_cells(predicted, X=constant.astype(np.float32))
    theirs = evaluate(real, constant, tmp_path, skip_de=True)
    n = theirs.height
    ours = value("retrieval.truths@all~ctrl#l1", compare(real, constant))
    assert theirs["discrimination_score_l1"].mean() == pytest.approx(0.5 + 1 / (2 * n), abs=1e-9)
    assert ours.mean() == pytest.approx(0.5, abs=1e-9)


def test_difference_ties_share_their_rank(screen, compare, value, with_cells, tmp_path):
    """Truths that are equal to the last bit: an unstable sort decides between them there, a mid-rank here."""
    real, predicted = screen
    keep = (real.labels == "P000") | (real.labels == "control")
    twins = [real.X[keep], *(real.of("P000") for _ in real.names[1:])]
    labels = np.concatenate([real.labels[keep], *([name] * len(real.of("P000")) for name in real.names[1:])])
    twin = with_cells(real, X=np.concatenate(twins), labels=labels)
    theirs = evaluate(twin, predicted, tmp_path, skip_de=True)["discrimination_score_l2"].to_numpy()
    ours = value("retrieval.truths@all~ctrl#l2", compare(twin, predicted))
    np.testing.assert_allclose(ours, 0.5, atol=1e-12)
    assert len(np.unique(theirs)) == len(theirs), "every condition got another score for the same evidence"


def test_difference_the_target_genes_of_all_conditions_are_left_out(screen, compare, value, with_cells, tmp_path):
    """cell-eval leaves out the gene of the queried perturbation only; we leave out those of all.

    The truth lowers each targeted gene strongly and is otherwise shuffled, so that nothing but those genes can tell.
    """
    from pbench.bench.contracts.condition import Condition

    real, predicted = screen
    rng = np.random.default_rng(3)
    names = real.genes[: len(real.names)]
    renamed = dict(zip(real.names, names, strict=True)) | {"control": "control"}

    def screen_of_targets(n_cells):
        X = real.of("control")[rng.integers(0, len(real.of("control")), (len(names) + 1) * n_cells)].copy()
        labels = np.repeat(["control", *names], n_cells)
        for g, name in enumerate(names):
            X[labels == name, g] = 4.0
        return with_cells(real, X=X, labels=labels)

    assert set(renamed.values()) == {"control", *names}
    real, predicted = screen_of_targets(60), screen_of_targets(60)
    theirs = evaluate(real, predicted, tmp_path, skip_de=True)["discrimination_score_l2"].to_numpy()
    comparison = compare(
        real,
        predicted,
        conditions=tuple(Condition((str(name),)) for name in names),
        targets=tuple((g,) for g in range(len(names))),
    )
    ours = value("retrieval.truths@all~ctrl#l2", comparison)
    assert theirs.mean() > 0.9, "others' target genes give the answer away"
    assert 0.2 < ours.mean() < 0.8, "nothing but chance is left"


def test_difference_predicted_controls_are_ignored(screen, compare, value, with_cells, tmp_path):
    """A submitter who edits the controls of a prediction moves cell-eval's scores; ours read the truth's controls only."""
    real, predicted = screen
    moved = predicted.X.copy()
    control = predicted.labels == "control"
    moved[control] = real.of("P003").mean(axis=0)
    edited = with_cells(predicted, X=moved)
    before = evaluate(real, predicted, tmp_path / "before", skip_de=True)["pearson_delta"].to_numpy()
    after = evaluate(real, edited, tmp_path / "after", skip_de=True)["pearson_delta"].to_numpy()
    assert np.abs(before - after).max() > 0.05
    for metric in ("pearson_delta@all~ctrl", "retrieval.truths@all~ctrl#cosine"):
        np.testing.assert_array_equal(
            value(metric, compare(real, predicted)), value(metric, compare(real, edited)), err_msg=metric
        )

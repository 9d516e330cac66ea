"""The adversaries do what they say, and none of them wins a headline metric where it knows nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import sparse

from pbench.bench.contracts import registry
from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.screen import Dataset, DatasetCard, Screen, validate
from pbench.bench.engine.answer import ask
from pbench.bench.engine.assemble import Assembly
from pbench.bench.engine.inference import bootstrap_interval, gain
from pbench.bench.engine.prepare import prepare
from pbench.bench.engine.ranks import against
from pbench.bench.engine.score import evaluate
from pbench.datasets.gene_sim import simulate
from pbench.leaderboards.gaming import beats
from pbench.metrics import CATALOGUE as METRICS
from pbench.metrics import PROFILES
from pbench.models import CATALOGUE
from pbench.models.gaming import Adversary
from pbench.models.gaming_cells import CellAdversary
from pbench.models.no_change import NoChange
from pbench.models.shifted_controls import ShiftedControls
from pbench.models.train_mean import TrainMean

GAMING = tuple(name for name in CATALOGUE if name.startswith("gaming-"))
OF_CELLS = tuple(name for name in GAMING if CATALOGUE[name][0].startswith("gaming_cells:"))
OF_MEANS = tuple(name for name in GAMING if name not in OF_CELLS)
ASKED = (Condition(("G04",)), Condition(("G20",)), Condition(("G00", "G04")), Condition(("G10", "G11")), Condition(("unknown",)))


# What each of them does.


@pytest.fixture
def answer(load, screen):
    """Fit an adversary on the toy screen and ask; returns the answer and the changes that it claims."""

    def run(name, data=screen, asked=ASKED, **params):
        model = load(name)(**params).fit(data, seed=0)
        prediction = model.predict(asked, data.controls)
        assert prediction.conditions == tuple(asked)
        return prediction, prediction.mean - data.controls.control_mean(asked)

    return run


@pytest.fixture
def with_cells(screen):
    """The toy screen with 80 control cells."""
    rng = np.random.default_rng(5)
    level = screen.controls.mean[0]
    cells = np.maximum(rng.normal(level, 0.5, size=(80, len(level))), 0).astype(np.float32)
    return replace(screen, load_controls=lambda context: sparse.csr_matrix(cells)), cells


def test_they_are_a_group_of_their_own_with_a_source():
    assert len(OF_MEANS) >= 12 and len(OF_CELLS) >= 6
    for name in GAMING:
        entry = registry.models.entry(name)
        assert entry.group == "gaming" and entry.summary.startswith("Adversary: ")
        cls = registry.models.get(name)
        assert issubclass(cls, CellAdversary if name in OF_CELLS else Adversary)
        assert cls.reference and cls.__doc__ and not cls.capabilities.stochastic
    assert {n for n, e in registry.models.entries().items() if e.group == "gaming"} == set(GAMING)


@pytest.mark.parametrize("name", GAMING)
def test_nothing_that_they_say_comes_from_a_target(name, answer, screen):
    """Renaming the targets of the training conditions changes nothing but what is drawn by hash of a name."""
    other = tuple(Condition(tuple(f"other{t}" for t in c.targets)) for c in screen.perturbed.conditions)
    renamed = replace(screen, perturbed=replace(screen.perturbed, conditions=other))
    np.testing.assert_array_equal(answer(name)[0].mean, answer(name, renamed)[0].mean)


@pytest.mark.parametrize("name", GAMING)
def test_without_training_they_say_so(name, load, make_data):
    data = make_data([], contexts=[None])
    prediction = load(name)().fit(data, seed=0).predict(ASKED[:2], data.controls)
    assert prediction.fallback.all() and np.isfinite(prediction.mean).all()


@pytest.mark.parametrize(
    ("name", "factor"), [("gaming-scaled-up", 5.0), ("gaming-scaled-down", 0.1), ("gaming-edited-control", 1.0)]
)
def test_multiples_of_the_mean_change(name, factor, answer, screen):
    np.testing.assert_allclose(answer(name)[1], np.tile(factor * screen.mean_shift, (len(ASKED), 1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gaming-tiny-noise", "gaming-random-size", "gaming-random-copy"])
def test_drawn_by_hash(name, answer):
    first, second = answer(name)[1], answer(name)[1]
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first.round(9), axis=0)) > 1


def test_tiny_noise_is_tiny_and_never_the_same(answer, screen):
    noise = answer("gaming-tiny-noise")[1] - screen.mean_shift
    size = np.sqrt(np.mean(screen.mean_shift**2))
    assert len(np.unique(noise, axis=0)) == len(ASKED)
    assert 0.005 * size < noise.std() < 0.02 * size


def test_sizes(answer, screen):
    typical = np.median(np.linalg.norm(screen.shifts, axis=1))
    np.testing.assert_allclose(np.linalg.norm(answer("gaming-typical-size")[1], axis=1), typical, rtol=1e-5)
    signs = answer("gaming-sign-only")[1]
    np.testing.assert_allclose(np.linalg.norm(signs, axis=1), typical, rtol=1e-5)
    np.testing.assert_array_equal(np.sign(signs[0]), np.sign(screen.mean_shift))
    assert len(np.unique(np.abs(signs).round(9))) == 1
    ratio = answer("gaming-random-size")[1] / screen.mean_shift
    np.testing.assert_allclose(ratio, np.tile(ratio[:, :1], ratio.shape[1]), rtol=1e-3)


def test_selected_genes_by_a_loop(answer, screen):
    own, control = screen.perturbed, screen.controls
    noise = control.var.mean() / control.n_cells.sum()
    expected = screen.mean_shift.astype(float).copy()
    for g in range(len(screen.genes)):
        chosen = []
        for i, shift in enumerate(screen.shifts):
            t = np.abs(shift) / np.sqrt(own.var[i] / own.n_cells[i] + noise)
            if (t > t[g]).sum() < 3:
                chosen.append(shift[g])
        if chosen:
            expected[g] = np.mean(chosen)
    np.testing.assert_allclose(answer("gaming-selected-genes", top=3)[1][0], expected, rtol=1e-5, atol=1e-6)


def test_copies_are_training_changes(answer, screen):
    for name in ("gaming-random-copy", "gaming-hub"):
        for row in answer(name)[1]:
            assert np.isclose(screen.shifts, row, atol=1e-5).all(axis=1).any()
    unit = screen.shifts / np.linalg.norm(screen.shifts, axis=1, keepdims=True)
    hub = max(range(len(unit)), key=lambda i: np.mean([unit[i] @ other for other in unit]))
    np.testing.assert_allclose(answer("gaming-hub")[1], np.tile(screen.shifts[hub], (len(ASKED), 1)), rtol=1e-5, atol=1e-6)


def test_distorted_profiles(answer, screen):
    mean = screen.controls.control_mean(ASKED) + screen.mean_shift
    np.testing.assert_array_equal(answer("gaming-sorted-genes")[0].mean, mean[:, ::-1])
    np.testing.assert_allclose(answer("gaming-count-scale")[0].mean, np.expm1(mean))
    np.testing.assert_allclose(answer("gaming-extra-log")[0].mean, np.log1p(np.maximum(mean, 0)))
    many = tuple(Condition((f"T{i}",)) for i in range(200))
    wrong = ~np.isclose(answer("gaming-mixed-scale", asked=many)[0].mean, mean[0]).all(axis=1)
    assert 70 < wrong.sum() < 130


def test_the_edited_control_lies_away_and_has_no_way_into_the_answer(load, screen):
    honest = load("train-mean")().fit(screen, seed=0).predict(ASKED, screen.controls)
    model = load("gaming-edited-control")().fit(screen, seed=0)
    edited = model.predict(ASKED, screen.controls)
    assert edited.mean.tobytes() == honest.mean.tobytes() and edited.conditions == honest.conditions
    own = honest.mean - model.own_control(screen.controls).control_mean(ASKED)
    np.testing.assert_allclose(own, np.tile(5 * screen.mean_shift, (len(ASKED), 1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OF_CELLS)
def test_cells_surround_the_train_mean(name, answer, with_cells, screen):
    assert answer(name)[0].cells is None
    data, _ = with_cells
    prediction, change = answer(name, data)
    np.testing.assert_allclose(change, np.tile(screen.mean_shift, (len(ASKED), 1)), rtol=1e-5, atol=1e-6)
    assert set(prediction.cells) == set(ASKED)
    for condition in ASKED:
        cells = prediction.cells[condition]
        assert cells.dtype == np.float32 and cells.shape[1] == len(screen.genes) and (cells >= 0).all()
        np.testing.assert_array_equal(cells, prediction.cells[condition])
    if name not in ("gaming-inflated-variance", "gaming-count-cells", "gaming-extra-log-cells"):
        # What is clipped at zero moves the mean of cells a little.
        assert np.abs(prediction.cells[ASKED[0]].mean(axis=0) - prediction.mean[0]).max() < 0.3


def test_how_cells_vary(answer, with_cells):
    data, controls = with_cells
    cells = {name: answer(name, data)[0].cells[ASKED[0]] for name in OF_CELLS}
    assert len(np.unique(cells["gaming-constant-cells"], axis=0)) == 1
    high = controls.mean(axis=0) > 2.5
    spread = controls[:, high].std(axis=0)
    np.testing.assert_allclose(cells["gaming-noise-cells"][:, high].std(axis=0), spread, rtol=0.4)
    assert (cells["gaming-inflated-variance"][:, high].std(axis=0) > 2 * spread).all()
    assert len(np.unique(cells["gaming-duplicated-cells"], axis=0)) == 5
    assert len(cells["gaming-duplicated-cells"]) == 500
    np.testing.assert_allclose(cells["gaming-two-far-cells"][1] / 2, cells["gaming-constant-cells"][0], rtol=1e-5)
    assert not cells["gaming-two-far-cells"][0].any()
    assert len(cells["gaming-many-cells"]) == 2000 and len(np.unique(cells["gaming-many-cells"], axis=0)) <= 80
    assert cells["gaming-count-cells"].max() > 3 * controls.max()
    assert cells["gaming-extra-log-cells"].max() < np.log1p(controls.max() + 1)


def test_a_context_without_control_cells_has_a_mean_alone(answer, with_cells):
    data, _ = with_cells
    asked = (Condition(("G04",)), Condition(("G04",), context="elsewhere"))
    for name in OF_CELLS:
        assert set(answer(name, data, asked)[0].cells) == {asked[0]}


# Whether it pays. Controls that know nothing either are what an adversary must not beat.


FLOOR = {"train-mean": TrainMean, "no-change": NoChange, "shifted-controls": ShiftedControls}
#: Share of the way from the best of them to perfection that counts as a win. A constant that is shrunk a little is truly a
#: better constant where perturbations share nothing; in these screens that is worth 1 %, gaming a score is worth far more.
MARGIN = 0.05
#: What knowing nothing is worth, where the train mean is undefined by construction.
CHANCE = {"retrieval": 0.5, "pearson_delta": 0.0, "spearman_delta": 0.0, "cosine_delta": 0.0}


def norman_sim(seed):
    screen = simulate(seed=seed, n_genes=250, n_singles=40, n_doubles=60, cells_per_perturbation=30, n_controls=300)
    return validate(screen, source="norman-sim")


def systematic(seed, *, n_doubles=0):
    """Perturbations that share most of their response and differ in strength, as those of real screens do."""
    import pandas as pd
    from anndata import AnnData

    rng = np.random.default_rng(seed)
    genes = [f"G{i:03d}" for i in range(150)]
    targets = genes[:60]
    base = rng.normal(0, 1.2, len(genes))
    shared = 0.5 * rng.normal(size=len(genes)) * (rng.random(len(genes)) < 0.3)
    effect = {
        t: rng.lognormal(0, 0.5) * (shared + 0.5 * rng.normal(size=len(genes)) * (rng.random(len(genes)) < 0.15)) for t in targets
    }
    pairs = rng.permutation([f"{a}+{b}" for i, a in enumerate(targets) for b in targets[i + 1 :]])[:n_doubles]
    blocks, labels = [], []
    for label in ("control", *targets, *pairs):
        n = 400 if label == "control" else 40
        change = sum((effect[t] for t in str(label).split("+") if label != "control"), np.zeros(len(genes)))
        rate = np.exp(base + change)
        depth = rng.lognormal(np.log(2000), 0.35, (n, 1))
        blocks.append(rng.poisson(depth * rate / rate.sum() * rng.gamma(4, 0.25, (n, len(genes)))))
        labels += [str(label)] * n
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i:05d}" for i in range(len(labels))])
    adata = AnnData(sparse.csr_matrix(np.concatenate(blocks).astype(np.float32)), obs=obs, var=pd.DataFrame(index=genes))
    card = DatasetCard("systematic", "a toy", "made by a test", "CC0", "counts", "control", simulated=True)
    return validate(Screen(adata, card), source="systematic")


#: Scores that are known to be won without knowledge, on which screen and by whom.
GAMEABLE = (
    ("pearson_delta@all~pert", "systematic, unseen singles", "gaming-scaled-down"),
    ("pearson_delta@de20~pert", "systematic, doubles", "gaming-scaled-up"),
    ("pearson_delta@de20~ctrl", "systematic, doubles", "gaming-selected-genes"),
    ("magnitude_ratio@all~ctrl", "norman-sim, doubles", "gaming-typical-size"),
    ("energy@all#pca", "norman-sim, doubles", "gaming-inflated-variance"),
    ("de_recall@all~ctrl#cells", "systematic, unseen singles", "gaming-count-cells"),
    ("de_overlap.n@all~ctrl#cells", "systematic, doubles", "gaming-extra-log-cells"),
)
SCALAR = tuple(m for m in PROFILES["headline"] if METRICS[m].level == "perturbation")
RETRIEVAL = tuple(m for m in METRICS if m.startswith(("retrieval.truths", "retrieval.predictions")))
SCORED = tuple(dict.fromkeys((*SCALAR, *RETRIEVAL, *(metric for metric, _, _ in GAMEABLE))))

SCENES = {
    "norman-sim, unseen singles": (norman_sim, "unseen-single"),
    "norman-sim, doubles": (norman_sim, "doubles"),
    "systematic, unseen singles": (systematic, "unseen-single"),
    "systematic, doubles": (lambda seed: systematic(seed, n_doubles=60), "doubles"),
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Values of a metric on a scene for all adversaries and both controls, pooled over the folds of the split."""

    @cache
    def everything(scene, seed):
        make, split = SCENES[scene]
        data_id = f"{scene} {seed}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
            screen = make(seed)
            dataset = Dataset(card=screen.card, data_id=lambda: data_id, load=lambda: screen)
            prepared = prepare(dataset, data_id=data_id, cells=True, loaded=lambda: screen)
            asked = FLOOR | {name: registry.models.get(name) for name in GAMING}
            found = {name: {m: [] for m in SCORED} for name in asked}
            for manifest in registry.splits.get(split)(screen, data_id=data_id):
                assembly = Assembly(prepared, manifest)
                folder = tmp_path_factory.mktemp("cells") / "truth"
                assembly.write_cell_truth(folder)
                truth, data = assembly.truth(folder), assembly.training({}, cells=False)
                for name, columns in found.items():
                    values = evaluate([METRICS[m] for m in SCORED], truth, ask(asked[name](), data, truth, seed=0))
                    for metric, column in columns.items():
                        assert not str(values[metric].reason[0]).startswith("metric failed"), (name, values[metric].reason[0])
                        column.append(values[metric].value)
        return {m: {name: np.concatenate(columns[m]) for name, columns in found.items()} for m in SCORED}

    return everything


def winners(columns, metric):
    """Adversaries that beat the train mean in the direct test and all of the floor by the margin.

    Where the train mean is undefined: the next of the floor in its place, or chance.
    """
    facts = {"direction": metric.direction, "perfect": metric.perfect}
    gains = {name: np.nanmean(gain(v, **facts)) for name, v in columns.items() if not np.isnan(v).all()}
    floor = [name for name in FLOOR if name in gains]
    best = max((gains[f] for f in floor), default=0.0)
    room = float(gain(np.array(metric.perfect), **facts)) - best
    better = outranking(columns, metric, floor[0]) if floor else []
    won = []
    for name in (n for n in GAMING if n in gains):
        family = metric.parts["family"]
        if name in better and gains[name] - best > MARGIN * room:
            won.append(name)
        elif "train-mean" not in gains and family in CHANCE:
            values = columns[name][~np.isnan(columns[name])]
            if len(values) > 1 and bootstrap_interval(values)[0] > CHANCE[family]:
                won.append(name)
    return won


def outranking(columns, metric, baseline="train-mean"):
    """Adversaries that a direct test (paired sign flips, Holm over the adversaries) finds better than a baseline, as boards do."""
    facts = {"direction": metric.direction, "perfect": metric.perfect}
    return [m for m, t in against({m: columns[m] for m in GAMING}, columns[baseline], **facts).items() if beats(t)]


SEEDS = (0, 1)


@pytest.mark.parametrize("metric", SCALAR)
@pytest.mark.parametrize("scene", SCENES)
def test_no_adversary_wins_a_headline_metric(scored, scene, metric):
    assert {seed: winners(scored(scene, seed)[metric], METRICS[metric]) for seed in SEEDS} == {seed: [] for seed in SEEDS}


@pytest.mark.parametrize("metric", SCALAR)
def test_none_outranks_the_train_mean_where_perturbations_share_their_response(scored, metric):
    """No margin here: the train mean is as good as knowing nothing gets."""
    for seed in SEEDS:
        assert outranking(scored("systematic, unseen singles", seed)[metric], METRICS[metric]) == [], seed


@pytest.mark.parametrize(("metric", "scene", "adversary"), GAMEABLE)
def test_the_suite_would_notice(scored, metric, scene, adversary):
    """Scores that can be won without knowledge are seen to be: none of them may become a headline unnoticed."""
    assert any(adversary in winners(scored(scene, seed)[metric], METRICS[metric]) for seed in SEEDS)


@pytest.mark.parametrize("scene", SCENES)
def test_an_edited_control_changes_no_score(scored, scene):
    for metric, columns in scored(scene, 0).items():
        np.testing.assert_array_equal(columns["gaming-edited-control"], columns["train-mean"], err_msg=metric)


@pytest.mark.parametrize("scene", SCENES)
def test_a_constant_is_worth_exactly_one_half_in_every_retrieval(scored, scene):
    constants = ("scaled-up", "scaled-down", "typical-size", "sign-only", "selected-genes", "hub", "edited-control")
    for metric, columns in scored(scene, 0).items():
        if metric in RETRIEVAL:
            for name in constants:
                assert np.nanmean(columns[f"gaming-{name}"]) == pytest.approx(0.5, abs=1e-12), (metric, name)

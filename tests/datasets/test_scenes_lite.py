"""The two rendered data sets: pixels and ground truth fit, and a perturbation moves what it is said to move."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, truncnorm

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import UsageError
from pbench.bench.contracts.identity import derived_seed
from pbench.bench.contracts.registry import datasets
from pbench.datasets.latent import process
from pbench.datasets.scenes import lite_static, lite_temporal
from pbench.datasets.scenes.c3di_lite import C3DI_LITE_STATIC, C3DI_LITE_TEMPORAL
from pbench.datasets.scenes.renderer import render
from pbench.datasets.scenes.scene import VARIABLES, scenes

BOTH = {"c3di-lite-static": C3DI_LITE_STATIC, "c3di-lite-temporal": C3DI_LITE_TEMPORAL}
FEW = {
    "c3di-lite-static": {"images_per_perturbation": 4, "n_controls": 5},
    "c3di-lite-temporal": {"units_per_perturbation": 2, "n_doubles": 2},
}
#: No correct sample of these sizes comes near this by chance.
IMPOSSIBLE = 1e-5


@pytest.fixture(scope="module")
def static():
    return lite_static.sample(seed=0, n_classes=7, n_rotations=3, images_per_perturbation=1500, n_controls=1500)


@pytest.fixture(scope="module")
def temporal():
    return lite_temporal.sample(seed=0, mode="paired", n_classes=3, n_doubles=5, n_times=6, units_per_perturbation=800)


@pytest.fixture(scope="module")
def screens():
    return {name: dataset.generate(**FEW[name]).load() for name, dataset in BOTH.items()}


def column(sampled, name):
    return sampled.truth.values[:, sampled.truth.names.index(name)]


@pytest.mark.parametrize("name", BOTH)
def test_a_screen_is_pixels_and_the_variables_that_they_show(name, screens):
    screen = screens[name]
    X, truth = screen.adata.X, screen.ground_truth
    assert X.dtype == np.float32
    assert tuple(screen.adata.uns["image_shape"]) == (32, 32, 3)
    assert 0 <= X.min() < X.max() <= 1
    np.testing.assert_array_equal(np.rint(X * 255).astype(np.float32) / np.float32(255), X)
    assert list(screen.genes) == sorted(screen.genes)
    # Drawn again from what the ground truth says.
    told = {n: v for n, v in zip(truth.names, truth.values.T, strict=True) if n != "class"}
    again = render(scenes(told, truth.values[:, truth.names.index("class")], white=name.endswith("temporal")), 32)
    np.testing.assert_array_equal(X, again.reshape(len(X), -1) / np.float32(255))
    assert set(screen.adata.obs["perturbation"]) == set(truth.perturbations)
    assert truth.perturbations[0] == "control"
    assert np.abs(truth.values[:, [n != "class" for n in truth.names]]).max() <= 1


@pytest.mark.parametrize("name", BOTH)
def test_no_perturbation_reaches_an_invariant_variable(name, screens):
    truth = screens[name].ground_truth
    assert not truth.reached[:, truth.block("invariant")].any()
    assert truth.targets[1:].any(axis=1).all()
    assert not truth.targets[0].any()
    # Every responsive variable is somebody's target.
    assert truth.targets[:, truth.block("responsive")].any(axis=0).all()
    labels = [Condition(tuple(n for n, hit in zip(truth.names, row, strict=True) if hit)).label for row in truth.targets]
    assert tuple(labels) == truth.perturbations


@pytest.mark.parametrize("name", BOTH)
def test_cards_say_what_is_made_and_that_it_is_lite(name):
    dataset = BOTH[name]
    assert datasets.get(name) is dataset
    module = lite_static if name.endswith("static") else lite_temporal
    defaults = {k: v for k, v in module.simulate.__kwdefaults__.items() if k not in ("size", "renderer")}
    sampled = module.sample(**defaults)
    assert dataset.card.n_cells == len(sampled.scenes)
    assert dataset.card.n_perturbations == len(sampled.truth.perturbations) - 1
    assert dataset.card.n_genes == 32 * 32 * 3
    assert dataset.card.simulated
    assert "LITE" in dataset.card.title
    assert any("never to be compared with numbers on the published Causal3DIdent" in d for d in dataset.card.known_defects)


@pytest.mark.parametrize("name", BOTH)
def test_dials(name):
    dataset = BOTH[name]
    turned = dataset.generate(size=64, n_classes=2)
    assert turned.card.name == f"{name}[n_classes=2,size=64]"
    ids = {
        dataset.data_id(),
        turned.data_id(),
        dataset.generate(seed=1).data_id(),
        dataset.generate(renderer="blender").data_id(),
    }
    assert len(ids) == 4
    assert dataset.generate(size=32).data_id() == dataset.data_id()
    with pytest.raises(UsageError, match="has no parameter 'sise'.*size"):
        dataset.generate(sise=64)
    for wrong in ({"size": 8}, {"size": 512}, {"n_classes": 8}, {"n_classes": 0}, {"renderer": "pencil"}):
        with pytest.raises(UsageError):
            dataset.generate(**wrong).load()


@pytest.mark.parametrize(
    "wrong", [{"mode": "film"}, {"n_doubles": 11}, {"n_times": 1}, {"units_per_perturbation": 0}, {"n_doubles": -1}]
)
def test_dials_of_trajectories_have_limits(wrong):
    with pytest.raises(UsageError):
        C3DI_LITE_TEMPORAL.generate(**wrong).load()


@pytest.mark.parametrize("wrong", [{"n_rotations": 0}, {"n_rotations": 4}, {"images_per_perturbation": 0}, {"n_controls": 0}])
def test_dials_of_static_scenes_have_limits(wrong):
    with pytest.raises(UsageError):
        C3DI_LITE_STATIC.generate(**wrong).load()


def test_pictures_of_another_size():
    screen = C3DI_LITE_TEMPORAL.generate(size=16, units_per_perturbation=1, n_doubles=0, n_times=2).load()
    assert screen.adata.shape == (12, 16 * 16 * 3)
    assert screen.card.n_genes == 16 * 16 * 3


@pytest.mark.parametrize("name", BOTH)
def test_a_contact_sheet_shows_a_row_for_each_class_or_perturbation(name, tmp_path):
    from PIL import Image

    path = tmp_path / "new" / "sheet.png"
    few = {"n_classes": 2, "n_rotations": 1} if name.endswith("static") else {"n_doubles": 1, "n_times": 3}
    BOTH[name].generate(**few).picture(path)
    sheet = np.asarray(Image.open(path))
    rows, columns = (2, 8) if name.endswith("static") else (7, 3)
    assert sheet.shape[0] / sheet.shape[1] == pytest.approx((rows * 136 + 88) / (columns * 136 + 174), rel=0.02)
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000


def model(seed=0):
    return lite_static.scene_model(np.random.default_rng(derived_seed(seed, "c3di_lite_static", "model")))


def quantiles(values, mean, sd):
    return truncnorm.cdf(values, (-1 - mean) / sd, (1 - mean) / sd, mean, sd)


def test_an_intervention_changes_the_mechanism_of_its_target_alone(static):
    drawn, label = model(), static.columns["perturbation"]
    for name in static.truth.perturbations:
        rows = label == name
        raw, kind = static.scenes.raw[rows], static.scenes.shape[rows]
        for i, variable in enumerate(VARIABLES):
            mean, sd = drawn.mechanism(i, kind, raw)
            p = kstest(quantiles(raw[:, i], mean, sd), "uniform").pvalue
            if variable == name:
                assert p < IMPOSSIBLE
                assert kstest(quantiles(raw[:, i], drawn.forced[i], 0.25), "uniform").pvalue > IMPOSSIBLE
            else:
                assert p > IMPOSSIBLE, (name, variable)


def test_the_effects_of_causes_are_those_of_the_graph(static):
    graph, names = static.truth.graph, static.truth.names
    drawn = model()
    place = [names.index(n) for n in VARIABLES]
    np.testing.assert_array_equal(graph[np.ix_(place, place)], drawn.weights != 0)
    classed = (np.ptp(drawn.means, axis=0) > 0).tolist()
    assert classed == graph[place, names.index("class")].tolist()
    assert not graph[names.index("class")].any()
    assert np.linalg.matrix_power(graph.astype(int), len(names)).sum() == 0
    # And in the scenes: whoever is not reached by the spotlight's angle has the distribution of the control.
    label = static.columns["perturbation"]
    reached = static.truth.reached[static.truth.perturbations.index("spot_angle")]
    for i, name in enumerate(names):
        p = kstest(*(column(static, name)[label == c] for c in ("spot_angle", "control"))).pvalue
        assert (p < IMPOSSIBLE) == bool(reached[i]), name


def test_rotations_that_do_not_vary_are_no_latent_variables():
    sampled = lite_static.sample(seed=0, n_classes=7, n_rotations=1, images_per_perturbation=50, n_controls=50)
    assert not {"roll", "pitch"} & set(sampled.truth.names)
    assert not sampled.scenes.column("roll").any()
    assert sampled.scenes.column("yaw").std() > 0.2
    np.testing.assert_array_equal(sampled.scenes.column("yaw"), column(sampled, "yaw"))


def test_classes_are_equally_frequent_under_every_perturbation(static):
    for name in static.truth.perturbations:
        counts = np.bincount(static.scenes.shape[static.columns["perturbation"] == name], minlength=7)
        assert np.abs(counts / 1500 - 1 / 7).max() < 0.05


def test_invariant_variables_stay_in_a_unit_and_are_alike_under_all_perturbations(temporal):
    unit, label = temporal.columns["unit"], temporal.columns["perturbation"]
    for name in ("background_hue", "class"):
        values = column(temporal, name).reshape(-1, 6)
        assert (np.ptp(values, axis=1) == 0).all()
        assert (unit.reshape(-1, 6) == unit.reshape(-1, 6)[:, :1]).all()
        first = values[:, 0]
        for p in temporal.truth.perturbations[1:]:
            assert kstest(first[label[::6] == p], first[label[::6] == "control"]).pvalue > IMPOSSIBLE


def test_until_time_0_nothing_is_perturbed_and_then_the_target_moves(temporal):
    label, time = temporal.columns["perturbation"], temporal.columns["time"]
    for p in temporal.truth.perturbations[1:]:
        targets = p.split("+")
        for name in lite_temporal.RESPONSIVE:
            values = column(temporal, name)
            at = {t: (values[(label == p) & (time == t)], values[(label == "control") & (time == t)]) for t in (0, 5)}
            assert kstest(*at[0]).pvalue > IMPOSSIBLE
            if name in targets:
                assert kstest(*at[5]).pvalue < IMPOSSIBLE


def test_a_perturbation_changes_the_next_step_of_its_targets_alone(temporal):
    """What is new at each step, with the process drawn again: standard normal but for the targets."""
    rng = np.random.default_rng(derived_seed(0, "c3di_lite_temporal", "process"))
    wired = process.process(rng, 5, 1, lag=1, instantaneous=False, edge=0.3, invariant=lite_temporal.INVARIANT_EFFECT)
    rng = np.random.default_rng(derived_seed(0, "c3di_lite_temporal", "reference"))
    settled = wired.sample(rng, lite_temporal.REFERENCE, 1, process.neutral(5))[0][:, 0]
    values = temporal.truth.values
    z = np.arctanh(values[:, :5]) * 1.5 * settled.std(axis=0) + settled.mean(axis=0)
    v = 1.5 * np.arctanh(values[:, 5:6])
    before, after = (z.reshape(-1, 6, 5)[:, s].reshape(-1, 5) for s in (slice(0, 5), slice(1, 6)))
    v = np.repeat(v[::6], 5, axis=0)
    new = (after - wired.keep * before - np.tanh(before) @ wired.lagged[0].T - v @ wired.invariant.T) / process.INNOVATION
    label = np.repeat(temporal.columns["perturbation"][::6], 5)
    for p in temporal.truth.perturbations:
        for i, name in enumerate(lite_temporal.RESPONSIVE):
            fits = kstest(new[label == p, i], "norm").pvalue > IMPOSSIBLE
            assert fits == (name not in p.split("+")), (p, name)
    lagged = temporal.truth.lagged[0]
    np.testing.assert_array_equal(lagged[:5, :5], (wired.lagged[0] != 0) | np.eye(5, dtype=bool))
    np.testing.assert_array_equal(lagged[:5, 5], wired.invariant[:, 0] != 0)
    assert not lagged[:5, 6].any()


@pytest.mark.parametrize(("mode", "times"), [("paired", range(6)), ("snapshot", range(6)), ("endpoint", [5])])
def test_modes_see_as_many_pictures_in_different_ways(mode, times):
    sampled = lite_temporal.sample(seed=0, mode=mode, n_classes=3, n_doubles=2, n_times=6, units_per_perturbation=7)
    assert len(sampled.scenes) == 8 * 7 * 6
    if mode == "endpoint":
        assert set(sampled.columns) == {"perturbation"}
        return
    units = np.unique(sampled.columns["unit"], return_counts=True)[1]
    assert set(units) == ({6} if mode == "paired" else {1})
    for p in sampled.truth.perturbations:
        seen = sampled.columns["time"][sampled.columns["perturbation"] == p]
        assert np.unique(seen, return_counts=True)[1].tolist() == [7] * 6
        assert set(seen) == set(map(float, times))


def test_streams_do_not_depend_on_each_other():
    few, many = (
        lite_temporal.sample(seed=3, mode="paired", n_classes=3, n_doubles=n, n_times=3, units_per_perturbation=5) for n in (1, 4)
    )
    n = len(few.scenes)
    np.testing.assert_array_equal(few.truth.values, many.truth.values[:n])
    one, three = (lite_static.sample(seed=3, n_classes=7, n_rotations=n, images_per_perturbation=9, n_controls=9) for n in (1, 3))
    for label in one.truth.perturbations:
        for name in ("x", "yaw", "object_hue"):
            a, b = (column(s, name)[s.columns["perturbation"] == label] for s in (one, three))
            np.testing.assert_array_equal(a, b)
    other = lite_static.sample(seed=4, n_classes=7, n_rotations=1, images_per_perturbation=9, n_controls=9)
    assert not np.array_equal(one.truth.values, other.truth.values)

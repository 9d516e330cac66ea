"""Reference rows of codes: noise, labels, the true latent variables, and these turned at random."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse
from small_screens import training_data

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import NotFitted, UsageError
from pbench.bench.contracts.latents import GroundTruth
from pbench.bench.contracts.training import Cells
from pbench.bench.engine.encoding import HeldOut, encode
from pbench.bench.kernels.matching import matched, rotation_floor
from pbench.models.encoders.references import LabelCode, NoiseCode, OracleCode, RotatedCode

A, CONTROL = Condition(("A",)), Condition()
ROWS = [NoiseCode, LabelCode, OracleCode, RotatedCode]
N = 4000


def ground_truth(n=N):
    """Two correlated real variables, an angle and a class that are responsive, and an invariant one."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 5))
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    z[:, 2] = rng.uniform(0, 2 * np.pi, n)
    z[:, 3] = rng.integers(0, 3, n)
    graph = np.zeros((5, 5), dtype=bool)
    graph[1, 0] = True
    lagged = np.zeros((1, 5, 5), dtype=bool)
    lagged[0, 0, 2] = lagged[0, 3, 3] = True
    return GroundTruth(
        z,
        ("a", "b", "angle", "class", "rest"),
        ("responsive",) * 4 + ("invariant",),
        ("continuous", "continuous", "circular", "categorical", "continuous"),
        ("control", "A", "A+B", "B"),
        np.array([[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 1, 0, 0]], dtype=bool),
        graph,
        lagged,
    )


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(1)
    conditions = (CONTROL, Condition(("A",), time=1.0), Condition(("A", "B"), time=1.0), Condition(("B",), time=2.0))
    data = training_data({c: rng.normal(size=(10, 6)) for c in conditions})
    codes = rng.integers(0, 4, N)
    time = np.where(codes == 0, rng.integers(1, 3, N), np.array([0, 1, 1, 2])[codes]).astype(float)
    X = sparse.csr_matrix(rng.normal(size=(N, 6)).astype(np.float32))
    return data, Cells(X, codes, conditions, "raw", time=time), ground_truth()


def fitted(cls, scene, seed=0, ground=...):
    data, _, truth = scene
    return cls().fit(data, seed=seed, truth=SimpleNamespace(ground=truth if ground is ... else ground))


@pytest.mark.parametrize("cls", ROWS)
def test_a_row_predicts_nothing_and_needs_known_latents(cls, scene):
    data, cells, _ = scene
    prediction = fitted(cls, scene).predict([A, CONTROL], data.controls)
    assert prediction.mean.shape == (0, 6)
    assert dict(prediction.absent) == dict.fromkeys([A, CONTROL], "capability: encodes only")
    real = fitted(cls, scene, ground=None)
    assert dict(real.predict([A], data.controls).absent) == {A: "only a simulated screen knows its latent variables"}
    with pytest.raises(UsageError, match="only a simulated screen"):
        real.encode(cells)
    with pytest.raises(NotFitted):
        cls().encode(cells)
    with pytest.raises(NotFitted):
        cls().predict([A], data.controls)


@pytest.mark.parametrize("cls", ROWS)
def test_the_engine_takes_its_codes(cls, scene):
    _, cells, truth = scene
    found = encode(fitted(cls, scene), HeldOut(cells, truth))
    assert (found.blind is None) == (cls is not LabelCode)
    assert all(np.isfinite(v).all() for v in found.codes.values())


@pytest.mark.parametrize("cls", ROWS)
def test_rows_follow_from_the_seed_where_they_are_random(cls, scene):
    _, cells, _ = scene
    first, again, other = (fitted(cls, scene, seed).encode(cells) for seed in (0, 0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert np.array_equal(first[name], other[name]) == (not cls.capabilities.stochastic)


def test_noise_is_noise(scene):
    _, cells, truth = scene
    row = fitted(NoiseCode, scene)
    found = row.encode(cells)["latent"]
    assert found.shape == (N, 5)
    np.testing.assert_allclose(np.cov(found.T), np.eye(5), atol=0.1)
    report = np.arange(N) % 2 == 0
    assert np.abs(matched(truth.values, found, report)).max() < 5 / np.sqrt(N / 2)
    few = replace(cells, X=cells.X[:9], codes=cells.codes[:9], time=cells.time[:9])
    np.testing.assert_array_equal(row.encode(few)["latent"], found[:9])


def labelled(n_labels, n, *, effect, seed=0, unit=None, time=None):
    """`LabelCode` on n cells with a variable whose mean is the label's times an effect and one that knows no label; and the means."""
    rng = np.random.default_rng(seed)
    conditions = (CONTROL, *(Condition((f"P{i:03d}",)) for i in range(1, n_labels)))
    codes = np.arange(n) % n_labels if unit is None else unit % n_labels
    means = effect * rng.normal(size=n_labels)[codes]
    noise = rng.normal(size=(n if unit is None else unit.max() + 1, 2))[np.arange(n) if unit is None else unit]
    z = np.column_stack([means + noise[:, 0], noise[:, 1]])
    none = np.zeros((2, 2), dtype=bool)
    ground = GroundTruth(
        z,
        ("told", "untold"),
        ("responsive",) * 2,
        ("continuous",) * 2,
        tuple(c.label for c in conditions),
        np.zeros((n_labels, 2), dtype=bool),
        none,
        none[None][:0],
    )
    cells = Cells(sparse.csr_matrix((n, 6), dtype=np.float32), codes, conditions, "raw", unit=unit, time=time)
    row = LabelCode().fit(training_data({CONTROL: np.ones((3, 6))}), seed=0, truth=SimpleNamespace(ground=ground))
    return row, cells, z, means


def test_labels_say_as_much_as_the_true_means_given_the_label():
    row, cells, z, means = labelled(20, 8000, effect=1.0)
    found = row.encode(cells)["latent"]
    best = np.corrcoef(z[:, 0], means)[0, 1]
    assert np.corrcoef(z[:, 0], found[:, 0])[0, 1] == pytest.approx(best, abs=0.01)
    # The same for all cells of a label in a half of the units, and nothing of the cell itself.
    assert len(np.unique(found[:, 0])) == 40
    np.testing.assert_array_equal(row.encode(replace(cells, X=cells.X[::-1]))["latent"], found)
    # Far more than the best single target says, which is what codes of ones and zeros would score.
    one_hot = (cells.codes[:, None] == np.arange(20)).astype(float)
    assert max(abs(np.corrcoef(z[:, 0], h)[0, 1]) for h in one_hot.T) < best - 0.2


@pytest.mark.parametrize("trajectories", [False, True])
def test_labels_say_nothing_of_a_variable_that_does_not_depend_on_them(trajectories):
    # Ten units a label: with its own unit in the mean of its label each cell would correlate with it, .3 in all.
    unit = np.repeat(np.arange(4000), 2) if trajectories else None
    time = np.tile([0.0, 1.0], 4000) if trajectories else None
    scores = []
    for seed in range(5):
        row, cells, z, _ = labelled(400, 8000 if trajectories else 4000, effect=0.0, seed=seed, unit=unit, time=time)
        found = row.encode(cells)["latent"]
        scores += [np.corrcoef(z[:, i], found[:, i])[0, 1] for i in (0, 1)]
    assert abs(np.mean(scores)) < 4 / np.sqrt(4000 * len(scores))


def test_labels_include_the_time_and_labels_of_one_unit_say_the_mean_of_all(scene):
    _, cells, truth = scene
    found = fitted(LabelCode, scene).encode(cells)["latent"]
    told = {(c, t) for c, t in zip(cells.codes.tolist(), cells.time.tolist(), strict=True)}
    # An angle as sine and cosine, a class as three frequencies.
    assert found.shape == (N, 8) and len(np.unique(found, axis=0)) == 2 * len(told)
    blind = fitted(LabelCode, scene).encode(HeldOut(cells, None).blind)["latent"]
    assert len(np.unique(blind, axis=0)) == 4
    row, alone, z, _ = labelled(6, 6, effect=1.0)
    assert len(np.unique(row.encode(alone)["latent"][:, 0])) == 2
    single, one, _, _ = labelled(1, 1, effect=1.0)
    np.testing.assert_array_equal(single.encode(one)["latent"], [[0, 0]])
    assert np.isfinite(z).all() and truth.d == 5


def test_the_oracle_gives_the_truth_by_block(scene):
    _, cells, truth = scene
    codes = fitted(OracleCode, scene).encode(cells)
    z = truth.values
    classes = [z[:, 3] == c for c in range(3)]
    np.testing.assert_allclose(
        codes["responsive"], np.column_stack([z[:, 0], z[:, 1], np.sin(z[:, 2]), np.cos(z[:, 2]), *classes]), atol=1e-12
    )
    np.testing.assert_array_equal(codes["invariant"], z[:, 4:])
    only = replace(truth, blocks=("responsive",) * 5)
    assert set(fitted(OracleCode, scene, ground=only).encode(cells)) == {"responsive"}
    with pytest.raises(UsageError, match="3 cells were given.*4000"):
        fitted(OracleCode, scene).encode(replace(cells, codes=cells.codes[:3]))


def test_the_oracle_knows_targets_and_graph(scene):
    row = fitted(OracleCode, scene)
    assert {t: v.tolist() for t, v in row.targets().items()} == {"A": [1, 0, 0, 0, 0, 0, 0], "B": [0, 0, 1, 1, 0, 0, 0]}
    expected = np.zeros((7, 7))
    expected[1, 0] = expected[0, 2] = expected[0, 3] = 1
    expected[4:, 4:] = 1
    np.testing.assert_array_equal(row.graph(), expected)
    invariant = replace(scene[2], blocks=("invariant",) * 5)
    assert fitted(OracleCode, scene, ground=invariant).graph().shape == (8, 8)


def test_a_rotation_keeps_everything_and_sorts_out_nothing(scene):
    _, cells, truth = scene
    z = truth.values
    full = np.column_stack([z[:, :2], np.sin(z[:, 2]), np.cos(z[:, 2]), *[z[:, 3] == c for c in range(3)], z[:, 4]])
    standardised = (full - full.mean(axis=0)) / full.std(axis=0)
    found = fitted(RotatedCode, scene).encode(cells)["latent"]
    # An orthogonal map changes no inner product between cells.
    np.testing.assert_allclose(found[:50] @ found[:50].T, standardised[:50] @ standardised[:50].T, atol=1e-9)
    assert not np.allclose(found, standardised)


def test_the_mean_over_rotations_is_the_floor_of_the_matched_correlation(scene):
    data, cells, truth = scene
    real = [0, 1, 4]
    own = GroundTruth(
        truth.values[:, real],
        ("a", "b", "rest"),
        ("responsive", "responsive", "invariant"),
        ("continuous",) * 3,
        truth.perturbations,
        truth.targets[:, real],
        truth.graph[np.ix_(real, real)],
        truth.lagged[:0, :3, :3],
    )
    report = np.arange(N) % 2 == 0
    scores = [
        matched(own.values, fitted(RotatedCode, scene, seed, own).encode(cells)["latent"], report).mean() for seed in range(60)
    ]
    assert np.mean(scores) == pytest.approx(rotation_floor(own.values, seed=1, draws=400), abs=0.03)

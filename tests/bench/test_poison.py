"""All test cells become NaN, in the stored cells and in the stored sums: every network trains to the same bits."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pbench.bench.contracts.model import ReferenceRow, build, parameters
from pbench.bench.contracts.registry import datasets, models, splits
from pbench.bench.contracts.resource import FeatureTable
from pbench.bench.engine.assemble import Assembly
from pbench.bench.engine.prepare import PreparedScreen, cell_level_sums, prepare

NEURAL = [name for name in models if not models.entry(name).group and "torch" in models.get(name).capabilities.packages]


@pytest.fixture(scope="module")
def clean_and_poisoned(make_screen, make_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("poison")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PBENCH_CACHE", str(folder / "cache"))
        screen = make_screen()
        manifest = splits.get("doubles")(screen, data_id="toy")[0]
        clean = prepare(make_dataset(screen, "toy"), data_id="toy", cells=True)
    poisoned = PreparedScreen(folder / "poisoned")
    shutil.copytree(clean.folder, poisoned.folder)
    shutil.copytree(clean.cells_folder, poisoned.cells_folder)
    tested = [clean.conditions.index(c) for c in manifest.with_role("test")]
    data, indptr = (np.load(poisoned.cells_folder / f"{n}.npy") for n in ("data", "indptr"))
    for row in np.flatnonzero(np.isin(clean.codes, tested)):
        data[indptr[row] : indptr[row + 1]] = np.nan
    assert 0 < np.isnan(data).mean() < 0.5
    np.save(poisoned.cells_folder / "data.npy", data)
    for name in ("total", "squares"):
        sums = np.load(poisoned.folder / f"{name}.npy")
        sums[[2 * t + half for t in tested for half in (0, 1)]] = np.nan
        np.save(poisoned.folder / f"{name}.npy", sums)
    table = FeatureTable(
        tuple(f"G{i:02d}" for i in range(8)), np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32), "made up"
    )
    return [Assembly(s, manifest).training({"go": table, "embedding": table}, cells=True) for s in (clean, poisoned)]


@pytest.mark.parametrize("name", NEURAL)
def test_training_is_bit_identical(name, clean_and_poisoned):
    cls = models.get(name)
    doubles = [c for c in clean_and_poisoned[0].perturbed.conditions if len(c.targets) == 2]
    weights, answers = [], []
    for data in clean_and_poisoned:
        model = cls(epochs=2).fit(data, seed=3)
        networks = getattr(model, "networks_", None) or [model.reader_.network if hasattr(model, "reader_") else model.network_]
        weights.append([v.numpy().copy() for network in networks for v in network.state_dict().values()])
        answers.append(np.asarray(model.predict(doubles, data.controls).mean))
    assert len(weights[0]) > 0
    for clean, poisoned in zip(*weights, strict=True):
        assert np.isfinite(clean).all()
        np.testing.assert_array_equal(clean, poisoned)
    np.testing.assert_array_equal(*answers)


ENCODERS = [
    name
    for name in models
    if hasattr(models.get(name), "encode")
    and models.entry(name).group in ("", "encoders")
    and not issubclass(models.get(name), ReferenceRow)
]


@pytest.fixture(scope="module")
def clean_and_poisoned_units(tmp_path_factory):
    """Training data of trajectories, before and after every cell of the held-out units became NaN; and whole cells to encode."""
    folder = tmp_path_factory.mktemp("units")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PBENCH_CACHE", str(folder / "cache"))
        dataset = datasets.get("latent-temporal").generate(units_per_perturbation=40, n_times=3)
        screen = dataset.load()
        manifest = splits.get("units")(screen, data_id="toy")[0]
        clean = prepare(dataset, data_id="toy", cells=True)
    poisoned = PreparedScreen(folder / "poisoned")
    shutil.copytree(clean.folder, poisoned.folder)
    shutil.copytree(clean.cells_folder, poisoned.cells_folder)
    data, indptr = (np.load(poisoned.cells_folder / f"{n}.npy") for n in ("data", "indptr"))
    held_out = np.isin(clean.barcodes, manifest.test_cells)
    for row in np.flatnonzero(held_out):
        data[indptr[row] : indptr[row + 1]] = np.nan
    assert 0.2 < held_out.mean() < 0.5
    np.save(poisoned.cells_folder / "data.npy", data)
    sums, bad = folder / "sums.npz", folder / "bad.npz"
    made = cell_level_sums(screen, manifest.test_cells)
    np.savez(sums, total=made.total, squares=made.squares, n=made.n)
    is_test = np.arange(len(made.n)) % 4 >= 2
    total, squares = (np.where(is_test[:, None], np.nan, part) for part in (made.total, made.squares))
    np.savez(bad, total=total, squares=squares, n=made.n)
    parts = [Assembly(s, manifest, path) for s, path in ((clean, sums), (poisoned, bad))]
    # Control cells are held out too, and nothing that a model can reach has them.
    for assembly in parts:
        data = assembly.training({}, cells=True)
        assert data.load_controls is not None
        seen = data.load_controls(None)
        assert np.isfinite(seen.data).all() and seen.shape[0] == data.controls.n_cells[0]
    return [a.training({}, cells=True) for a in parts], parts[0].held_out_cells()[0]


@pytest.mark.parametrize("name", ENCODERS)
def test_codes_come_from_training_units_alone(name, clean_and_poisoned_units):
    both, cells = clean_and_poisoned_units
    cls = models.get(name)
    few = {"epochs": 2} if "epochs" in parameters(cls) else {}
    codes = [build(cls, few, name=name).fit(data, seed=3).encode(cells) for data in both]
    for kind, clean in codes[0].items():
        assert np.isfinite(clean).all()
        np.testing.assert_array_equal(clean, codes[1][kind])

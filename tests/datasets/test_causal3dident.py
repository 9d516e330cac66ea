"""Readers of the published Causal3DIdent files, on small folders of exactly their layout."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest
from PIL import Image

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError, UsageError
from pbench.datasets.scenes import causal3dident, temporal_causal3dident
from pbench.datasets.scenes.causal3dident import ARCHIVES, CAUSAL3DIDENT, CLASSES, VARIABLES
from pbench.datasets.scenes.published import leading
from pbench.datasets.scenes.temporal_causal3dident import TEMPORAL_CAUSAL3DIDENT
from pbench.datasets.splits.units import units

#: Pictures of a class.
N = 12


def colour(c, row):
    return (20 * c, 10 * row, 200 - row)


def write_part(folder, *, classes=range(7), n=N, side=224):
    """A part of Causal3DIdent whose pictures have one colour each, which says their class and row."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    latents = {}
    for c in classes:
        latents[c] = rng.uniform(-1, 1, (n, 10))
        np.save(folder / f"raw_latents_{c}.npy", latents[c])
        images = folder / f"images_{c}"
        images.mkdir()
        for row in range(n):
            Image.new("RGB", (side, side), colour(c, row)).save(images / f"{row:02d}.png")
    return latents


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def static(home):
    return home / "causal3dident" / "trainset", write_part(home / "causal3dident" / "trainset")


def test_pictures_and_latents_of_the_same_row_meet(static):
    _, latents = static
    screen = CAUSAL3DIDENT.generate(n=21, size=8).load()
    assert screen.adata.shape == (21, 8 * 8 * 3)
    assert screen.adata.uns["image_shape"].tolist() == [8, 8, 3]
    assert screen.card.name == "causal3dident[n=21,size=8]" and screen.card.simulated
    labels = screen.adata.obs["perturbation"].astype(str).tolist()
    assert labels == ["control"] * 3 + [name for name in CLASSES[1:] for _ in range(3)]
    truth = screen.ground_truth
    pixels = np.asarray(screen.adata.X).reshape(21, 8, 8, 3) * 255
    assert np.ptp(pixels, axis=(1, 2)).max() == 0
    rows = np.rint(pixels[:, 0, 0, 1] / 10).astype(int)
    for i, (label, row) in enumerate(zip(labels, rows, strict=True)):
        c = max(CLASSES.index(label) if label in CLASSES else 0, 0)
        np.testing.assert_allclose(pixels[i, 0, 0], colour(c, row), atol=1e-3)
        np.testing.assert_array_equal(truth.values[i], latents[c][row])
    assert all(len(set(rows[3 * c : 3 * c + 3])) == 3 for c in range(7))


def test_the_graph_and_what_the_class_acts_on(static):
    truth = CAUSAL3DIDENT.generate(n=14, size=8).load().ground_truth
    causes = {name: {VARIABLES[j] for j in np.flatnonzero(truth.graph[i])} for i, name in enumerate(truth.names)}
    spot = {"spot_angle"}
    assert {k: v for k, v in causes.items() if v} == {**dict.fromkeys("xyz", spot), "object_hue": {"spot_hue", "background_hue"}}
    assert truth.kinds == ("continuous",) * 10
    assert [n for n, b in zip(truth.names, truth.blocks, strict=True) if b == "invariant"] == [
        "spot_angle",
        "spot_hue",
        "background_hue",
    ]
    # Nothing that is called invariant is reached from a perturbation, and everything else is.
    np.testing.assert_array_equal(truth.reached[1:].all(axis=0), np.array(truth.blocks) == "responsive")
    assert not truth.targets[0].any()
    assert truth.perturbations == ("control", *CLASSES[1:])


def test_a_picture_is_averaged_over_areas(static):
    folder, _ = static
    pixels = np.random.default_rng(1).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    for row in range(N):
        Image.fromarray(pixels).save(folder / "images_1" / f"{row:02d}.png")
    screen = CAUSAL3DIDENT.generate(n=2, classes="teapot+hare", size=32).load()
    means = pixels.reshape(32, 7, 32, 7, 3).mean(axis=(1, 3))
    found = np.asarray(screen.adata.X)[1].reshape(32, 32, 3) * 255
    np.testing.assert_allclose(found, means, atol=1.01)  # rounded across, then down


def test_classes_and_parts_are_chosen(home):
    write_part(home / "causal3dident" / "testset", classes=(3, 6))
    screen = CAUSAL3DIDENT.generate(n=8, classes="head+cow", size=8, part="test").load()
    assert screen.ground_truth.perturbations == ("control", "head")
    assert np.rint(np.asarray(screen.adata.X).reshape(8, 64, 3)[:, 0, 0] * 255).tolist() == [60] * 4 + [120] * 4
    (manifest,) = units(screen, data_id="x", min_cells=1)
    assert 0 < len(manifest.test_cells) < 8


def test_the_identity_follows_the_bytes_that_are_read_and_the_dials(static):
    folder, _ = static
    small = CAUSAL3DIDENT.generate(n=7, size=8)
    first = small.data_id()
    assert small.data_id() == first
    assert CAUSAL3DIDENT.generate(n=7, size=16).data_id() != first
    for row in range(N):
        Image.new("RGB", (224, 224), (1, 2, 3)).save(folder / "images_4" / f"{row:02d}.png")
    assert small.data_id() != first


def test_what_is_missing_or_wrong_is_named(static, tmp_path, monkeypatch):
    folder, _ = static
    small = CAUSAL3DIDENT.generate(n=7 * N, size=8)
    for dials, word in (
        ({"n": 3}, "n=3"),
        ({"classes": "teapot"}, "two classes"),
        ({"classes": "teapot+cat"}, "'cat'"),
        ({"size": 300}, "largest_size"),
        ({"part": "val"}, "part=val"),
        ({"colour": 1}, "no parameter 'colour'"),
    ):
        with pytest.raises(UsageError, match=word):
            CAUSAL3DIDENT.generate(**dials).load()
    (folder / "images_2" / "07.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"images_2.07\.png is no picture"):
        small.load()
    (folder / "images_2" / "07.png").unlink()
    with pytest.raises(DataError, match=r"images_2.07\.png is missing"):
        small.load()
    np.save(folder / "raw_latents_1.npy", np.zeros((N, 9)))
    with pytest.raises(DataError, match=r"\(12, 9\); \(any, 10\)"):
        small.load()
    np.save(folder / "raw_latents_1.npy", np.full((N, 10), 1.5))
    with pytest.raises(DataError, match="between -1 and 1"):
        small.load()
    np.save(folder / "raw_latents_0.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no array of numbers"):
        small.load()
    (folder / "raw_latents_0.npy").unlink()
    with pytest.raises(DataError, match=r"raw_latents_0\.npy is missing"):
        small.data_id()
    monkeypatch.setenv("PBENCH_DATA", str(tmp_path / "empty"))
    for ask in (small.load, small.data_id):
        with pytest.raises(DataError, match="pbench fetch causal3dident"):
            ask()


# ---------------------------------------------------------------- fetching


def packed(source, name, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(source, arcname=name)
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def record(tmp_path):
    """Address of a server that has both archives, and their md5."""
    (tmp_path / "record").mkdir()
    sums = {}
    for part in ("trainset", "testset"):
        write_part(tmp_path / "made" / part, n=11, side=8)
        sums[f"{part}.tar.gz"] = packed(tmp_path / "made" / part, part, tmp_path / "record" / f"{part}.tar.gz")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "record"))
    ) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/", sums, tmp_path / "record"
        running.shutdown()


def test_fetching_downloads_checks_and_unpacks_once(home, record):
    url, sums, served = record
    folder = causal3dident.fetch(url, sums)
    assert folder == home / "causal3dident"
    assert (folder / "testset" / "images_6" / "10.png").is_file()
    assert CAUSAL3DIDENT.generate(n=7, size=8).load().adata.n_obs == 7
    for archive in (*served.glob("*.gz"), *folder.glob("*.gz")):
        archive.unlink()
    assert causal3dident.fetch(url, sums) == folder
    assert not list(folder.glob(".unpacking*"))


def test_an_archive_that_lies_there_is_used_and_another_is_refused(home, record):
    _, sums, served = record
    folder = home / "causal3dident"
    folder.mkdir(parents=True)
    for name in sums:
        (folder / name).write_bytes((served / name).read_bytes())
    with pytest.raises(DataError, match=r"trainset\.tar\.gz has md5 .*pbench fetch causal3dident"):
        causal3dident.fetch("http://127.0.0.1:9/")
    assert set(ARCHIVES) == set(sums)
    assert not (folder / "trainset").exists()
    causal3dident.fetch("http://127.0.0.1:9/", sums)
    assert (folder / "trainset" / "raw_latents_0.npy").is_file()


def test_a_host_that_cannot_be_reached(home):
    with pytest.raises(DataError, match=r"causal3dident/trainset\.tar\.gz.*http://127\.0\.0\.1:9/"):
        causal3dident.fetch("http://127.0.0.1:9/")


def test_archives_cannot_write_elsewhere(tmp_path):
    path = tmp_path / "a" / "trainset.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name in ("trainset/raw_latents_0.npy", "../../escaped.txt"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    with pytest.raises(DataError, match="cannot be unpacked"):
        causal3dident.unpack(path, hashlib.md5(path.read_bytes()).hexdigest())
    assert not list(tmp_path.rglob("escaped.txt")) and sorted(p.name for p in path.parent.iterdir()) == [path.name]
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("trainset/readme.txt"), io.BytesIO(b""))
    with pytest.raises(DataError, match=r"holds no raw_latents_0\.npy"):
        causal3dident.unpack(path, hashlib.md5(path.read_bytes()).hexdigest())


# ---------------------------------------------------------------- the sequence of CITRIS

#: Coarse variables as columns of the interventions.
COARSE = ((0, 1, 2), (3, 4, 5), (6,), (7,), (8,), (9,), (10,))
NAMES = ("position", "rotation", "spot_angle", "object_hue", "spot_hue", "background_hue", "shape")


def write_sequence(path, *, T=400, channels=4, coarse=COARSE, **other):
    """A sequence whose pictures hold the number of the frame in red and green."""
    rng = np.random.default_rng(2)
    interventions = np.zeros((T - 1, 12))
    for columns in coarse:
        interventions[:, columns] = rng.random((T - 1, 1)) < 1 / 7
    raw = np.concatenate([rng.uniform(-2, 2, (T, 3)), rng.uniform(0, 2 * np.pi, (T, 7))], axis=1)
    imgs = np.zeros((T, 64, 64, channels), dtype=np.uint8)
    imgs[:, :, :, 0], imgs[:, :, :, 1] = (np.arange(T) // 256)[:, None, None], (np.arange(T) % 256)[:, None, None]
    imgs[..., 3:] = 255
    shape = np.stack([rng.integers(0, 7, T), np.zeros(T)], axis=1)
    arrays = {"imgs": imgs, "interventions": interventions, "raw_latents": raw, "shape_latents": shape, **other}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


@pytest.fixture
def path(home):
    return home / "temporal-causal3dident" / "train.npz"


def frames_of(screen, size):
    pixels = np.rint(np.asarray(screen.adata.X).reshape(-1, size * size, 3)[:, 0] * 255).astype(int)
    return pixels[:, 0] * 256 + pixels[:, 1]


@pytest.mark.parametrize("channels", [3, 4])
def test_frames_their_latents_and_what_led_to_them(path, channels):
    arrays = write_sequence(path, channels=channels)
    screen = TEMPORAL_CAUSAL3DIDENT.generate(n=400, size=16, chunk=5).load()
    frames = frames_of(screen, 16)
    # 400 frames without the first hold 66 pieces of 5 and what lies between them.
    np.testing.assert_array_equal(frames, [t for t in range(1, 397) if t % 6])
    truth = screen.ground_truth
    assert truth.names == (*VARIABLES, "shape")
    both = np.column_stack([arrays["raw_latents"], arrays["shape_latents"][:, 0]])
    np.testing.assert_array_equal(truth.values, both[frames])
    assert truth.kinds == ("continuous",) * 3 + ("circular",) * 7 + ("categorical",)
    obs = screen.adata.obs
    np.testing.assert_array_equal(obs["time"], np.tile(np.arange(5.0), 66))
    assert obs["unit"].astype(str).tolist() == [f"piece{i:05d}" for i in range(66) for _ in range(5)]
    for frame, label in zip(frames, obs["perturbation"].astype(str), strict=True):
        acted = arrays["interventions"][frame - 1]
        told = [n for n, columns in zip(NAMES, COARSE, strict=True) if acted[list(columns)].any()]
        assert label == Condition(tuple(told)).label
        np.testing.assert_array_equal(truth.targets[truth.perturbations.index(label)], acted[:11] == 1)
    assert {"control", "position", "background_hue+rotation"} <= set(truth.perturbations)


def test_the_lagged_graph(path):
    write_sequence(path)
    truth = TEMPORAL_CAUSAL3DIDENT.generate(n=60, size=8).load().ground_truth
    assert truth.lagged.shape == (1, 11, 11) and not truth.graph.any()
    assert truth.lagged[0].diagonal().all()
    edges = {(truth.names[j], truth.names[i]) for i, j in np.argwhere(truth.lagged[0] & ~np.eye(11, dtype=bool))}
    assert edges == {
        ("pitch", "x"),
        ("roll", "y"),
        ("roll", "z"),
        ("background_hue", "roll"),
        ("object_hue", "pitch"),
        ("x", "spot_angle"),
        ("y", "spot_angle"),
        ("background_hue", "spot_hue"),
        ("shape", "object_hue"),
        ("spot_hue", "object_hue"),
        ("background_hue", "object_hue"),
    }


def test_single_variables_are_targets_where_they_are_intervened_upon_alone(path):
    raw = np.random.default_rng(0).uniform(0, 6, (400, 10))
    raw[:, 5] = 1.0
    arrays = write_sequence(path, coarse=((0,), (2,), (3, 4), (7,)), raw_latents=raw, shape_latents=np.zeros((400, 2)))
    screen = TEMPORAL_CAUSAL3DIDENT.generate(n=300, size=8).load()
    truth = screen.ground_truth
    assert "yaw" not in truth.names and "shape" not in truth.names
    assert {t for label in truth.perturbations[1:] for t in label.split("+")} == {"x", "z", "rotation", "object_hue"}
    acted = truth.targets[truth.perturbations.index("rotation")]
    assert [n for n, a in zip(truth.names, acted, strict=True) if a] == ["roll", "pitch"]
    # No perturbation leads to the two hues that nothing but themselves drives.
    invariant = {n for n, b in zip(truth.names, truth.blocks, strict=True) if b == "invariant"}
    assert invariant == {"spot_hue", "background_hue"}
    assert arrays["interventions"][:, 9].sum() == 0


def test_few_frames_are_read_and_few_are_refused(path):
    write_sequence(path, T=40)
    short = TEMPORAL_CAUSAL3DIDENT.generate(n=12, chunk=3, size=8).load()
    np.testing.assert_array_equal(frames_of(short, 8), [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15])
    with pytest.raises(DataError, match="too few for two pieces of 20"):
        TEMPORAL_CAUSAL3DIDENT.generate(n=40, chunk=20).load()
    for dials, word in (
        ({"chunk": 1}, "chunk=1"),
        ({"n": 5}, "n=5"),
        ({"size": 65}, "largest_size"),
        ({"part": "dev"}, "part=dev"),
    ):
        with pytest.raises(UsageError, match=word):
            TEMPORAL_CAUSAL3DIDENT.generate(**dials).load()


def test_rows_beyond_those_asked_for_are_not_read(tmp_path):
    values = np.arange(60).reshape(20, 3)
    np.savez(tmp_path / "a.npz", v=values)
    np.testing.assert_array_equal(leading(tmp_path / "a.npz", "v", (None, 3), 4), values[:4])
    np.testing.assert_array_equal(leading(tmp_path / "a.npz", "v", (None, 3)), values)
    np.testing.assert_array_equal(leading(tmp_path / "a.npz", "v", (None, 3), 99), values)


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"imgs": None}, r"no array 'imgs' \(it has interventions, raw_latents, shape_latents\)"),
        ({"raw_latents": np.zeros((400, 9))}, r"'raw_latents'.*\(400, 9\); \(any, 10\)"),
        ({"shape_latents": np.zeros((300, 2))}, "300 rows and 'raw_latents' 351"),
        ({"interventions": np.zeros((300, 12))}, "one less than there are frames"),
        ({"interventions": np.full((399, 12), 0.5)}, "0 or 1"),
        ({"raw_latents": np.full((400, 10), np.nan)}, "finite"),
        ({"shape_latents": np.full((400, 2), 0.5)}, "whole numbers"),
        ({"imgs": np.zeros((400, 64, 64, 3), dtype=np.float32)}, "bytes"),
        ({"imgs": np.zeros((90, 64, 64, 3), dtype=np.uint8)}, "bytes"),
        ({"raw_latents": np.array([[{}] * 10] * 400, dtype=object)}, "no plain array of numbers"),
    ],
)
def test_another_layout_is_named(path, other, word):
    write_sequence(path, **other)
    with pytest.raises(DataError, match=word):
        TEMPORAL_CAUSAL3DIDENT.generate(n=300, size=8).load()


def test_files_of_the_sequence_that_are_not_there(home, path):
    for ask in (TEMPORAL_CAUSAL3DIDENT.load, TEMPORAL_CAUSAL3DIDENT.data_id, TEMPORAL_CAUSAL3DIDENT.fetch):
        with pytest.raises(DataError, match=r"temporal-causal3dident/train\.npz.*zenodo\.org/records/6637749"):
            ask()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="cannot be read"):
        TEMPORAL_CAUSAL3DIDENT.load()
    for part in ("val", "test"):
        (path.parent / f"{part}.npz").write_bytes(b"")
    assert TEMPORAL_CAUSAL3DIDENT.fetch() == home / "temporal-causal3dident"
    assert temporal_causal3dident.CARD.licence.endswith("check the record")


def test_the_identity_of_the_sequence(path):
    write_sequence(path, T=60)
    first = TEMPORAL_CAUSAL3DIDENT.data_id()
    assert TEMPORAL_CAUSAL3DIDENT.generate(chunk=5).data_id() != first
    write_sequence(path, T=61)
    assert TEMPORAL_CAUSAL3DIDENT.data_id() != first

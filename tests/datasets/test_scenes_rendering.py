"""Pictures of scenes against formulas that are computed another way."""

from __future__ import annotations

import colorsys
import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import truncnorm

from pbench.bench.contracts.errors import DataError
from pbench.bench.kernels.rasterising import averaged, rasterise
from pbench.datasets.scenes.lite_static import truncated_normal
from pbench.datasets.scenes.mesh import Mesh, ball, lathe, of_triangles, read_obj, tube
from pbench.datasets.scenes.renderer import CAMERA, project, render
from pbench.datasets.scenes.scene import VARIABLES, Scenes, rgb, rotation, scenes, view
from pbench.datasets.scenes.shapes import EXTENT, SHAPES, shape

EYE, GROUND = np.array([8.0, 0.0, 8.0]), -4.44


def one(kind=0, *, white=False, **raw):
    return scenes({name: np.array([value]) for name, value in raw.items()}, np.array([kind]), white=white)


def linear(pixels):
    """Light of sRGB bytes."""
    v = np.asarray(pixels) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def speck():
    """A solid too small to be seen."""
    return ball((0, 0, 0), (1e-6, 1e-6, 1e-6))


def pixel_of(point, size):
    """Row and column of a point, by turning the camera into the axes: 90 degrees about z, then -45 about x."""
    turned = Rotation.from_euler("zx", [90, -45], degrees=True).apply(np.asarray(point) - EYE)
    # The camera now looks along -y; x points left and z up.
    depth, right, up = -turned[1], -turned[0], turned[2]
    half = size / 2
    return half - half * up / depth * 35 / 25, half + half * right / depth * 35 / 25


@pytest.mark.parametrize("point", [(0, 0, 0), (2, 1, 0.5), (-2, -2, 4), (1.3, -0.7, GROUND), (0, 3, 2)])
def test_points_are_projected_like_by_a_camera_that_was_turned(point):
    column, row, near = project(np.array([point], dtype=float), CAMERA, 64)[0]
    assert (row, column) == pytest.approx(pixel_of(point, 64), abs=1e-9)
    assert 1 / near == pytest.approx((EYE - point) @ [1, 0, 1] / np.sqrt(2))


def test_the_origin_is_in_the_middle_of_the_picture():
    assert project(np.zeros((1, 3)), CAMERA, 32)[0, :2] == pytest.approx([16, 16])


def test_nearest_triangles_are_those_of_a_search_through_all():
    rng = np.random.default_rng(1)
    projected = np.column_stack([rng.uniform(-3, 15, (36, 2)), rng.uniform(0.1, 2, 36)])
    faces = np.arange(36).reshape(12, 3)
    near, face, weight = rasterise(projected, faces, 12)
    for row in range(12):
        for column in range(12):
            best, which, at = 0.0, -1, (0.0, 0.0)
            for f, corners in enumerate(projected[faces]):
                system = np.vstack([corners[:, :2].T, np.ones(3)])
                w = np.linalg.solve(system, [column + 0.5, row + 0.5, 1])
                if (w >= 0).all() and w @ corners[:, 2] > best:
                    best, which, at = w @ corners[:, 2], f, w[:2]
            assert face[row, column] == which
            assert near[row, column] == pytest.approx(best)
            assert weight[row, column] == pytest.approx(np.array(at))
    assert 0 < (face >= 0).mean() < 1


def test_a_triangle_behind_the_eye_is_not_seen():
    triangle = np.array([[0.0, 0, 1], [8, 0, 1], [0, 8, 0]])
    assert (rasterise(triangle, np.array([[0, 1, 2]]), 8)[1] == -1).all()


@pytest.mark.parametrize("saturation", [0.0, 0.6, 0.8, 1.0])
def test_colours_are_those_of_the_standard_library(saturation):
    angles = np.linspace(-np.pi / 2, np.pi / 2, 41)
    expected = [colorsys.hsv_to_rgb((a / (2 * np.pi)) % 1, saturation, 1) for a in angles]
    np.testing.assert_allclose(rgb(angles, saturation), expected, atol=1e-12)


def test_rotations_are_those_of_scipy():
    angles = np.random.default_rng(0).uniform(-np.pi / 2, np.pi / 2, (20, 3))
    np.testing.assert_allclose(rotation(*angles.T), Rotation.from_euler("xyz", angles).as_matrix(), atol=1e-12)


def test_a_view_looks_at_its_target_with_z_up():
    eye, right, down, forward, _ = view((1, 2, 9), (0, 1, 0), 1.0)
    np.testing.assert_allclose(np.cross(right, down), forward, atol=1e-12)
    assert down[2] < 0
    assert right[2] == 0
    np.testing.assert_allclose(eye + forward * np.sqrt(83), [0, 1, 0], atol=1e-12)


def test_light_is_averaged_before_it_is_encoded():
    light = np.zeros((2, 4, 3))
    light[0, 0], light[:, 2:] = 2.0, 0.001
    np.testing.assert_array_equal(averaged(light[:, :2], 2)[0, 0], [188] * 3)
    np.testing.assert_array_equal(averaged(light[:, 2:], 2)[0, 0], [round(255 * 12.92 * 0.001)] * 3)


def lamps_on_ground(point, normal=(0, 0, 1)):
    """Light over reflectance that sun and small lamp make a place send back."""
    up = np.array([0, 0, 7.0]) - point
    square = up @ up
    return (0.5 + 39.27 / np.pi * (up @ normal) * up[2] / square**2) / np.pi


@pytest.mark.parametrize("hue", [-0.9, -0.3, 0.2, 0.8])
def test_a_patch_of_ground_has_the_light_and_hue_of_the_formulas(hue):
    size = 64
    drawn = render(one(background_hue=hue, spot_angle=1.0, x=1, y=-1, z=1), size, meshes=[speck()])[0]
    point = np.array([-2.5, 4.0, GROUND])
    row, column = (int(i) for i in pixel_of(point, size))
    # The middle of that pixel on the ground.
    down = (
        CAMERA[3]
        + (2 * (column + 0.5) / size - 1) * CAMERA[4, 0] * CAMERA[1]
        + (2 * (row + 0.5) / size - 1) * CAMERA[4, 0] * CAMERA[2]
    )
    point = EYE + down * (GROUND - 8) / down[2]
    albedo = np.array(colorsys.hsv_to_rgb((hue / 4) % 1, 0.6, 1))
    np.testing.assert_allclose(linear(drawn[row, column]), albedo * lamps_on_ground(point), atol=0.003)


@pytest.mark.parametrize("shade", [False, True])
def test_a_plate_takes_the_light_of_the_lamps_overhead_and_leaves_the_spotlight(shade):
    # The plate hangs above the place; the spotlight, at (0, 4, 10.44), reaches it from the side.
    wide, size = 1.0, 129
    plate = of_triangles(
        np.array([[-wide, -wide, 0], [wide, -wide, 0], [wide, wide, 0], [-wide, wide, 0]]), np.array([[0, 1, 2], [0, 2, 3]])
    )
    drawn = render(one(white=True), size, meshes=[plate if shade else speck()])[0]
    point, lamp = np.array([0, 0, GROUND]), np.array([0, 4, 6 + 4.44])
    row, column = (int(i) for i in pixel_of(point, size))
    away = lamp - point
    spot = 3000 / (4 * np.pi * away @ away) * away[2] / np.linalg.norm(away) / np.pi
    albedo = np.array([1, 0.4, 0.4])
    expected = albedo * (spot + (0 if shade else lamps_on_ground(point)))
    np.testing.assert_allclose(linear(drawn[row, column]), expected, rtol=0.02)


@pytest.mark.parametrize("angle", [-0.8, 0.0, 0.6])
def test_the_spotlight_ends_at_the_edge_of_its_cone(angle):
    size, place = 64, np.array([1.0, -0.6, 0.4])
    raw = dict(zip("xyz", place / 2, strict=True))
    drawn = linear(render(one(white=True, spot_angle=angle, **raw), size, meshes=[speck()])[0])[:, :, 0]
    turn = angle * np.pi / 2
    lamp, target = np.array([4 * np.sin(turn), 4 * np.cos(turn), 10.44]), place + [0, 0, 2.22]
    seen = set()
    for row in range(2, size, 5):
        for column in range(2, size, 5):
            x, y = (2 * (np.array([column, row]) + 0.5) / size - 1) * 25 / 35
            down = CAMERA[3] + x * CAMERA[1] + y * CAMERA[2]
            point = EYE + down * (GROUND - 8) / down[2]
            away, axis = point - lamp, target - lamp
            degrees = np.degrees(np.arccos(away @ axis / np.linalg.norm(away) / np.linalg.norm(axis)))
            spot = 3000 / (4 * np.pi * away @ away) * -away[2] / np.linalg.norm(away) / np.pi
            if degrees < 16 or degrees > 18.2:
                seen.add(degrees < 16)
                assert drawn[row, column] == pytest.approx(lamps_on_ground(point) + (degrees < 16) * spot, rel=0.03)
    assert seen == {True, False}


def silhouette(**raw):
    """Rows and columns of the pixels that the object's own colour decides."""
    pictures = [render(one(3, white=True, object_hue=h, **raw), 64)[0].astype(int) for h in (-0.9, 0.9)]
    return np.nonzero(np.abs(pictures[0] - pictures[1]).sum(axis=2) > 20)


@pytest.mark.parametrize(("name", "axis", "sign"), [("y", 1, 1), ("z", 0, -1), ("x", 0, 1)])
def test_the_object_goes_where_its_place_says(name, axis, sign):
    middle = [silhouette(**{name: v})[axis].mean() for v in (-1, -0.5, 0, 0.5, 1)]
    assert (sign * np.diff(middle) > 1).all()


def test_the_object_is_larger_when_it_is_nearer():
    sizes = [len(silhouette(x=v)[0]) for v in (-1, 0, 1)]
    assert sizes == sorted(sizes)
    assert sizes[2] > 1.3 * sizes[0]


def test_the_middle_of_a_ball_is_where_its_place_is_projected():
    raw = np.zeros((1, 10))
    raw[0, :3] = 0.4, -0.7, 0.3
    round_one = [ball((0, 0, 0), (0.5, 0.5, 0.5))]
    drawn = []
    for hue in (-1, 1):
        raw[0, VARIABLES.index("object_hue")] = hue
        drawn.append(render(Scenes(raw.copy(), np.zeros(1, int), True), 128, meshes=round_one)[0].astype(int))
    rows, columns = np.nonzero(np.abs(drawn[0] - drawn[1]).sum(axis=2) > 20)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx(pixel_of([0.8, -1.4, 0.6 + 2.22], 128), abs=1.5)


@pytest.mark.parametrize("kind", range(len(SHAPES)))
@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_is_seen_on_every_solid(name, kind):
    a, b = (render(one(kind, **{name: v}), 32)[0].astype(int) for v in (0.1, 0.5))
    assert (np.abs(a - b).max(axis=2) > 12).sum() >= 4


def test_solids_are_told_apart():
    pictures = render(Scenes(np.zeros((7, 10)), np.arange(7)), 32).astype(int)
    for i in range(7):
        for j in range(i):
            assert (np.abs(pictures[i] - pictures[j]).max(axis=2) > 30).sum() > 15


@pytest.mark.parametrize("name", SHAPES)
def test_solids_fill_their_extent_and_have_unit_normals_and_no_symmetry(name):
    mesh = shape(name)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    assert (high - low).max() == pytest.approx(EXTENT)
    np.testing.assert_allclose(low + high, 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-6)
    assert ((mesh.tints > 0) & (mesh.tints <= 1)).all()
    # Turned by half about any axis, and mirrored in any plane, it looks different.
    still = render(Scenes(np.zeros((1, 10)), np.zeros(1, int)), 48, meshes=[mesh])[0].astype(int)
    for flip in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]):
        other = Mesh(mesh.vertices * flip, mesh.normals * flip, mesh.tints, mesh.faces)
        drawn = render(Scenes(np.zeros((1, 10)), np.zeros(1, int)), 48, meshes=[other])[0].astype(int)
        assert (np.abs(still - drawn).max(axis=2) > 30).sum() > 10, flip


RENDERED = """
import hashlib, sys
import numpy as np
from pbench.datasets.scenes.renderer import render
from pbench.datasets.scenes.scene import Scenes
rng = np.random.default_rng(3)
raw, kind = rng.uniform(-1, 1, (12, 10)), rng.integers(0, 7, 12)
order = np.array(eval(sys.argv[1]))
drawn = render(Scenes(raw, kind)[order], 32)
print(hashlib.sha256(drawn[np.argsort(order)].tobytes()).hexdigest())
"""


def test_bytes_are_the_same_in_every_process_and_order_and_on_any_number_of_threads(monkeypatch):
    rng = np.random.default_rng(3)
    batch = Scenes(rng.uniform(-1, 1, (12, 10)), rng.integers(0, 7, 12))
    here = hashlib.sha256(np.concatenate([render(batch[i : i + 1], 32) for i in range(12)]).tobytes()).hexdigest()
    for threads, order in (("1", "range(12)"), ("2", "range(11, -1, -1)")):
        for library in ("OMP", "NUMBA", "OPENBLAS"):
            monkeypatch.setenv(f"{library}_NUM_THREADS", threads)
        done = subprocess.run([sys.executable, "-c", RENDERED, order], capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout.strip() == here


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-1, 1), min_size=10, max_size=10), st.integers(0, 6), st.integers(16, 40), st.booleans())
def test_any_scene_can_be_drawn(raw, kind, size, white):
    drawn = render(Scenes(np.array([raw]), np.array([kind]), white), size)
    assert drawn.shape == (1, size, size, 3)
    assert drawn.dtype == np.uint8
    assert 10 < drawn.mean() < 245


def test_round_forms_have_their_volumes():
    def volume(mesh):
        a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
        return abs(np.einsum("fi,fi->f", a, np.cross(b, c)).sum()) / 6

    assert volume(ball((0, 0, 0), (1, 2, 3), n=60)) == pytest.approx(4 / 3 * np.pi * 6, rel=0.01)
    t = 2 * np.pi * np.arange(120) / 120
    ring = np.stack([3 * np.cos(t), 3 * np.sin(t), 0 * t], axis=1)
    assert volume(tube(ring, 0.5, closed=True, n=60)) == pytest.approx(2 * np.pi**2 * 3 * 0.25, rel=0.01)
    assert volume(lathe([(0, 0), (1, 0), (1, 2), (0, 2)], n=120)) == pytest.approx(2 * np.pi, rel=0.01)


def test_an_obj_file_is_read(tmp_path):
    cube = ["# cube"] + [f"v {x} {y} {z}" for x in (0, 1) for y in (0, 2) for z in (0, 3)]
    cube += ["f 1 2 4 3", "f 5/1 7/2 8/3 6/4", "f 1//1 5//1 6//1 2//1", "f -6 -5 -1 -2", "f 1 3 7 5", "f 2 6 8 4"]
    path = tmp_path / "cube.obj"
    path.write_text("\n".join(cube))
    mesh = read_obj(path)
    assert mesh.vertices.shape == (8, 3)
    assert mesh.faces.shape == (12, 3)
    # y is up in the file, z here.
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [1, 3, 2])
    drawn = render(Scenes(np.zeros((1, 10)), np.zeros(1, int)), 32, meshes=[mesh.fitted(EXTENT)])
    assert (drawn != render(Scenes(np.zeros((1, 10)), np.zeros(1, int)), 32, meshes=[speck()])).any()
    for text, said in (("v 0 0 0\n", "holds no face"), ("v 0 0 0\nf 1 2 3\n", "not there"), ("v 1 a 2\n", "line 1")):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            read_obj(path)


@pytest.mark.parametrize("sd", [0.25, 0.6])
def test_quantiles_of_truncated_normal_distributions_are_those_of_scipy(sd):
    u, mean = np.meshgrid(np.linspace(0.001, 0.999, 25), [-0.8, 0.0, 0.6])
    expected = truncnorm.ppf(u, (-1 - mean) / sd, (1 - mean) / sd, mean, sd)
    np.testing.assert_allclose(truncated_normal(u.ravel(), mean.ravel(), sd), expected.ravel(), atol=1e-9)

"""Files that are damaged, odd, or reach for other files: one sentence, never a traceback, and nothing else is read."""

from __future__ import annotations

import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError, PbenchError
from pbench.datasets.layouts import genetic
from pbench.datasets.reader import from_h5ad

LABELS = ["control", "control", "KLF1", "KLF1", "KLF1+BAK1", "BAK1+KLF1"]


def load(path):
    return from_h5ad(path, scale="counts").load()


def refusal(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as caught:
            load(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message and len(message) < 700
    return message


def replace(f, name, value):
    """Another dataset in the place of an element, its attributes kept."""
    attrs = dict(f[name].attrs)
    del f[name]
    f.create_dataset(name, data=value).attrs.update(attrs)


@pytest.fixture
def edited(write):
    """A good file after `edit` has had its way with it."""

    def make(edit, labels=LABELS):
        path = write(labels)
        with h5py.File(path, "a") as f:
            edit(f)
        return path

    return make


@pytest.mark.parametrize("element", ["X", "X/data", "obs", "obs/perturbation", "var", "layers"])
@pytest.mark.parametrize("kind", ["external", "soft"])
def test_links_are_not_followed(element, kind, edited, write):
    secret = write(["secret"] * 6, name="secret.h5ad", layers={"umi": np.ones((6, 5))})

    def link(f):
        if element == "layers":
            f.require_group("layers")
        if kind == "soft":
            f.move(element, "elsewhere")
        else:
            del f[element]
        f[element] = h5py.ExternalLink(str(secret), f"/{element}") if kind == "external" else h5py.SoftLink("/elsewhere")

    path = edited(link)
    message = refusal(path)
    assert f"'{element}' is a link" in message and "secret" not in message
    with pytest.raises(DataError, match="is a link"):
        genetic(path)


def test_links_in_parts_that_are_not_read_do_no_harm(edited):
    def link(f):
        f["uns/link"] = h5py.ExternalLink("/nowhere", "/x")

    assert load(edited(link)).adata.n_obs == 6


def test_virtual_and_external_storage_are_not_read(edited, tmp_path):
    (tmp_path / "secret.bin").write_bytes(np.full(30, 7, dtype="f4").tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as f:
        f["values"] = np.full((6, 5), 7.0)

    def raw(f):
        del f["X"]
        f.create_dataset("X", (6, 5), "f4", external=[(str(tmp_path / "secret.bin"), 0, 120)])

    def virtual(f):
        layout = h5py.VirtualLayout((6, 5), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "values", (6, 5))
        del f["X"]
        f.create_virtual_dataset("X", layout)

    for edit in (raw, virtual):
        path = edited(edit)
        with h5py.File(path) as f:
            assert (f["X"][:] == 7).all(), "the trap must work where it is not guarded against"
        assert "'X' is a link, or its values lie in another file" in refusal(path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.full((6, 5), b"a"), "no matrix of real numbers"),
        (np.ones((6, 5), dtype=complex), "no matrix of real numbers"),
        (1.0, "no matrix of real numbers"),
        (np.ones(6), "X is 6, obs has 6 rows and var 5"),
        (np.ones((5, 6)), "X is 5 x 6, obs has 6 rows and var 5"),
        (np.ones((6, 5, 2)), "X is 6 x 5 x 2"),
        (np.zeros((6, 5)), "no value but zero"),
        (np.full((6, 5), 1e300), "NaN or infinite"),
    ],
)
def test_matrices_that_are_none(value, words, edited):
    def swap(f):
        del f["X"]
        f["X"] = value

    assert words in refusal(edited(swap))


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_every_numeric_type_reads_the_same(dtype, form, edited, counts):
    expected = counts(6).astype(dtype).astype(np.float32)

    def swap(f):
        if form == "csc":
            dense = expected.astype(dtype)
            rows = np.tile(np.arange(6, dtype=np.int32), 5)
            replace(f, "X/indices", rows)
            replace(f, "X/indptr", np.arange(0, 31, 6, dtype=np.int32))
            replace(f, "X/data", dense.T.ravel())
            f["X"].attrs["encoding-type"] = "csc_matrix"
        elif form == "csr":
            replace(f, "X/data", expected.astype(dtype).ravel())
        else:
            del f["X"]
            f["X"] = expected.astype(dtype)

    X = load(edited(swap)).adata.X
    assert X.dtype == np.float32 and isinstance(X, np.ndarray) == (form == "dense")
    np.testing.assert_array_equal(X if form == "dense" else X.toarray(), expected)


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("X/indices", np.full(30, 99, dtype=np.int32)),
        ("X/indices", np.full(30, -1, dtype=np.int32)),
        ("X/indptr", np.array([0, 5, 3, 15, 20, 25, 30])),
        ("X/data", np.ones(3, dtype="f4")),
        ("obs/_index", np.array([b"a", b"b"])),
    ],
)
def test_inconsistent_parts(element, value, edited):
    assert "damaged" in refusal(edited(lambda f: replace(f, element, value)))


@pytest.mark.parametrize("element", ["X/indptr", "obs/_index", "obs", "var", "X"])
def test_absent_parts(element, edited):
    def drop(f):
        del f[element]

    assert element.split("/")[-1] in refusal(edited(drop))


def test_an_encoding_of_the_future(edited):
    assert "quaternion" in refusal(edited(lambda f: f["X"].attrs.modify("encoding-type", "quaternion")))


def test_no_cells_and_no_genes(write):
    assert "0 cells and 5 genes" in refusal(write([], X=np.ones((0, 5))))
    assert "6 cells and 0 genes" in refusal(write(LABELS, X=np.ones((6, 0)), genes=[]))


def test_any_damage_of_the_values_is_one_sentence(write):
    """Bytes are overwritten at random in the three arrays of the matrix (in HDF5's own index its library can crash)."""
    path, rng, refused = write(LABELS), np.random.default_rng(0), 0
    good = path.read_bytes()
    for _ in range(40):
        path.write_bytes(good)
        with h5py.File(path, "a") as f:
            for name in ("X/indices", "X/indptr", "X/data"):
                values = f[name][:]
                values.view("u1")[rng.integers(values.nbytes)] = rng.integers(256)
                f[name][:] = values
        try:
            load(path)
        except PbenchError as error:
            refused += 1
            assert error.exit_code == 3 and path.name in str(error) and "\n" not in str(error)
    assert refused > 20


@pytest.mark.parametrize("keep", [0, 1, 100, 1000, 5000])
def test_truncated_anywhere(keep, write):
    path = write(LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    assert "truncated" in refusal(path)


def test_fractions_late_in_a_large_matrix_are_found(write):
    X = np.ones((60, 20_000), dtype=np.float32)
    X[-1, -1] = 0.5
    path = write(["control", "A", "B"] * 20, X=X, genes=[f"g{i}" for i in range(20_000)])
    assert "--scale log1p_1e4" in refusal(path)


@pytest.mark.filterwarnings("ignore")
def test_columns_as_anndata_0_7_wrote_them(edited):
    """GEARS' files are of 2021: categories in a subgroup, codes that refer to them, no encoding of the matrix."""

    def age(f):
        f["layers"].attrs.clear()
        obs = f["obs"]
        if isinstance(obs["perturbation"], h5py.Group):
            codes, names = obs["perturbation/codes"][:], obs["perturbation/categories"][:]
        else:
            codes, names = pd.factorize(obs["perturbation"][:])
        del obs["perturbation"]
        obs["__categories/perturbation"] = names
        obs["perturbation"] = codes.astype("i1")
        obs["perturbation"].attrs["categories"] = obs["__categories/perturbation"].ref
        obs.attrs["encoding-version"] = "0.1.0"

    path = edited(age)
    assert list(anndata.read_h5ad(path).obs["perturbation"]) == LABELS
    assert load(path).n_cells == {Condition(): 2, Condition(("KLF1",)): 2, Condition(("BAK1", "KLF1")): 2}
    assert genetic(path).perturbation == "perturbation"

"""Small valid files of every kind, from which mutated ones are made, and valid folders that hold one hostile file."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
import warnings
from functools import cache
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.identity import canonical_json
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.engine.answer import Answer
from pbench.bench.engine.bundle_write import write_bundle
from pbench.bench.engine.store import Store

LABELS = ["control", "control", "KLF1", "KLF1", "KLF1+BAK1", "BAK1+KLF1"]
GENES = ["KLF1", "BAK1", "AHR", "SET", "TBX3"]


def _adata(form: str) -> anndata.AnnData:
    counts = 1 + np.random.default_rng(0).poisson(2.0, (6, 5)).astype(np.float32)
    made = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[form](counts)
    obs = pd.DataFrame(
        {"perturbation": LABELS, "context": ["a", "b"] * 3, "dose": ["", "", "1", "2", "1+2", "3"], "time": [0.0, 6.0] * 3},
        index=[f"cell{i}" for i in range(6)],
    )
    obs["batch"] = pd.Categorical(["x", "y", "x"] * 2)
    adata = anndata.AnnData(made, obs=obs)
    adata.var_names = GENES
    return adata


@cache
def h5ad(form: str, compression: str | None = None) -> bytes:
    """An AnnData file of 6 cells and 5 genes."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _adata(form).write_h5ad(Path(folder) / "x.h5ad", compression=compression)
        return (Path(folder) / "x.h5ad").read_bytes()


def h5ads() -> list[bytes]:
    return [h5ad("csr"), h5ad("dense", "gzip"), h5ad("csc")]


@cache
def zarr_store(version: int) -> dict[str, bytes]:
    """Files of a zarr store of the same cells, by their paths in it."""
    import zarr

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anndata.settings.zarr_write_format, before = version, anndata.settings.zarr_write_format
        try:
            _adata("csr" if version == 2 else "dense").write_zarr(Path(folder) / "x.zarr")
        finally:
            anndata.settings.zarr_write_format = before
        zarr.open_group(Path(folder) / "x.zarr", mode="r")
        root = Path(folder) / "x.zarr"
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def zarr_parts() -> list[bytes]:
    """Each file of two stores, with two bytes before it that say of which store and which file it is."""
    return [
        bytes([v, i]) + zarr_store(2 + v % 2)[n] for v in (0, 1) for i, n in enumerate(sorted(zarr_store(2 + v % 2))) if i < 256
    ]


def tables(kind: str) -> list[bytes]:
    """Predicted means of two conditions and five genes."""
    frame = pd.DataFrame(np.arange(10.0).reshape(2, 5), columns=GENES, index=pd.Index(["KLF1", "KLF1+BAK1"], name="perturbation"))
    if kind == "parquet":
        out = io.BytesIO()
        frame.to_parquet(out)
        flat = io.BytesIO()
        frame.reset_index().to_parquet(flat, compression="gzip")
        return [out.getvalue(), flat.getvalue()]
    return [frame.to_csv(sep="\t" if kind == "tsv" else ",").encode(), b"condition,A\nctrl,1\nA+ctrl,2e3\n"]


def archives() -> list[bytes]:
    """Archived predictions, with and without variances."""
    found = []
    conditions = (Condition(("A",), (2.0,), 6.0, "x"), Condition(("B",)))
    for variance in (None, np.ones((2, 2), np.float32)):
        mean = np.array([[1, 2], [np.nan, np.nan]], dtype=np.float32)
        answer = Answer(mean, np.zeros(2, bool), np.array(["", "capability: no"], object), {}, variance)
        with tempfile.TemporaryDirectory() as folder:
            Store(Path(folder)).save_prediction("0" * 64, conditions, ["A", "B"], answer)
            found.append(next(Path(folder).rglob("*.npz")).read_bytes())
    return found


def npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def feature_archives() -> list[bytes]:
    names = np.array(["A", "B", "C"])
    ends = {"source": np.array([0, 1]), "target": np.array([1, 2]), "weight": np.array([0.5, 1.0])}
    return [npz(names=names, values=np.ones((3, 2), np.float32)), npz(genes=names, **ends)]


def feature_texts() -> list[bytes]:
    return [b"gene,a,b\nA,1,2\nB,3e-2,4\n", b"gene,term\nA,GO:1\nA,GO:2\nB,GO:1\n", b"source,target,importance\nA,B,0.5\nB,C,1\n"]


def feature_parquets() -> list[bytes]:
    found = []
    for text in feature_texts():
        out = io.BytesIO()
        pd.read_csv(io.BytesIO(text)).to_parquet(out)
        found.append(out.getvalue())
    return found


def annotations() -> list[bytes]:
    made = {"KLF1": {"GO:1", "GO:2"}, "A": frozenset({"GO:3"}), "B": set()}
    return [pickle.dumps(made, protocol) for protocol in (0, 2, 4)]


def manifests() -> list[bytes]:
    roles = {Condition(("A",)): "train", Condition(("B",), (1.0,), 2.0, "x"): "test", Condition(("A", "B")): "excluded"}
    reasons, groups = {Condition(("A", "B")): "few"}, {Condition(("B",), (1.0,), 2.0, "x"): {"seen_k": "0"}}
    made = SplitManifest(
        "d", "0" * 64, "doubles", {"seed": 1}, "1/1", 1, roles, reasons, groups, ("c1", "c2"), {"controls": "train"}
    )
    with tempfile.TemporaryDirectory() as folder:
        made.save(Path(folder) / "m.json")
        return [(Path(folder) / "m.json").read_bytes()]


@cache
def results() -> dict[str, bytes]:
    """Files of a folder of results of one data set, by their paths in it."""
    from small_bundles import small_records, write_results

    with tempfile.TemporaryDirectory() as folder:
        write_results(Path(folder), small_records(boards=1, perturbations=4, codes=1, models=("additive",), seeds=1))
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@cache
def bundle() -> dict[str, bytes]:
    """Files of a bundle by their names."""
    with tempfile.TemporaryDirectory() as folder:
        home, out = Path(folder) / "results", Path(folder) / "bundle"
        for name, data in results().items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(data)
        spec = next(c["spec"] for c in Store(home).cards() if c["predicts"])
        write_bundle(home, out, dataset=spec["dataset"], split=spec["split"], predictions=False)
        return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def bundle_parts() -> list[bytes]:
    """Each file of a bundle, with one byte before it that says which it is."""
    names = sorted(bundle())
    return [bytes([i]) + bundle()[name] for i, name in enumerate(names)]


def cards() -> list[bytes]:
    """Run cards as JSON, without the checksum that a folder of results gives them."""
    found = []
    for name, data in results().items():
        if name.startswith("records/") and name.endswith(".json"):
            value = json.loads(data)
            found.append(canonical_json({k: v for k, v in value.items() if k != "sha256"}).encode())
    return found[:1]


def rows() -> list[bytes]:
    """Rows of a record."""
    return [data for name, data in results().items() if name.startswith("records/") and name.endswith(".parquet")][:1]


def requests() -> list[bytes]:
    return [
        b"additive,knn[k=3],ri*",
        b"all+anchor",
        b"0-4,7",
        b"3",
        b"4GB",
        b"512.5 MiB",
        b"norman-sim[n=3]",
        b"doubles[seed=1,x='a,b']",
    ]


def conditions() -> list[bytes]:
    made = [Condition(("A", "B"), (1.0, 2.0), 3.0, "x"), Condition(), Condition(("A%+",))]
    return [canonical_json(c.to_dict()).encode() for c in made] + [b"A+ctrl", b"KLF1_NegCtrl0__KLF1_NegCtrl0", b"A%2BB+C"]

"""The official adapters: their protocol with a child process that stands in for a package, and the packages themselves.

The latter need an environment each, named by PBENCH_GEARS_PYTHON, PBENCH_CPA_PYTHON, PBENCH_SCGEN_PYTHON, PBENCH_BIOLORD_PYTHON.
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from pbench.bench.contracts.condition import Condition, sort_key
from pbench.bench.contracts.errors import InvalidPrediction, NotFitted, PbenchError, TrainingFailed, UsageError
from pbench.bench.contracts.model import Capabilities
from pbench.bench.contracts.resource import FeatureTable, GeneEdges
from pbench.bench.contracts.training import Cells, Profiles, TrainingData
from pbench.bench.kernels.normalisation import log1p_per_10k
from pbench.models.official import foreign
from pbench.models.official.adapter import OfficialModel
from pbench.models.official.biolord_official import BiolordOfficial
from pbench.models.official.bridge import batch_size
from pbench.models.official.cpa_official import CpaOfficial
from pbench.models.official.exchange import Graph, names_of, token
from pbench.models.official.gears_official import GearsOfficial
from pbench.models.official.scgen_official import ScgenOfficial

OFFICIAL = (GearsOfficial, CpaOfficial, ScgenOfficial, BiolordOfficial)
N_GENES = 40
GENES = np.array([f"G{i:02d}" for i in range(N_GENES)])

#: Stands in for a package: learns the mean of the cells of each condition with numpy and h5py, and misbehaves when told to.
STAND_IN = """
import json, os, subprocess, sys, time
from pathlib import Path
import h5py
import numpy as np

def fit(task):
    how = task["params"]["how"]
    if how == "crash":
        raise ValueError("the loss is no number")
    if how == "no-package":
        import a_package_that_nobody_has
    if how == "hang":
        helper = subprocess.Popen(["sleep", "600"])
        Path(task["params"]["note"]).write_text(f"{os.getpid()} {helper.pid}")
        time.sleep(600)
    with h5py.File(Path(task["folder"]) / "train.h5ad") as file:
        genes = file["var/_index"].asstr()[:]
        labels = file["obs/perturbation/categories"].asstr()[:][file["obs/perturbation/codes"][:]]
        X = np.zeros((len(labels), len(genes)))
        starts = file["X/indptr"][:]
        X[np.repeat(np.arange(len(labels)), np.diff(starts)), file["X/indices"][:]] = file["X/data"][:]
    np.savez(Path(task["folder"]) / "means.npz", genes=genes.astype(str), **{p: X[labels == p].mean(axis=0) for p in set(labels)})

def predict(task):
    how = task["params"]["how"]
    if how == "crash-late":
        sys.exit("no memory is left")
    stored = np.load(Path(task["folder"]) / "means.npz")
    mean, absent, cells = {}, {}, {}
    for i, query in enumerate(task["queries"]):
        if query["perturbation"] in stored:
            mean[i] = stored[query["perturbation"]]
            cells[i] = np.tile(mean[i], (3, 1)) + np.random.normal(size=(3, 1))
        elif how != "silent":
            absent[i] = "capability: unseen " + query["perturbation"]
    genes = list(stored["genes"])
    if how == "nan":
        mean[0] = mean[0] * np.nan
    if how == "counts":
        mean[0] = mean[0] + 1000
    if how == "genes":
        genes[0] = "elsewhere"
    if how == "shape":
        mean = {i: m[1:] for i, m in mean.items()}
    if how == "order":
        genes, mean = genes[::-1], {i: m[::-1] for i, m in mean.items()}
    if how == "uninvited":
        mean[99] = mean[0]
    if how == "nothing":
        os._exit(0)
    scale = "counts" if how == "scale" else task["scale"]
    return {"mean": mean, "absent": absent, "cells": cells, "genes": genes, "scale": scale}
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A model class whose official implementation is the script above."""
    path = tmp_path_factory.mktemp("stand-in") / "stand_in.py"
    path.write_text(STAND_IN)

    class StandIn(OfficialModel):
        name, variable, script, records = "stand-in", "PBENCH_STAND_IN_PYTHON", path, ("numpy", "no-such-package")
        capabilities = Capabilities(unseen_targets=True, needs_cells=True, stochastic=True)

        def __init__(self, *, python: str = sys.executable, how: str = "", note: str = "") -> None:
            self.python, self.how, self.note = python, how, note

    return StandIn


def screen(scale="counts", contexts=(None,), targets=GENES[:12], doubles=4, validation=0, without=()):
    """A screen whose effects are strong, with the last `validation` conditions set aside, and none of `without`."""
    rng = np.random.default_rng(0)
    effects = {t: np.where(rng.random(N_GENES) < 0.3, rng.normal(0, 1, N_GENES), 0) for t in targets}
    conditions = [Condition((str(t),), context=c) for c in contexts for t in targets]
    conditions += [Condition((str(targets[i]), str(targets[i + 1])), context=c) for c in contexts for i in range(doubles)]
    conditions = sorted((c for c in conditions if c not in without), key=sort_key)
    everything = [*conditions, *(Condition(context=c) for c in contexts)]
    base = rng.gamma(2, 3, N_GENES) + 0.5
    counts, codes = [], []
    for i, condition in enumerate(everything):
        level = base * np.exp(sum((effects[t] for t in condition.targets), np.zeros(N_GENES)))
        n = 90 if condition.is_control else 30
        counts.append(rng.poisson(level * rng.gamma(5, 0.2, (n, 1))))
        codes += [i] * n
    counts, codes = np.vstack(counts).astype(np.float32), np.array(codes)
    logged = np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).astype(np.float32)

    def profiles(chosen):
        own = [logged[codes == everything.index(c)] for c in chosen]
        return Profiles(
            tuple(chosen),
            np.array([x.mean(axis=0) for x in own], dtype=np.float32).reshape(len(own), N_GENES),
            np.array([x.var(axis=0, ddof=1) for x in own], dtype=np.float32).reshape(len(own), N_GENES),
            np.array([len(x) for x in own], dtype=np.int64),
        )

    def cells(chosen):
        rows = np.isin(codes, [everything.index(c) for c in chosen])
        kept = {everything.index(c): i for i, c in enumerate(chosen)}
        X = sparse.csr_matrix((counts if scale == "counts" else logged)[rows])
        return Cells(X, np.array([kept[c] for c in codes[rows]]), tuple(chosen), scale)

    controls = [c for c in everything if c.is_control]
    train, apart = (conditions[:-validation], conditions[-validation:]) if validation else (conditions, [])
    roles = {"train": [*train, *controls], "validation": apart}
    ring = np.arange(N_GENES)
    edges = GeneEdges(np.r_[ring, ring], np.r_[ring, np.roll(ring, 1)], np.r_[np.ones(N_GENES), np.full(N_GENES, 0.5)])
    edges = replace(edges, weight=edges.weight.astype(np.float32))
    table = FeatureTable(tuple(map(str, GENES)), np.eye(N_GENES, dtype=np.float32), "a ring", edges=edges)
    return TrainingData(
        genes=GENES,
        perturbed=profiles(train),
        controls=profiles(controls),
        validation=profiles(apart),
        scale=scale,
        resources={"go": table},
        load_cells=lambda role: cells(roles[role]),
    )


@pytest.fixture(scope="module")
def data():
    return screen()


@pytest.fixture(scope="module")
def fitted(stand_in, data):
    """The stand-in after training; what is told of `how` in its task reaches the script with the next prediction."""
    return stand_in().fit(data, seed=0)


def cells_of(folder):
    import anndata

    return anndata.read_h5ad(Path(folder) / "train.h5ad")


def test_a_stand_in_answers_with_the_means_of_the_cells_that_were_written(stand_in, data):
    model = stand_in().fit(data, seed=3)
    asked = [*data.perturbed.conditions[:3], Condition(("G30",))]
    prediction = model.predict(asked, data.controls)
    assert prediction.conditions == tuple(asked[:3]) and prediction.scale == "log1p_1e4"
    np.testing.assert_allclose(prediction.mean, data.perturbed.mean[:3], atol=1e-5)
    assert prediction.absent == {asked[3]: "capability: unseen G30"}
    assert prediction.cells[asked[1]].shape == (3, N_GENES)
    assert model.diagnostics()["versions"]["numpy"] == np.__version__
    assert model.diagnostics()["versions"].keys() == {"python", "numpy"}


def test_cells_of_an_earlier_answer_stay(fitted, data):
    model = fitted
    first = model.predict(data.perturbed.conditions[:2], data.controls)
    before = first.cells[data.perturbed.conditions[0]]
    second = model.predict(data.perturbed.conditions[3:5], data.controls)
    assert np.array_equal(first.cells[data.perturbed.conditions[0]], before)
    assert not np.array_equal(second.cells[data.perturbed.conditions[3]], before)


def test_the_seed_reaches_the_generators_of_the_other_process(stand_in, data):
    asked = data.perturbed.conditions[:1]
    drawn = [stand_in().fit(data, seed=s).predict(asked, data.controls).cells[asked[0]] for s in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_genes_in_another_order_are_put_in_ours(fitted, data, monkeypatch):
    monkeypatch.setitem(fitted.task_["params"], "how", "order")
    prediction = fitted.predict(data.perturbed.conditions[:2], data.controls)
    np.testing.assert_allclose(prediction.mean, data.perturbed.mean[:2], atol=1e-5)


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("crash-late", TrainingFailed, "exit code 1 in the step 'predict'.*no memory is left"),
        ("silent", InvalidPrediction, "neither predicts nor declares absent 1 condition.*G30"),
        ("nan", InvalidPrediction, "a mean that is no number for G00"),
        ("counts", InvalidPrediction, "no log1p of counts per 10,000"),
        ("genes", InvalidPrediction, "missing: \\['G00'\\]"),
        ("shape", InvalidPrediction, "a mean of shape"),
        ("uninvited", InvalidPrediction, "predicts query 99, which nobody asked"),
        ("nothing", InvalidPrediction, "without writing predictions"),
        ("scale", InvalidPrediction, "on the scale 'counts', and 'log1p_1e4' was asked"),
    ],
)
def test_what_cannot_be_scored_is_an_error_that_says_why(fitted, data, how, error, words, monkeypatch):
    model = fitted
    monkeypatch.setitem(model.task_["params"], "how", how)
    with pytest.raises(error, match=words):
        model.predict([*data.perturbed.conditions[:2], Condition(("G30",))], data.controls)


def test_an_error_in_training_is_quoted(stand_in, data):
    with pytest.raises(TrainingFailed, match="exit code 1 in the step 'fit'.*ValueError: the loss is no number"):
        stand_in(how="crash").fit(data, seed=0)


def test_an_interpreter_without_the_package_is_the_users_to_mend(stand_in, data):
    with pytest.raises(UsageError, match="a_package_that_nobody_has.*docs/official.md"):
        stand_in(how="no-package").fit(data, seed=0)


@pytest.mark.parametrize("cls", OFFICIAL)
def test_without_an_interpreter_the_error_says_what_to_type(cls, data, monkeypatch):
    monkeypatch.delenv(cls.variable, raising=False)
    with pytest.raises(UsageError, match=f"Type: export {cls.variable}=/path/to/environment/bin/python"):
        cls().fit(data, seed=0)
    monkeypatch.setenv(cls.variable, "/nowhere/bin/python")
    with pytest.raises(UsageError, match=f"'/nowhere/bin/python', named for '{cls.name}', is no program"):
        cls().fit(data, seed=0)
    with pytest.raises(NotFitted):
        cls().predict(data.perturbed.conditions[:1], data.controls)


def alive(pid):
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true, seconds=60.0):
    """Wait for something that must come, and say whether it did."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


JOB = """
import json, os, sys
from pathlib import Path
from pbench.models.official import foreign
script, folder = map(Path, sys.argv[1:])
task = {"seed": 0, "packages": [], "params": {"how": "hang", "note": str(folder / "pids")}}
(folder / "task.json").write_text(json.dumps(task))
foreign.run(sys.executable, script, folder, "fit", "stand-in")
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_the_job(stand_in, tmp_path, sent):
    # Killed outright, the job cannot clean up, and the child must notice; interrupted, it cleans up itself.
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, str(stand_in.script), str(tmp_path)],
        stderr=subprocess.DEVNULL,
        # A shell that runs the tests in the background has them ignore the interruption, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    note = tmp_path / "pids"
    try:
        assert until(lambda: note.exists() and len(note.read_text().split()) == 2)
        pids = [int(p) for p in note.read_text().split()]
        assert all(map(alive, pids))
    finally:
        job.send_signal(sent)
    job.wait(60)
    assert until(lambda: not any(map(alive, pids)))


def test_what_is_written_is_training_control_and_validation_cells(stand_in):
    data = screen(validation=3)
    model = stand_in().fit(data, seed=0)
    written = cells_of(model.folder_.name)
    assert set(written.obs["split"][written.obs["perturbation"] == "control"]) == {"train"}
    by_split = {s: set(written.obs["perturbation"][written.obs["split"] == s]) for s in ("train", "valid")}
    assert by_split["train"] == {c.label for c in data.perturbed.conditions} | {"control"}
    assert by_split["valid"] == {c.label for c in data.validation.conditions}
    assert model.diagnostics()["cells"] == {"train": 90 + 30 * len(data.perturbed), "valid": 90}
    raw = data.cells.X.toarray().sum(axis=1)
    depth = np.expm1(written[(written.obs["split"] == "train").to_numpy()].X.toarray()).sum(axis=1)
    np.testing.assert_allclose(depth[raw > 0], 1e4, rtol=1e-4)


def test_counts_are_normalised_as_profiles_are():
    X = sparse.csr_matrix(np.array([[1, 0, 3], [0, 0, 0], [0, 5, 0]], dtype=np.float32))
    expected = np.log1p(1e4 * np.array([[0.25, 0, 0.75], [0, 0, 0], [0, 1, 0]]))
    np.testing.assert_allclose(log1p_per_10k(X).toarray(), expected, rtol=1e-6)
    assert X.max() == 5


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (Condition(), ("control", "ctrl", "1.0", "only")),
        (Condition(("B",), context="x"), ("B", "B+ctrl", "1.0", "x")),
        (Condition(("B", "A"), (2.0, 0.5)), ("A+B", "A+B", "0.5+2.0", "only")),
        (Condition(("a+b",)), ("a%2Bb", "a%2Bb+ctrl", "1.0", "only")),
        (Condition(("ctrl1",)), ("ct%72l1", "ct%72l1+ctrl", "1.0", "only")),
    ],
)
def test_names_are_those_of_the_packages_and_survive_what_these_read_into_them(condition, names):
    assert tuple(names_of(condition).values()) == names


def test_the_graph_is_that_of_the_table_or_else_its_nearest_rows():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(30, 5)).astype(np.float32)
    table = FeatureTable(tuple(f"n{i}" for i in range(30)), values, "made up")
    graph = Graph.of(table)
    for target in range(30):
        cosine = np.array(
            [values[i] @ values[target] / np.linalg.norm(values[i]) / np.linalg.norm(values[target]) for i in range(30)]
        )
        expected = [i for i in np.argsort(-cosine, kind="stable")[:21] if cosine[i] > 0.1]
        own = graph.target == target
        assert set(graph.source[own]) == set(expected)
        np.testing.assert_allclose(sorted(graph.weight[own]), sorted(cosine[expected]), rtol=1e-4)
    edges = GeneEdges(np.array([0, 3]), np.array([1, 2]), np.array([0.5, 1], dtype=np.float32))
    assert Graph.of(replace(table, edges=edges)).source is edges.source


def test_biolord_is_told_of_a_target_by_its_neighbours_among_those_of_training(stand_in, data, monkeypatch):
    # The ring joins each gene to the next one; training has G00 to G11, so that G39 has a neighbour and G20 none.
    model = BiolordOfficial(python=sys.executable)
    monkeypatch.setattr(BiolordOfficial, "script", stand_in.script)
    monkeypatch.setattr(BiolordOfficial, "get_params", lambda self: {"how": ""})
    model.fit(data, seed=0)
    expected = {"G05": {5: 1.0, 6: 0.5}, "G11": {11: 1.0}, "G39": {0: 0.5}, "G05+G11": {5: 1.0, 6: 0.5, 11: 1.0}}
    for label, weights in expected.items():
        features = np.zeros(12)
        features[list(weights)] = list(weights.values())
        np.testing.assert_allclose(model._question(Condition(tuple(label.split("+"))))["features"], features)
    assert model._question(Condition(("G20",))) == "resource: G20 has no neighbour among the training targets in the gene graph"


def test_gears_trains_on_what_it_can_use_and_is_asked_what_is_in_its_graph(stand_in, monkeypatch):
    data = screen()
    table = data.resources["go"]
    names = tuple(n for n in table.names if n != "G03")
    cut = FeatureTable(names, np.eye(39, dtype=np.float32), "cut")
    model = GearsOfficial(python=sys.executable)
    monkeypatch.setattr(GearsOfficial, "script", stand_in.script)
    monkeypatch.setattr(GearsOfficial, "get_params", lambda self: {"how": ""})
    model.fit(replace(data, resources={"go": cut}), seed=0)
    written = set(cells_of(model.folder_.name).obs["perturbation"])
    assert written == {c.label for c in data.perturbed.conditions if "G03" not in c.targets} | {"control"}
    prediction = model.predict([Condition(("G03",)), Condition(("G01",))], data.controls)
    assert prediction.absent == {Condition(("G03",)): "resource: G03 is not in the gene graph"}
    assert prediction.conditions == (Condition(("G01",)),)
    empty = GeneEdges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    with pytest.raises(UsageError, match="the resource 'go' has no edges"):
        model.fit(replace(data, resources={"go": replace(table, edges=empty)}), seed=0)


def test_gears_watches_the_conditions_that_are_set_aside(stand_in, monkeypatch):
    monkeypatch.setattr(GearsOfficial, "script", stand_in.script)
    monkeypatch.setattr(GearsOfficial, "get_params", lambda self: {"how": ""})
    for data in (screen(validation=4), screen(targets=GENES[:30])):
        model = GearsOfficial(python=sys.executable).fit(data, seed=0)
        written = cells_of(model.folder_.name)
        watched = set(written.obs["perturbation"][written.obs["split"] == "valid"])
        trained = set(written.obs["perturbation"][written.obs["split"] == "train"])
        assert len(watched) >= 3 and not watched & trained
        if len(data.validation):
            assert watched == {c.label for c in data.validation.conditions}


def test_scgen_never_gets_the_conditions_that_are_set_aside(stand_in, monkeypatch):
    monkeypatch.setattr(ScgenOfficial, "script", stand_in.script)
    monkeypatch.setattr(ScgenOfficial, "get_params", lambda self: {"how": ""})
    data = screen(validation=3)
    model = ScgenOfficial(python=sys.executable).fit(data, seed=0)
    written = cells_of(model.folder_.name)
    assert set(written.obs["perturbation"]) == {c.label for c in data.perturbed.conditions} | {"control"}


@pytest.mark.parametrize("cls", [GearsOfficial, BiolordOfficial, ScgenOfficial, CpaOfficial])
def test_the_script_is_part_of_the_identity_of_the_code(cls):
    # The module imports it, which is what the identity of results follows.
    assert cls.script.stem in vars(sys.modules[cls.__module__])
    assert Path(vars(sys.modules[cls.__module__])[cls.script.stem].__file__) == cls.script


@pytest.mark.parametrize("cls", [GearsOfficial, BiolordOfficial, ScgenOfficial, CpaOfficial])
def test_screens_that_a_package_cannot_take_are_refused(cls, data):
    times = tuple(replace(c, time=float(i % 2)) for i, c in enumerate(data.perturbed.conditions))
    with pytest.raises(UsageError, match=f"'{cls.name}' cannot learn from this screen: .* times"):
        cls(python=sys.executable).fit(replace(data, perturbed=replace(data.perturbed, conditions=times)), seed=0)


@pytest.mark.parametrize(("asked", "n_cells", "size"), [(64, (513, 57), 63), (32, (96,), 32), (32, (33, 63), 30), (2, (7,), 2)])
def test_no_batch_is_a_single_cell(asked, n_cells, size):
    assert batch_size(asked, *n_cells) == size
    assert size == 2 or all(n % size != 1 for n in n_cells)
    assert all(any(n % larger == 1 for n in n_cells) for larger in range(size + 1, asked + 1))


@pytest.mark.parametrize("name", ["bridge", "gears_script", "cpa_script", "scgen_script", "biolord_script"])
def test_what_the_other_interpreter_runs_needs_nothing_of_ours(name):
    path = Path(foreign.__file__).with_name(f"{name}.py")
    ours = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level]
    assert ours == []
    at_top = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name.split(".")[0] for n in at_top for a in (n.names if isinstance(n, ast.Import) else [ast.alias(n.module)])}
    assert names <= set(sys.stdlib_module_names)


# The packages themselves.

REAL = {
    GearsOfficial: ({"epochs": 3, "hidden": 16}, "log1p_1e4", (None,), [Condition(("G20",)), Condition(("G08", "G10"))]),
    CpaOfficial: ({"epochs": 40, "batch_size": 64, "latent": 16, "width": 64}, "counts", (None,), [Condition(("G08", "G10"))]),
    ScgenOfficial: ({"epochs": 40, "width": 64, "latent": 16}, "counts", ("a", "b"), [Condition(("G02",), context="b")]),
    BiolordOfficial: (
        {"epochs": 40, "batch_size": 32, "learning_rate": 0.01},
        "counts",
        (None,),
        [Condition(("G39",)), Condition(("G08", "G10"))],
    ),
}


@pytest.mark.parametrize("cls", OFFICIAL)
def test_the_package_learns_and_predicts(cls):
    if not os.environ.get(cls.variable):
        pytest.skip(f"{cls.variable} names no interpreter with the package (docs/official.md)")
    params, scale, contexts, asked = REAL[cls]
    data = screen(scale, contexts, without=[c for c in asked if c.context])
    seen = data.perturbed.conditions[0]
    model = cls(**params).fit(data, seed=0)
    prediction = model.predict([seen, *asked], data.controls)
    assert prediction.conditions == (seen, *asked) and not prediction.absent
    assert prediction.mean.shape == (1 + len(asked), N_GENES) and np.isfinite(prediction.mean).all()
    # Whatever it has learned in seconds, it must be on the scale of the profiles: nearer to them than zero is.
    assert np.mean((prediction.mean[0] - data.perturbed.mean[0]) ** 2) < 0.5 * np.mean(data.perturbed.mean[0] ** 2)
    assert np.ptp(prediction.mean - data.controls.control_mean(prediction.conditions), axis=1).min() > 0
    if prediction.cells is not None:
        np.testing.assert_allclose(prediction.cells[seen].mean(axis=0), prediction.mean[0], atol=1e-4)
    if prediction.variance is not None:
        assert (prediction.variance >= 0).all()
    assert model.diagnostics()["versions"]["python"] and len(model.diagnostics()["versions"]) > 3


def test_every_error_is_of_the_family():
    assert issubclass(TrainingFailed, PbenchError) and token("A") == "A"

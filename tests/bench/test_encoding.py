"""Latent variables through the engine: held-out units, codes, what is archived, and how far trainings agree."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.errors import DataError, InvalidPrediction
from pbench.bench.contracts.latents import Encoding, GroundTruth, ground_truth_of
from pbench.bench.contracts.training import Cells
from pbench.bench.engine.encoding import HeldOut, encode
from pbench.bench.engine.encodings import agreements, read_encoding, save_encoding

# A screen of trajectories, models that read the truth off the genes in different ways, and metrics that count.
PLUGIN = '''
import numpy as np
import pandas as pd
from anndata import AnnData
from pbench import Capabilities, DatasetCard, MetricInfo, Model, Prediction, Screen, Values
from pbench.bench.contracts.latents import GroundTruth
from pbench.bench.contracts.screen import Dataset, validate

CARD = DatasetCard("seen-twice", "a toy", "a test", "CC0", "raw", "control", simulated=True, default_split="units")


def simulate(n=40, times=2):
    rng = np.random.default_rng(0)
    labels = np.repeat(["control", "A", "B", "A+B"], n)
    unit = np.repeat(np.arange(4 * n), times)
    label, time = np.repeat(labels, times), np.tile(np.arange(times), 4 * n)
    z = rng.normal(size=(len(unit), 3))
    z[:, 2] = rng.normal(size=4 * n)[unit]
    acts = {"control": (0, 0), "A": (1, 0), "B": (0, 1), "A+B": (1, 1)}
    z[:, :2] += 2 * np.array([acts[x] for x in label])
    x = (z @ rng.normal(size=(3, 8))).astype(np.float32)
    x[:, :3] = z
    obs = pd.DataFrame({"perturbation": label, "time": time.astype(float), "unit": unit}, index=[f"c{i:04d}" for i in range(len(unit))])
    adata = AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(8)]))
    mask = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=bool)
    truth = GroundTruth(z, ("a", "b", "c"), ("responsive", "responsive", "invariant"), ("continuous",) * 3,
                        ("control", "A", "B", "A+B"), mask, np.zeros((3, 3), bool), np.eye(3, dtype=bool)[None])
    truth.write(adata)
    return validate(Screen(adata, CARD), source="toy")


SEEN_TWICE = Dataset(card=CARD, data_id=lambda: "seen-twice-1", load=simulate)


class Reads(Model):
    """Reads the latent variables off the first genes."""

    capabilities = Capabilities(needs_cells=True, predicts=False, claim="permutation")

    def fit(self, data, *, seed):
        assert data.latents == {"responsive": 2, "invariant": 1}
        assert data.cells.paired
        self.seen_ = set(np.asarray(data.cells.unit).tolist())
        return self

    def encode(self, cells):
        assert not self.seen_ & set(np.asarray(cells.unit).tolist())
        x = cells.X.toarray()
        return {"responsive": x[:, :2], "invariant": x[:, 2:3]}


class Noisy(Reads):
    """The same with noise of its seed, and the label beside it."""

    capabilities = Capabilities(needs_cells=True, predicts=False, stochastic=True)

    def fit(self, data, *, seed):
        self.seed_ = seed
        return super().fit(data, seed=seed)

    def encode(self, cells):
        x = cells.X.toarray()[:, :2]
        x = x + 0.5 * np.random.default_rng(self.seed_).normal(size=x.shape)
        told = np.array([[len(c.targets)] for c in cells.conditions])[cells.codes]
        return {"latent": np.concatenate([x, told], axis=1)}


class Pairs(Reads):
    """Would be at home here."""

    capabilities = Capabilities(needs_cells=True, needs_pairs=True, predicts=False)


class Silent(Model):
    """Predicts and does not encode."""

    capabilities = Capabilities(unseen_targets=True)

    def fit(self, data, *, seed):
        return self

    def predict(self, conditions, controls):
        return Prediction(tuple(conditions), controls.control_mean(conditions))


def correlation(comparison):
    c = comparison.latents
    z, h = c.truth.values[c.report], c.code("responsive")[c.report]
    return Values.of(np.array([abs(np.corrcoef(z[:, 0], h[:, 0])[0, 1])]))


def rows(comparison):
    c = comparison.latents
    return Values.of(np.var(c.truth.values[c.report], axis=0))


FIRST = MetricInfo("first-code", 1, "up", 0, 1, 1, correlation, "Correlation of the first.", level="dataset", needs=("latents",), headline=True)
EACH = MetricInfo("spread-of-truth", 1, "up", 0, np.inf, 1, rows, "Variance.", level="latent", needs=("latents",))
'''
IDENTIFY = (
    "run",
    "--track",
    "identifiability",
    "--dataset",
    "seen-twice",
    "--plugin",
    "toy.py",
    "--metrics",
    "first-code,spread-of-truth",
)


@pytest.fixture(scope="module")
def identified(pbench, tmp_path_factory):
    """A run of two models under three seeds, and where its results lie."""
    folder = tmp_path_factory.mktemp("identified")
    (folder / "toy.py").write_text(PLUGIN)
    done = pbench(*IDENTIFY, "--models", "reads,noisy,pairs", "--seeds", "3", cwd=folder)
    return folder, done


def test_a_run_scores_codes_of_units_that_no_model_has_seen(identified):
    folder, done = identified
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(folder / "results" / "records.parquet")
    first = table[table["metric"] == "first-code"].set_index(["model", "seed"])["value"]
    assert first["reads", 0] == pytest.approx(1, abs=1e-6)
    assert {seed for model, seed in first.index if model == "noisy"} == {0, 1, 2}
    assert (first["noisy"] < 0.99).all() and first["noisy"].nunique() == 3
    each = table[(table["metric"] == "spread-of-truth") & (table["model"] == "reads")]
    assert each["condition"].tolist() == ["latent a", "latent b", "latent c"]
    assert (table["condition"] == "*").sum() == len(first)


def test_the_board_says_who_was_told_and_who_claims_what(identified):
    text = identified[1].stdout
    assert "seen-twice · units\\[seed=0\\] · latent variables" in text
    lines = {cells[1]: cells for row in text.splitlines() if len(cells := [c.strip() for c in row.split("|")]) > 4}
    assert lines["reads"][1:4] == ["reads", "permutation", "no"]
    assert lines["noisy"][1:4] == ["noisy", "–", "yes"]
    assert "does not carry over to snapshots" in text


def test_codes_are_archived_and_scored_again_without_a_fit(identified, pbench):
    folder, _ = identified
    assert len(list((folder / "results" / "encodings").glob("*.npz"))) == 5
    again = pbench(*IDENTIFY, "--models", "reads,noisy,pairs", "--seeds", "3", "--json", cwd=folder)
    assert json.loads(again.stdout)["computed"] == 0
    fewer = pbench(*IDENTIFY[:-1], "first-code", "--models", "noisy", "--seeds", "3", "--json", cwd=folder)
    cards = json.loads(fewer.stdout)["jobs"]
    assert len(cards) == 3 and all(c["rescored"] for c in cards)
    table = pd.read_parquet(folder / "results" / "records.parquet")
    assert table[(table["metric"] == "first-code") & (table["model"] == "noisy")]["value"].nunique() == 3


def test_agreement_of_trainings_is_written_for_all_pairs_of_seeds(identified):
    folder, _ = identified
    found = [json.loads(p.read_text()) for p in (folder / "results" / "agreements").glob("*.json")]
    assert sorted(f["seeds"] for f in found) == [[0, 1], [0, 2], [1, 2]]
    assert {f["model"] for f in found} == {"noisy"}
    # Codes share the signal of variance near 1 to 3 and differ by noise of variance 0.25; the third is the same label.
    assert all(0.6 < f["value"] < 0.999 for f in found)


def test_a_model_that_cannot_take_part_says_why_and_the_run_goes_on(pbench, tmp_path):
    once = PLUGIN.replace("def simulate(n=40, times=2)", "def simulate(n=80, times=1)").replace("seen-twice-1", "seen-once-1")
    (tmp_path / "toy.py").write_text(once)
    done = pbench(*IDENTIFY, "--models", "reads,silent,pairs", "--json", cwd=tmp_path)
    cards = {c["model"]: c for c in json.loads(done.stdout)["jobs"]}
    assert "observed at several times" in cards["pairs"]["reason"] and cards["pairs"]["status"] == "unavailable"
    assert "no encode" in cards["silent"]["reason"]
    # The toy asks for paired cells, and these are not: that is a failed job, not an unavailable one.
    assert cards["reads"]["status"] == "failed" and done.returncode == 1


def test_predictions_and_codes_of_one_model_stand_on_boards_of_their_own(pbench, tmp_path):
    (tmp_path / "toy.py").write_text(PLUGIN)
    done = pbench(*IDENTIFY[:-1], "first-code", "--models", "reads", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pbench(
        "run",
        "--dataset",
        "seen-twice",
        "--split",
        "units",
        "--plugin",
        "toy.py",
        "--models",
        "silent",
        "--metrics",
        "l2@all",
        cwd=tmp_path,
    )
    text = pbench("leaderboard", "--plugin", "toy.py", cwd=tmp_path).stdout
    assert text.count("## seen-twice · units\\[seed=0\\]\n") == 1
    assert text.count("## seen-twice · units\\[seed=0\\] · latent variables\n") == 1
    assert "side by side" in text
    boards = json.loads(pbench("leaderboard", "--plugin", "toy.py", "--json", cwd=tmp_path).stdout)
    assert [b.get("kind") for b in boards] == [None, "identification"]
    assert [x["model"] for x in boards[0]["lines"]] == ["silent"]


def _cells(n_units=30, times=3, seed=0):
    rng = np.random.default_rng(seed)
    conditions = (Condition(context="x"), Condition(("A",), context="x"), Condition(("B",), context="y"), Condition(context="y"))
    unit = np.repeat(np.arange(4 * n_units), times)
    codes = np.repeat(np.arange(4), n_units * times)
    X = sparse.csr_matrix(rng.normal(size=(len(unit), 5)).astype(np.float32))
    return Cells(X, codes, conditions, "raw", unit=unit, time=np.tile(np.arange(times), 4 * n_units).astype(float))


def _truth(n, d=2):
    return GroundTruth(
        np.arange(n * d, dtype=float).reshape(n, d),
        tuple("abcdef"[:d]),
        ("responsive",) * d,
        ("continuous",) * d,
        ("control", "A", "B"),
        np.zeros((3, d), bool),
        np.zeros((d, d), bool),
        np.zeros((0, d, d), bool),
    )


def test_halves_hold_whole_units_and_half_of_every_perturbation():
    cells = _cells()
    held_out = HeldOut(cells, _truth(len(cells.codes)))
    report = held_out.report
    for unit in np.unique(cells.unit):
        assert report[cells.unit == unit].all() or not report[cells.unit == unit].any()
    for code in (1, 2):
        assert report[cells.codes == code].mean() == pytest.approx(0.5)
    # Both contexts' controls are one perturbation.
    assert report[np.isin(cells.codes, (0, 3))].mean() == pytest.approx(0.5)
    np.testing.assert_array_equal(report, HeldOut(_cells(seed=1), None).report)


def test_blind_cells_are_control_cells_of_their_context():
    cells = _cells()
    blind = HeldOut(cells, None).blind
    assert [blind.conditions[c] for c in blind.codes[::90]] == [Condition(context=c) for c in "xxyy"]
    assert blind.X is cells.X and blind.unit is cells.unit


class _Coder:
    def __init__(self, codes, targets=None, graph=None):
        self.codes = codes
        if targets is not None:
            self.targets = lambda: targets
        if graph is not None:
            self.graph = lambda: graph

    def encode(self, cells):
        return self.codes(cells) if callable(self.codes) else self.codes


@pytest.mark.parametrize(
    ("coder", "says"),
    [
        (_Coder({"z": np.zeros((360, 2))}), "name codes responsive, latent, invariant"),
        (_Coder([1, 2]), "arrays by name"),
        (_Coder({"latent": np.zeros((3, 2))}), "shape"),
        (_Coder({"latent": np.full((360, 2), np.nan)}), "NaN"),
        (_Coder({"latent": np.zeros((360, 2))}, targets={"A": np.ones(3)}), "targets"),
        (_Coder({"latent": np.zeros((360, 2))}, graph=np.ones((3, 3))), "graph"),
    ],
)
def test_codes_that_cannot_be_scored_are_refused_in_plain_words(coder, says):
    with pytest.raises(InvalidPrediction, match=says):
        encode(coder, HeldOut(_cells(), None))


def test_whether_the_label_changes_the_code_is_found_out():
    held_out = HeldOut(_cells(), None)
    blind_coder = _Coder(lambda cells: {"latent": cells.X.toarray()})
    assert encode(blind_coder, held_out).blind is None
    told = _Coder(
        lambda cells: {"latent": cells.X.toarray() + np.array([c.label == "A" for c in cells.conditions])[cells.codes][:, None]}
    )
    found = encode(told, held_out)
    assert found.blind is not None
    np.testing.assert_allclose(
        found.codes["latent"] - found.blind["latent"], (held_out.cells.codes == 1)[:, None] * np.ones(5), atol=1e-6
    )


def test_an_archived_encoding_comes_back_as_it_was(tmp_path):
    rng = np.random.default_rng(0)
    codes = {"responsive": rng.normal(size=(9, 2)).astype(np.float32).astype(float), "invariant": np.ones((9, 1))}
    encoding = Encoding(codes, {"responsive": codes["invariant"]}, {"A": np.array([0.1, 0.9])}, np.eye(2))
    path = save_encoding(tmp_path, "j" * 40, encoding, np.ones(9, bool))
    back = read_encoding(tmp_path, "j" * 40)
    assert back is not None and back.blind is not None and back.graph is not None
    np.testing.assert_array_equal(back.codes["responsive"], codes["responsive"])
    np.testing.assert_array_equal(back.blind["responsive"], codes["invariant"])
    np.testing.assert_array_equal(back.targets["A"], [0.1, 0.9])
    np.testing.assert_array_equal(back.graph, np.eye(2))
    path.write_bytes(path.read_bytes()[:40])
    assert read_encoding(tmp_path, "j" * 40) is None


def test_agreement_is_one_for_reordered_codes_and_near_zero_for_noise(tmp_path):
    rng = np.random.default_rng(0)
    z, report = rng.normal(size=(4000, 4)), np.arange(4000) % 2 == 0
    for job, codes in (("a", z), ("b", -2 * z[:, [2, 0, 3, 1]]), ("c", rng.normal(size=(4000, 4)))):
        save_encoding(tmp_path, job * 40, Encoding({"latent": codes}), report)

    def card(seed, job):
        spec = {"dataset": "d", "data_id": "i", "split": "s", "split_id": "j", "fold": "1/1", "seed": seed}
        return {"status": "ok", "encoded": True, "stochastic": True, "model": "m", "spec": spec, "job_id": job * 40}

    found = {tuple(f["seeds"]): f["value"] for f in agreements(tmp_path, [card(0, "a"), card(1, "b"), card(2, "c")])}
    assert found[0, 1] == pytest.approx(1, abs=1e-6)
    assert abs(found[0, 2]) < 0.05
    assert agreements(tmp_path, [card(0, "a"), card(1, "z")]) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"names": ("a",)}, "1 'names' for 2"),
        ({"targets": np.zeros((1, 2))}, "'targets' is"),
        ({"graph": np.zeros((3, 3))}, "'graph' is"),
        ({"blocks": ("dynamic", "invariant")}, "'dynamic' is neither"),
    ],
)
def test_ground_truth_that_does_not_fit_together_is_refused(change, says):
    truth = _truth(5)
    parts = {n: getattr(truth, n) for n in ("names", "blocks", "kinds", "perturbations", "targets", "graph", "lagged")} | change
    with pytest.raises(DataError, match=says):
        ground_truth_of(truth.values, parts)
    with pytest.raises(DataError, match="lacks 'graph'"):
        ground_truth_of(truth.values, {k: v for k, v in parts.items() if k != "graph"})
    with pytest.raises(DataError, match="NaN"):
        ground_truth_of(np.full((5, 2), np.nan), {k: getattr(truth, k) for k in parts})


def test_what_a_perturbation_reaches_follows_the_graph():
    graph = np.zeros((4, 4), bool)
    graph[1, 0] = graph[2, 1] = True  # 0 -> 1 -> 2, at once and one instant later; 3 apart
    for instant, later in ((graph, np.zeros((0, 4, 4), bool)), (np.zeros((4, 4), bool), graph[None])):
        truth = GroundTruth(
            np.zeros((1, 4)), tuple("abcd"), ("responsive",) * 4, ("continuous",) * 4, ("control", "A", "B"),
            np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]], bool), instant, later,
        )  # fmt: skip
        np.testing.assert_array_equal(truth.reached, np.array([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]], bool))

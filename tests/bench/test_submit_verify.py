"""``pbench submit`` and ``pbench verify`` as they are typed, on real results: what is the same, and whatever was changed is found."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from anndata import AnnData, read_h5ad
from bundled_results import FILE, cards_of, make_results, seal, typed, write_cards

from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import PbenchError
from pbench.bench.contracts.identity import content_id
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.engine import restage, verify, verify_origin
from pbench.bench.engine.bundle import read_bundle
from pbench.bench.engine.execute import Outcome
from pbench.bench.engine.store import Store, current
from pbench.leaderboards.board import boards
from pbench.leaderboards.identification import identifications
from pbench.leaderboards.markdown import render


@pytest.fixture(scope="module")
def place(pbench, tmp_path_factory):
    """A folder with a screen in a file and results on it."""
    folder = tmp_path_factory.mktemp("place")
    make_results(pbench, folder)
    return folder


@pytest.fixture(scope="module")
def command(place, shared_cache):
    """A command on the screen's file."""

    def call(name, *arguments):
        results = ("--results", place / "results") if name == "submit" else ("--jobs", 2)
        return typed(name, *arguments, *results, "--data", place / "small.h5ad", *FILE, PBENCH_CACHE=str(shared_cache))

    return call


@pytest.fixture(scope="module")
def submitted(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "all"
    code, out, err = command("submit", folder)
    assert code == 0, err
    assert "9 job(s) of 8 model(s) on small / doubles[seed=0], 1 of them without an answer" in out
    return folder


@pytest.fixture(scope="module")
def few(command, tmp_path_factory):
    """The same of two models, for what changes it."""
    folder = tmp_path_factory.mktemp("bundles") / "few"
    code, _, err = command("submit", folder, "--models", "additive,noisy")
    assert code == 0, err
    return folder


@pytest.fixture
def tampered(few, tmp_path):
    return shutil.copytree(few, tmp_path / "few")


@pytest.fixture
def inline(monkeypatch):
    """Calls that would each have a process of their own, made in this one: the same answers without the wait."""

    def execute(function, arguments, *, on_start=lambda key: None, **limits):
        for key, argument in enumerate(arguments):
            on_start(key)
            try:
                yield Outcome(key, "ok", function(argument))
            except PbenchError as error:
                yield Outcome(key, "failed", reason=str(error), exit_code=error.exit_code)

    for module in (restage, verify, verify_origin):
        monkeypatch.setattr(module, "execute", execute)


def checked(command, bundle, *more):
    """Exit code and the report of one bundle."""
    code, out, err = command("verify", bundle, "--json", *more)
    assert "Traceback" not in err
    (report,) = json.loads(out)["bundles"]
    return code, report


def test_everything_that_can_be_scored_again_is_the_same(command, submitted):
    """Every value of every finished job is either the same or named as not scored again, with the reason."""
    code, report = checked(command, submitted, "--require-predictions")
    assert (code, report["problems"], report["matches"], report["rescored"]) == (0, [], True, True)
    rows = read_bundle(submitted).rows
    assert report["values"]["same"] + report["values"]["not_scored_again"] == len(rows)
    of_cells = {m for m in rows["metric"].unique() if "cells" in {*registry.metrics.get(m).needs, *registry.metrics.get(m).reads}}
    assert of_cells == {"ks@all"}
    # Only models that gave cells have values that cannot be made from what is archived.
    n = int((rows["model"].isin(["with-cells", "no-change", "technical-duplicate"]) & rows["metric"].isin(of_cells)).sum())
    reason = "reads predicted cells, which a bundle does not hold"
    assert report["not_scored_again"] == [{"metric": "ks@all", "reason": reason, "values": n}]
    assert any("1 of 9 job(s) gave no answer" in r for r in report["remarks"])
    assert any("noisy, spread, with-cells" in r and "Not installed" in r for r in report["remarks"])


def test_boards_of_a_bundle_are_those_of_the_results(place, submitted):
    store = Store(place / "results")
    cards = current(store.cards())
    rows = store.rows(c for c in cards if c["status"] == "ok")
    made = read_bundle(submitted)
    metrics = {name: registry.metrics.get(name) for name in registry.metrics}
    ours, theirs = boards(made.cards, made.rows, metrics), boards(cards, rows, metrics)
    assert repr(ours) == repr(theirs)
    assert render(ours, metrics, [], [], []) == render(theirs, metrics, [], [], [])
    assert "broken" in made.meta["models"]
    assert "it broke" in render(ours, metrics, [], [], [])


def test_the_same_results_give_the_same_bytes(command, submitted, tmp_path):
    code, out, _ = command("submit", tmp_path / "all", "--json")
    report = json.loads(out)
    files = {p.relative_to(submitted).as_posix(): p.read_bytes() for p in submitted.rglob("*") if p.is_file()}
    assert code == 0
    assert {n: (tmp_path / "all" / n).read_bytes() for n in files} == files
    assert (report["files"], report["jobs"], report["failed"], report["left_out"]) == (len(files), 9, 1, [])
    assert report["bytes"] == sum(map(len, files.values()))


def test_no_path_of_this_machine_is_in_a_bundle(place, submitted):
    for path in submitted.rglob("*"):
        if path.suffix in (".json", ".jsonl"):
            assert str(place) not in path.read_text()


def test_shifts_are_those_of_the_cells(place, submitted):
    """By hand from the file: means of log1p of counts per 10,000, against control; the 30 genes with the largest true change."""
    adata = read_h5ad(place / "small.h5ad")
    X = adata.X.toarray().astype(np.float64)
    X = np.log1p(1e4 * X / X.sum(axis=1, keepdims=True))
    labels, genes = adata.obs["perturbation"].to_numpy().astype(str), adata.var_names.to_numpy().astype(str)
    change = {x: X[labels == x].mean(axis=0) - X[labels == "control"].mean(axis=0) for x in np.unique(labels)}
    made = read_bundle(submitted)
    assert made.shifts is not None
    (manifest,) = made.manifests.values()
    asked = sorted(c.label for c in manifest.with_role("test"))
    by_model = dict(tuple(made.shifts.groupby("model")))
    assert set(by_model) == set(made.meta["models"]) - {"broken"}
    noise = np.mean([np.random.default_rng(_seed(made, "noisy", s)).normal(0, 0.1, (len(asked) - 1, 40)) for s in (0, 1)], axis=0)
    first = [c.label for c in manifest.with_role("test")][0]
    predicted = {
        "no-change": {x: 0 * change[x] for x in asked},
        "additive": {x: sum(change[t] for t in x.split("+")) for x in asked},
        "noisy": {x: noise[i] for i, x in enumerate(sorted(set(asked) - {first}))},
    }
    for model, expected in predicted.items():
        own = by_model[model]
        assert sorted(own["condition"].unique()) == sorted(expected)
        for label, part in own.groupby("condition"):
            largest = sorted(range(40), key=lambda g: (-abs(change[label][g]), genes[g]))[:30]
            assert part["gene"].tolist() == genes[largest].tolist()
            np.testing.assert_allclose(part["truth"], change[label][largest], rtol=6e-4, atol=1e-6)
            np.testing.assert_allclose(part["predicted"], expected[label][largest], rtol=6e-4, atol=2e-6)
    text = made.shifts["truth"].map(lambda v: f"{v:.3e}").astype(np.float32)
    np.testing.assert_array_equal(text, made.shifts["truth"])


def _seed(bundle, model, seed):
    from dataclasses import fields

    from pbench.bench.engine.plan import JobSpec

    (card,) = [c for c in bundle.cards if c["model"] == model and c["spec"]["seed"] == seed]
    return JobSpec(**{f.name: card["spec"][f.name] for f in fields(JobSpec)}).derived_seed


def table(bundle, name, change):
    """A table of a bundle with something else in it, sealed."""
    frame = pq.read_table(bundle / name).to_pandas()
    schema = pq.read_schema(bundle / name)
    pq.write_table(pa.Table.from_pandas(change(frame), schema=schema.remove_metadata(), preserve_index=False), bundle / name)
    seal(bundle)


def archive(bundle, model, change):
    """The predictions of a model's first job with something else in them, sealed."""
    card = next(c for c in cards_of(bundle) if c["model"] == model)
    path = bundle / "predictions" / f"{card['job_id'][:32]}.npz"
    with np.load(path) as f:
        arrays = {name: f[name] for name in f.files}
    np.savez_compressed(path, **(arrays | change(arrays)))
    seal(bundle)


def _first(frame, model, metric):
    return frame.index[(frame["model"] == model) & (frame["metric"] == metric) & frame["value"].notna()][0]


def better_value(bundle):
    def change(frame):
        frame.loc[_first(frame, "additive", "l2@all"), "value"] *= 0.99
        return frame

    table(bundle, "rows.parquet", change)


def better_half(bundle):
    def change(frame):
        frame.loc[_first(frame, "additive", "l2@all"), "half_value"] += 0.01
        return frame

    table(bundle, "rows.parquet", change)


def undefined_value(bundle):
    def change(frame):
        frame.loc[_first(frame, "additive", "l2@all"), ["value", "reason"]] = [np.nan, "zero_variance"]
        return frame

    table(bundle, "rows.parquet", change)


def swapped_rows(bundle):
    def change(frame):
        own = frame.index[(frame["model"] == "additive") & (frame["metric"] == "l2@all")]
        frame.loc[own, "value"] = frame.loc[own[::-1], "value"].to_numpy()
        return frame

    table(bundle, "rows.parquet", change)


def dropped_row(bundle):
    table(bundle, "rows.parquet", lambda frame: frame.drop(index=_first(frame, "additive", "l2@all")))


def doubled_row(bundle):
    table(bundle, "rows.parquet", lambda frame: pd.concat([frame, frame[frame["model"] == "additive"].tail(1)]))


def larger_effect(bundle):
    def change(frame):
        frame.loc[_first(frame, "additive", "l2@all"), "effect"] += 1
        return frame

    table(bundle, "rows.parquet", change)


def better_prediction(bundle):
    archive(bundle, "additive", lambda a: {"mean": a["mean"] * np.float32(1.01)})


def swapped_predictions(bundle):
    archive(bundle, "additive", lambda a: {"mean": a["mean"][::-1]})


def swapped_conditions(bundle):
    def change(arrays):
        facts = json.loads(str(arrays["facts"]))
        return {"facts": np.array(json.dumps(facts | {"conditions": facts["conditions"][::-1]}))}

    archive(bundle, "additive", change)


def other_genes(bundle):
    archive(bundle, "additive", lambda a: {"genes": a["genes"][::-1]})


def fuller_coverage(bundle):
    cards = cards_of(bundle)
    write_cards(bundle, [c | ({"absent": {}, "n_predicted": c["n_conditions"]} if c["model"] == "noisy" else {}) for c in cards])


def other_parameters(bundle):
    cards = cards_of(bundle)
    write_cards(bundle, [c | {"spec": c["spec"] | {"params": {"alpha": 1}}} for c in cards])


def cleaner_audit(bundle):
    cards = cards_of(bundle)
    clean = [f | {"status": "pass"} for f in cards[0]["audit"]["findings"]]
    assert {f["status"] for f in cards[0]["audit"]["findings"]} > {"warn"}
    write_cards(bundle, [c | {"audit": {"status": "pass", "findings": clean}} for c in cards])


def no_row_of_reference(bundle):
    """A baseline that says that it is made of test cells."""
    write_cards(bundle, [c | {"reference_row": c["model"] == "additive"} for c in cards_of(bundle)])
    table(bundle, "rows.parquet", lambda f: f.assign(reference_row=f["model"] == "additive"))


def nicer_scatter(bundle):
    table(bundle, "shifts.parquet", lambda f: f.assign(predicted=f["predicted"].where(f["model"] != "additive", f["truth"])))


def easier_scatter(bundle):
    def change(frame):
        own = frame.index[frame["model"] == "additive"][:2]
        frame.loc[own, ["gene", "truth", "predicted"]] = frame.loc[own[::-1], ["gene", "truth", "predicted"]].to_numpy()
        frame.loc[own[0], "gene"] = frame.loc[own[1], "gene"]
        return frame

    table(bundle, "shifts.parquet", change)


@pytest.mark.parametrize(
    ("tamper", "what", "more"),
    [
        (better_value, "value", {"model": "additive", "metric": "l2@all"}),
        (better_half, "half_value", {"model": "additive", "metric": "l2@all"}),
        (undefined_value, "value", {"claimed": "undefined"}),
        (swapped_rows, "value", {"model": "additive"}),
        (dropped_row, "1 condition(s) have no row, so that they would not count", {"metric": "l2@all"}),
        (doubled_row, "a condition has several rows", {"model": "additive"}),
        (larger_effect, "effect", {"metric": "l2@all"}),
        (better_prediction, "value", {"model": "additive"}),
        (swapped_predictions, "value", {"model": "additive"}),
        (swapped_conditions, "it cannot be scored again: the predictions answer other conditions", {}),
        (other_genes, "it cannot be scored again: the predictions are of other genes", {}),
        (fuller_coverage, "coverage", {"claimed": "predicted", "found": "resource: none"}),
        (other_parameters, "the job is not the one of its specification", {}),
        (cleaner_audit, "audit rule", {"claimed": "pass"}),
        (no_row_of_reference, "whether it is a reference row, made of test cells", {"claimed": "True", "found": "False"}),
        (nicer_scatter, "predicted change of", {"model": "additive"}),
        (easier_scatter, "the scatter does not show 30 genes of the data, each once", {}),
    ],
)
def test_what_was_changed_is_named(inline, command, tampered, tamper, what, more):
    """Sealed again, so that every hash fits: only the comparison with the rest and with the data finds it."""
    tamper(tampered)
    code, report = checked(command, tampered)
    assert (code, report["matches"]) == (1, False)
    found = [p for p in report["problems"] if p["what"].startswith(what) and all(p[k] == v for k, v in more.items())]
    assert found, report["problems"][:5]
    assert report["n_problems"] == len(report["problems"])


def test_a_changed_value_is_told_with_both_numbers(command, tampered):
    rows = read_bundle(tampered).rows
    row = rows.loc[_first(rows, "additive", "l2@all")]
    better_value(tampered)
    code, out, err = command("verify", tampered, "--quiet")
    assert (code, err) == (1, "")
    line = (
        f"additive, seed 0: value of l2@all at {row['condition']}: claimed {row['value'] * 0.99:.10g}, found {row['value']:.10g}."
    )
    assert f"  Does not match: {line}" in out.splitlines()
    assert "1 thing(s) do not match" in out


def test_rounding_is_no_difference(inline, command, tampered):
    """Stated tolerance: a millionth of the value."""
    table(tampered, "rows.parquet", lambda f: f.assign(value=f["value"] * (1 + 5e-7)))
    code, report = checked(command, tampered)
    assert (code, report["n_problems"]) == (0, 0)


def test_a_split_of_easy_conditions_under_the_name_of_another_is_found(inline, command, tampered):
    """All ids are made to fit; only the generator says that its split asks for more."""
    (path,) = (tampered / "manifests").glob("*.json")
    manifest = SplitManifest.load(path)
    hard = manifest.with_role("test")[-1]
    easy = replace(manifest, roles={**manifest.roles, hard: "excluded"}, reasons={**manifest.reasons, hard: "too_few_cells"})
    path.unlink()
    easy.save(tampered / "manifests" / f"{easy.id[:32]}.json")
    cards = []
    for card in cards_of(tampered):
        spec = card["spec"] | {"split_id": easy.id}
        n = card["n_conditions"] - 1
        counts = {"n_conditions": n, "n_predicted": n - len(card["absent"]), "job_id": content_id(spec), "spec": spec}
        for part in (tampered / "predictions").glob(f"{card['job_id'][:32]}*"):
            part.unlink()
        cards.append(card | counts)
    write_cards(tampered, cards)
    (tampered / "shifts.parquet").unlink()
    table(tampered, "rows.parquet", lambda f: f[f["condition"] != hard.key])
    seal(tampered, split_ids=[easy.id])
    code, report = checked(command, tampered)
    assert code == 1
    assert [p["what"] for p in report["problems"]] == ["the manifest is not the one that doubles[seed=0] gives here"]


def test_without_predictions_structure_is_all_that_is_checked(inline, command, tmp_path):
    code, _, err = command("submit", tmp_path / "bare", "--models", "additive", "--no-predictions", "--no-shifts")
    assert code == 0, err
    code, report = checked(command, tmp_path / "bare")
    assert (code, report["rescored"], report["values"]["same"]) == (0, False, 0)
    assert {n["reason"] for n in report["not_scored_again"]} == {"the predictions are not in the bundle"}
    assert any("values were not scored again" in r for r in report["remarks"])
    code, report = checked(command, tmp_path / "bare", "--require-predictions")
    assert code == 1
    assert report["problems"][0]["what"].startswith("its predictions are not in the bundle")


def test_data_that_are_not_here_are_another_exit(inline, command, few, place, tmp_path, shared_cache):
    """3 where nothing could be compared, 1 where the data are others; without scoring none are needed."""
    code, out, err = typed("verify", few, PBENCH_CACHE=str(shared_cache))
    assert code == 3
    assert "--data FILE" in out
    assert typed("verify", few, "--no-rescore", PBENCH_CACHE=str(shared_cache))[0] == 0
    code, _, err = typed("submit", tmp_path / "x", "--results", place / "results", PBENCH_CACHE=str(shared_cache))
    assert code == 3
    assert "--no-shifts" in err
    assert not (tmp_path / "x").exists()
    adata = read_h5ad(place / "small.h5ad")
    AnnData(adata.X * 2, obs=adata.obs, var=adata.var).write_h5ad(tmp_path / "small.h5ad")
    code, out, _ = typed("verify", few, "--json", "--data", tmp_path / "small.h5ad", *FILE, PBENCH_CACHE=str(shared_cache))
    (report,) = json.loads(out)["bundles"]
    assert code == 1
    assert report["problems"][0]["what"].startswith("the data of 'small' here are")


def test_code_in_a_bundle_is_named_and_never_run(command, tampered, tmp_path):
    (tampered / "conftest.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tampered / "x\x1b[2J.so").write_bytes(b"\x7fELF")
    code, out, err = command("verify", tampered)
    assert code == 1
    assert "conftest.py is no file of a bundle" in out
    assert "\x1b" not in out + err
    assert not (tmp_path / "ran").exists()


def test_a_pickle_among_the_predictions_is_refused(command, tampered, tmp_path):
    archive(tampered, "additive", lambda a: {"mean": np.array([[object()]], dtype=object)})
    code, report = checked(command, tampered)
    assert code == 1
    assert "never read" in report["problems"][0]["what"] or "Object arrays" in report["problems"][0]["what"]


def test_usage(command, tmp_path):
    code, _, err = command("verify", tmp_path)
    assert code == 3
    assert "holds none. Write one with: pbench submit" in err
    assert typed("verify")[0] == 2
    code, _, err = command("submit", tmp_path / "x", "--models", "addtive")
    assert code == 2
    assert "Did you mean 'additive'?" in err
    code, _, err = command("submit", tmp_path / "x", "--split", "singles")
    assert code == 2
    assert "doubles[seed=0]" in err


def test_predictions_in_a_file_of_yours(pbench, command, place, tmp_path, shared_cache):
    """What a user does who has nothing but predictions: score them, submit them, and have them verified."""
    adata = read_h5ad(place / "small.h5ad")
    X = adata.X.toarray()
    X = np.log1p(1e4 * X / X.sum(axis=1, keepdims=True))
    means = pd.DataFrame(X, columns=adata.var_names).groupby(adata.obs["perturbation"].to_numpy()).mean()
    (means.drop("control") + 0.05).to_csv(tmp_path / "mine.csv", index_label="perturbation")
    asked = ("--truth", place / "small.h5ad", *FILE, "--split", "doubles", "--prediction-scale", "log1p_1e4")
    done = pbench("score", "mine.csv", *asked, "--metrics", "l2@all", "--name", "mine of 2026", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    given = ("--results", tmp_path / "results", "--data", place / "small.h5ad", *FILE)
    code, _, err = typed("submit", tmp_path / "b", "--models", "mine*", *given, PBENCH_CACHE=str(shared_cache))
    assert code == 0, err
    assert read_bundle(tmp_path / "b").meta["models"] == ["mine of 2026"]
    code, report = checked(command, tmp_path / "b", "--require-predictions")
    assert (code, report["problems"]) == (0, [])
    assert report["values"] == {"same": len(read_bundle(tmp_path / "b").rows), "not_scored_again": 0}


def in_order(board):
    """A board as text, whatever the order of the keys in its mappings."""
    return json.dumps(asdict(board), sort_keys=True)


def test_codes_and_predictions_of_a_split_are_in_one_bundle(pbench, place, tmp_path, shared_cache):
    """Scores of latent variables are kept with how far two seeds agree, and never counted as checked."""
    data = "latent-static[cells_per_perturbation=40,n_controls=100]"
    common = ("--dataset", data, "--split", "units", "--quiet", "--out", "results")
    codes = (
        "--track",
        "identifiability",
        "--models",
        "ica,noise-code",
        "--seeds",
        2,
        "--metrics",
        "mcc.responsive,r2_latent.nonlinear",
    )
    for asked in (codes, ("--models", "additive,train-mean", "--metrics", "l2@all")):
        done = pbench("run", *asked, *common, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    code, _, err = typed("submit", tmp_path / "b", "--results", tmp_path / "results", PBENCH_CACHE=str(shared_cache))
    assert code == 0, err
    made = read_bundle(tmp_path / "b")
    assert {c["predicts"] for c in made.cards} == {True, False}
    assert len(made.agreements) == 2
    assert made.shifts is not None
    assert set(made.shifts["model"]) == {"additive", "train-mean"}
    store = Store(tmp_path / "results")
    cards = current(store.cards())
    rows = store.rows(cards)
    metrics = {name: registry.metrics.get(name) for name in registry.metrics}
    assert repr(boards(made.cards, made.rows, metrics)) == repr(boards(cards, rows, metrics))
    (ours,) = identifications(made.cards, made.rows, metrics, made.agreements)
    (theirs,) = identifications(cards, rows, metrics, made.agreements)
    assert in_order(ours) == in_order(theirs)
    assert all(line.agreement for line in ours.lines if line.stochastic)
    code, out, _ = typed("verify", tmp_path / "b", "--json", PBENCH_CACHE=str(shared_cache))
    (report,) = json.loads(out)["bundles"]
    assert (code, report["problems"]) == (0, [])
    assert {n["reason"] for n in report["not_scored_again"]} == {"reads codes of cells, which a bundle does not hold"}
    assert report["values"]["same"] == int((made.rows["metric"] == "l2@all").sum())

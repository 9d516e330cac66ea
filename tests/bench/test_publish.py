"""What is published is a function of the records: whole, the same every time, and never over somebody's own files."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from small_bundles import bundle_all, change_values, small_records, write_results

import pbench
from pbench.bench.cli.main import cli
from pbench.bench.cli.progress import Silent
from pbench.bench.cli.rendering import read_published
from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import DataError, PbenchError, UsageError
from pbench.bench.engine.store import Store
from pbench.leaderboards.history import dump, freeze, read_history
from pbench.leaderboards.pages import MARK
from pbench.leaderboards.words import arguments, read_entries, words_of

ROOT = Path(pbench.__file__).parent


@pytest.fixture(scope="module")
def records():
    return small_records()


@pytest.fixture(scope="module")
def made(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    write_results(folder / "results", records)
    bundle_all(folder / "results", folder / "root")
    return folder


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made / "root", tmp_path / "root")


@pytest.fixture
def results(made, tmp_path):
    return shutil.copytree(made / "results", tmp_path / "results")


def call(*words):
    """Exit code and standard output of a command, as its user sees them."""
    done = CliRunner().invoke(cli, [str(w) for w in words], standalone_mode=False)
    if done.exception is not None:
        if not isinstance(done.exception, PbenchError):
            raise done.exception
        return done.exception.exit_code, str(done.exception)
    return done.return_value or 0, done.stdout


def publish(*words):
    return call("publish", *words, "--quiet")


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_records_become_pages_and_an_index_that_links_them(root):
    code, said = publish(root)
    assert code == 0 and "4 files written" in said
    pages = sorted(p.relative_to(root).as_posix() for p in (root / "boards").rglob("*.md"))
    assert pages == [
        "boards/norman-mini/doubles.md",
        "boards/norman-sim/units-identification.md",
        "boards/norman-sim/unseen-single.md",
    ]
    index = (root / "README.md").read_text()
    assert sorted(re.findall(r"\]\((boards/.*?\.md)\)", index)) == pages
    for page in pages:
        text = (root / page).read_text()
        head, _, table = text.partition("| rank")
        assert text.startswith(MARK) and table
        assert "**What may be concluded:**" in head and "**What may not be concluded:**" in head
        # Every link leads somewhere, which nobody else checks.
        for target in re.findall(r"\]\(([^)#]+)\)", head):
            assert ((root / page).parent / target).exists(), target


def test_published_twice_and_from_copies_in_another_order_the_bytes_are_the_same(root, tmp_path):
    publish(root)
    first = tree(root)
    assert "0 files written" in publish(root)[1]
    assert tree(root) == first
    other = tmp_path / "other"
    for n, path in enumerate(sorted(p for p in (root / "records").rglob("*") if p.is_file())[::-1]):
        target = other / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        os.utime(target, (n, n))
    publish(other)
    assert tree(other) == first


def test_the_index_says_what_the_boards_say(root, made):
    publish(root)
    found = read_published(root, None, Silent())
    index = (root / "README.md").read_text()
    for b in found.boards:
        (line,) = [x for x in index.splitlines() if f"]({'boards/' + b.dataset + '/' + b.split + '.md'})" in x]
        cells = [c.strip() for c in line.split("|")[1:-1]]
        rows = Store(made / "results").rows(c for c in Store(made / "results").cards() if c["status"] == "ok")
        rows = rows[(rows["dataset"] == b.dataset) & (rows["split"] == b.split) & ~rows["reference_row"]]
        models = {m for m in rows["model"].unique() if not m.startswith("gaming")}
        assert cells[3:6] == [str(len(models)), str(rows["condition"].nunique()), str(rows["seed"].nunique())]
        first = [x.model for x in b.lines if x.rank == 1]
        assert len(first) > 1 and all(m in cells[7] for m in first[:4])
        assert cells[8].startswith(f"{sum(m in b.grey for m in b.metrics)} of 5")


def test_bundles_of_one_board_are_joined_like_the_records_of_one_store(made, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shutil.copytree(made / "root", whole)
    everyone = {c["model"] for c in Store(made / "results").cards()}
    bundle_all(made / "results", parts, "ours", tuple(sorted(everyone - {"ridge-pca"})))
    bundle_all(made / "results", parts, "theirs", ("ridge-pca",))
    publish(whole), publish(parts)
    for page in sorted((whole / "boards").rglob("*.md")):
        one, two = (re.sub(r"(?m)^Records: .*$", "", (folder / page.relative_to(whole)).read_text()) for folder in (whole, parts))
        assert one == two
    assert re.search(r"Records: \[ours\]\(.*\) `[0-9a-f]{12}`, \[theirs\]", (parts / "boards/norman-mini/doubles.md").read_text())


def test_of_two_answers_in_two_bundles_the_newest_counts(root, results):
    before = read_published(root, None, Silent())
    bundle_all(change_values(results, "ridge-pca", lambda v: v + 100), root, "again", ("ridge-pca",))
    bundle_all(change_values(results, "knn-pca", lambda v: v + 100, later=-5000.0), root, "earlier", ("knn-pca",))
    after = read_published(root, None, Silent())

    def means(found):
        return {(b.dataset, x.model): x.cells["l2@all"].mean for b in found.boards for x in b.lines if x.cells}

    moved = {k: means(after)[k] - v for k, v in means(before).items() if not np.isclose(v, means(after)[k])}
    assert moved == pytest.approx({("norman-mini", "ridge-pca"): 100.0, ("norman-sim", "ridge-pca"): 100.0})
    assert len(after.rows) == len(before.rows) and len(after.cards) == len(before.cards)
    assert all(set(c["score_id"]) <= set("0123456789abcdef") and "parts" not in c for c in after.cards)


def test_generated_pages_of_boards_that_are_no_more_go_and_files_of_others_stay(root):
    publish(root)
    (root / "boards" / "norman-sim" / "notes.md").write_text("my notes\n")
    old = root / "boards" / "gone" / "doubles.md"
    old.parent.mkdir()
    old.write_text(f"{MARK}\n\n# Gone\n")
    shutil.rmtree(root / "records" / "norman-sim")
    code, said = publish(root)
    assert code == 0 and "3 removed" in said
    assert not old.parent.exists() and not (root / "boards" / "norman-sim" / "unseen-single.md").exists()
    assert (root / "boards" / "norman-sim" / "notes.md").read_text() == "my notes\n"
    (root / "README.md").write_text("# A project of mine\n")
    code, said = publish(root)
    assert code == 2 and "README.md was not written by pbench publish" in said
    assert (root / "README.md").read_text() == "# A project of mine\n"


def test_check_names_what_is_stale_and_writes_nothing(root):
    assert publish(root, "--check")[0] == 1
    assert not (root / "boards").exists()
    publish(root)
    assert publish(root, "--check")[0] == 0
    page = root / "boards" / "norman-mini" / "doubles.md"
    page.write_text(page.read_text().replace("additive", "subtractive", 1))
    before = tree(root)
    done = CliRunner().invoke(cli, ["publish", str(root), "--check", "--quiet"], standalone_mode=False)
    assert done.return_value == 1 and "stale or missing: boards/norman-mini/doubles.md" in done.stderr
    assert "unseen-single" not in done.stderr and tree(root) == before
    code, said = call("publish", root, "--check", "--json")
    assert code == 1 and json.loads(said)["written"] == ["boards/norman-mini/doubles.md"]


def test_results_of_a_run_are_published_like_bundles_of_them(root, made, tmp_path):
    publish(root)
    out = tmp_path / "out"
    assert publish("--results", made / "results", "--out", out, root)[0] == 0
    for page in sorted((root / "boards").rglob("*.md")):
        text = re.sub(r"(?m)^Records: .*\n\n", "", page.read_text())
        assert (out / page.relative_to(root)).read_text() == text
    assert publish("--results", made / "results")[0] == 2
    assert publish(tmp_path / "nowhere")[0] == 2
    assert publish(tmp_path, "--check")[0] == 2


def test_a_damaged_bundle_is_named_and_nothing_is_published_without_it(root):
    path = root / "records" / "norman-mini" / "doubles" / "first" / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, said = publish(root)
    assert code == 3 and "rows.parquet" in said and not (root / "README.md").exists()


def test_a_release_is_frozen_once(root, results):
    assert publish(root, "--release", "0.1.0")[0] == 0
    frozen = json.loads((root / "history.json").read_text())["releases"]
    b = next(b for b in read_published(root, None, Silent()).boards if b.dataset == "norman-mini")
    mean = next(x for x in b.lines if x.model == "ridge-pca").cells["l2@all"].mean
    number = next(n for n in frozen[0]["numbers"] if n[:4] == ["norman-mini", "doubles", "ridge-pca", "l2@all"])
    assert number[4] == pytest.approx(mean, rel=1e-5)
    assert {n[0] for n in frozen[0]["numbers"]} == {"norman-mini", "norman-sim"}
    assert {"mcc.responsive", "l2@all"} <= {n[3] for n in frozen[0]["numbers"]}
    before = (root / "history.json").read_bytes()
    assert publish(root, "--release", "0.1.0")[0] == 0
    assert (root / "history.json").read_bytes() == before
    bundle_all(change_values(results, "ridge-pca", lambda v: v + 1), root, "again", ("ridge-pca",))
    code, said = publish(root, "--release", "0.1.0")
    assert code == 2 and "frozen with other numbers" in said
    assert (root / "history.json").read_bytes() == before
    assert publish(root, "--release", "0.2.0")[0] == 0
    assert [r["version"] for r in read_history(root / "history.json")] == ["0.1.0", "0.2.0"]
    assert publish(root, "--release", "0.2.0", "--check")[0] == 2


def test_releases_stand_in_the_order_of_versions_and_a_foreign_file_is_no_history(tmp_path):
    history = []
    for version in ("0.10.0", "0.9.0", "1.0.0", "1.0.0rc1", "0.9.0.post1"):
        history = freeze(history, version, [["a", "b", "c", "d", 1.5]])
    path = tmp_path / "history.json"
    path.write_text(dump(history))
    assert [r["version"] for r in read_history(path)] == ["0.9.0", "0.9.0.post1", "0.10.0", "1.0.0rc1", "1.0.0"]
    assert read_history(path) == history
    for bad in ("next", "", "../1", "1.0\n"):
        with pytest.raises(UsageError):
            freeze(history, bad, [])
    for text in (
        "[]",
        "{",
        '{"format": 2, "releases": []}',
        '{"format": 1, "releases": [{"version": "1", "numbers": [[1, 2]]}]}',
    ):
        path.write_text(text)
        with pytest.raises(DataError, match="history"):
            read_history(path)


ENTRY = """
[[board]]
dataset = "norman-mini"
split = "doubles"
title = "Doubles | <b>here</b>"
may = '''Which model
is `nearer`.'''
may_not = "Much."
command = "pbench run --dataset norman-mini --split doubles --seeds 2"
"""


def test_words_of_the_catalogue_stand_above_the_table_with_what_the_facts_forbid(root):
    (root / "published.toml").write_text(ENTRY)
    publish(root)
    page = (root / "boards" / "norman-mini" / "doubles.md").read_text()
    head = page.partition("## norman-mini")[0]
    assert "# Doubles \\| &lt;b&gt;here&lt;/b&gt;\n" in head
    assert "**What may be concluded:** Which model is \\`nearer\\`.\n" in head
    assert "**What may not be concluded:**\n\n- Much.\n- That one of the" in head
    assert "\n    pbench run --dataset norman-mini --split doubles --seeds 2\n" in head
    # Boards of the catalogue come first.
    index = (root / "README.md").read_text()
    assert index.index("(boards/norman-mini") < index.index("(boards/norman-sim/unseen")
    assert "## Identification, prediction and reproducibility side by side" in index


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("may_not = ", "maynot = ", "unknown key 'maynot'"),
        ('title = "Doubles | <b>here</b>"\n', "", "'title' is missing"),
        ('split = "doubles"', "split = 3", "'split' is missing or not a text"),
        ('may_not = "Much."', 'may_not = "Much."\nnightly = "yes"', "true or false"),
        ("pbench run", "rm -r", "a single 'pbench run ...'"),
        ("--seeds 2", "--seeds 2; rm -r x", "a single 'pbench run ...'"),
        ("--seeds 2", "--seeds $(id)", "a single 'pbench run ...'"),
        ("--seeds 2", "--seeds '2", "cannot be read"),
        ("[[board]]", "[board]", "\\[\\[board\\]\\]"),
        ("[[board]]", "[[board", "not valid TOML"),
    ],
)
def test_a_wrong_catalogue_is_told_in_one_sentence(tmp_path, old, new, said):
    path = tmp_path / "published.toml"
    path.write_text(ENTRY.replace(old, new))
    with pytest.raises(DataError, match=said):
        read_entries(path)
    path.write_text(ENTRY + ENTRY)
    with pytest.raises(DataError, match="listed twice"):
        read_entries(path)


def test_words_of_other_boards_follow_from_the_facts(made):
    found = read_published(made / "root", None, Silent())
    simulated, measured = (next(b for b in found.boards if b.dataset == name) for name in ("norman-sim", "norman-mini"))

    def may_not(board):
        return words_of(board, None, found.metrics).may_not

    assert "the data are simulated" in may_not(simulated) and "the data are simulated" not in may_not(measured)
    assert "retrieval.predictions@all~ctrl#l2: grey" in may_not(measured)
    assert "test conditions here are 8 in number" in may_not(measured)
    assert "remarks on control cells" in may_not(measured)
    assert "one seed was run" not in may_not(measured)
    assert "one seed was run" in may_not(replace(measured, seeds=(0,)))
    assert "not among the 3 here" in may_not(replace(measured, contexts=3))
    assert "nobody has said what was in it" in may_not(replace(measured, training_stated=False))
    grey = replace(measured, unknown={"l2@all": "controls not run"}, controls={})
    assert "l2@all does not rank here (controls not run)" in may_not(grey) and "rank 1" not in may_not(grey)
    first = [x for x in measured.lines if x.rank == 1]
    assert f"one of the {len(first)} models on rank 1" in may_not(measured)
    assert words_of(measured, None, found.metrics).command == "pbench run --dataset norman-mini --split doubles --seeds 2"
    gapped = replace(measured, seeds=(0, 5), split="doubles[seed=1]")
    assert words_of(gapped, None, found.metrics).command.endswith("--split 'doubles[seed=1]' --seeds 0,5")
    quick = replace(measured, lines=tuple(replace(x, model=f"{x.model} (quick)") for x in measured.lines))
    assert words_of(quick, None, found.metrics).command.endswith("--preset quick --seeds 2")
    assert "have time to train" in may_not(quick) and "have time to train" not in may_not(measured)
    # Of a file of somebody's, no record says where it lies.
    assert words_of(replace(measured, dataset="mine"), None, found.metrics).command == ""


CATALOGUE = read_entries(ROOT / "leaderboards" / "published.toml")


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda e: f"{e.dataset}-{e.split}")
def test_every_published_board_can_be_made_by_its_command(entry):
    command = cli.get_command(click.Context(cli), "run")
    assert command is not None
    given = command.make_context("run", arguments(entry.words.command)).params
    assert given["dataset"] == entry.dataset and given["split"] == entry.split.partition("[")[0]
    assert int(given["seeds"]) >= 3
    assert given["models"] == "all" or "only baselines were run" in entry.words.may_not
    assert entry.dataset.partition("[")[0] in registry.datasets
    simulated = registry.datasets.get(entry.dataset.partition("[")[0]).card.simulated
    assert entry.nightly == simulated


def test_the_catalogue_has_the_boards_that_are_promised():
    names = {e.dataset for e in CATALOGUE}
    assert {"norman-sim", "norman-mini", "mcfaline-mini", "papalexi-mini", "kang-mini", "shalek-lps", "kouno-pma"} <= names
    assert {"latent-static", "latent-temporal", "gene-sim", "c3di-lite-temporal"} <= names
    assert len({e.words.may for e in CATALOGUE}) == len({e.words.may_not for e in CATALOGUE}) == len(CATALOGUE)


RUNNABLE = """
[[board]]
dataset = "toy-screen"
split = "doubles[holdout=0.9,seed=0,validation=0.0]"
title = "A toy"
may = "Nothing."
may_not = "Anything."
command = "pbench run --dataset toy-screen --split 'doubles[holdout=0.9,validation=0.0]' --models additive,no-change --metrics l2@all --no-controls"
nightly = true
"""


def test_one_command_runs_the_boards_of_the_catalogue_and_publishes_them(tmp_path, toy_plugin):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "published.toml").write_text(RUNNABLE)
    out = ("--results", tmp_path / "new", "--out", tmp_path / "new", "--plugin", toy_plugin)
    assert publish(tmp_path / "root", "--run", "nightly")[0] == 2
    code, said = publish(tmp_path / "root", "--run", "kang*", *out)
    assert code == 2 and "toy-screen" in said
    code, said = publish(tmp_path / "root", "--run", "nightly", *out)
    assert code == 0, said
    (page,) = (tmp_path / "new" / "boards" / "toy-screen").glob("*.md")
    text = page.read_text()
    assert "# A toy\n" in text and shlex.split("additive no-change") == sorted(set(re.findall(r"additive|no-change", text)))
    assert publish(tmp_path / "root", "--check", *out)[0] == 0
    assert publish(tmp_path / "root", "--run", "nightly", *out[:-2])[0] == 1  # the plugin is not there: the run says why


def test_the_site_is_written_and_checked_with_the_pages(root, tmp_path):
    from pbench.bench.contracts.errors import MissingDependency

    site = tmp_path / "site"
    try:
        publish(root, "--site", site)
        code = publish(root, "--site", site, "--check")[0]
    except MissingDependency as error:
        pytest.skip(str(error))
    if not site.exists():
        pytest.skip("the packages with the libraries of the site are not installed")
    assert code == 0 and (site / "index.html").is_file()
    (site / "data" / "index.js").write_text("other")
    done = CliRunner().invoke(cli, ["publish", str(root), "--site", str(site), "--check", "-q"], standalone_mode=False)
    assert done.return_value == 1 and "stale or missing: site/data/index.js" in done.stderr

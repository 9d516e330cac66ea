"""Which published numbers moved, and whether records were only added to."""

from __future__ import annotations

import json
import math
import shutil

import pytest
from click.testing import CliRunner
from small_bundles import bundle_all, change_values, small_records, write_results

from pbench.bench.cli.compare import additions
from pbench.bench.cli.main import cli
from pbench.bench.contracts.errors import DataError, PbenchError
from pbench.leaderboards.moved import Key, Number, compare, dump, load, markdown


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    write_results(folder / "results", small_records(boards=1, codes=1))
    bundle_all(folder / "results", folder / "root")
    return folder


@pytest.fixture
def base(made, tmp_path):
    return shutil.copytree(made / "root", tmp_path / "base")


@pytest.fixture
def new(made, tmp_path):
    return shutil.copytree(made / "root", tmp_path / "new")


@pytest.fixture
def results(made, tmp_path):
    return shutil.copytree(made / "results", tmp_path / "results")


def call(*words):
    done = CliRunner().invoke(cli, ["compare", *(str(w) for w in words), "--quiet"], standalone_mode=False)
    if done.exception is not None:
        if not isinstance(done.exception, PbenchError):
            raise done.exception
        return done.exception.exit_code, str(done.exception)
    return done.return_value, done.stdout


BUNDLE = "records/norman-sim/unseen-single"
HERE = ("norman-sim", "unseen-single", "prediction")


def key(model, metric="l2@all"):
    return Key(*HERE, model, metric)


def test_equal_records_have_no_number_that_moved(base, new, results):
    code, said = call(base, new)
    assert code == 0 and said.endswith("published numbers are as they were.\n") and "#" not in said
    assert call(base, results)[0] == 0, "a folder of results is as good as bundles of it"


def test_a_number_that_moved_is_named_with_both_values(base, new, results):
    bundle_all(change_values(results, "ridge-pca", lambda v: v + 1.0), new, "again", ("ridge-pca",))
    code, said = call(base, new)
    assert code == 1 and "## Moved" in said
    (line,) = [x for x in said.splitlines() if "unseen-single" in x and "| ridge-pca" in x and "l2@all" in x]
    assert line.split("|")[-2].strip() == "1"
    assert not [x for x in said.partition("## Other ranks")[0].splitlines() if "| additive" in x]
    found = json.loads(call(base, new, "--json")[1])
    assert found["alarm"] and {m[3] for m in found["moved"]} == {"ridge-pca"}
    moved = {m[4]: m[6][0] - m[5][0] for m in found["moved"] if m[2] == "prediction"}
    assert moved["l2@all"] == pytest.approx(1.0)


def test_what_boards_do_not_show_has_not_moved(base, new, results):
    bundle_all(change_values(results, "ridge-pca", lambda v: v * (1 + 1e-6)), new, "again", ("ridge-pca",))
    assert call(base, new)[0] == 0


def test_numbers_that_come_raise_no_alarm_and_numbers_that_go_do(base, new, made, tmp_path):
    everyone = [*(m for m in ("no-change", "train-mean", "additive", "knn-pca", "interpolated-duplicate", "technical-duplicate"))]
    few = bundle_all(made / "results", tmp_path / "few", "first", tuple(everyone))
    code, said = call(few, new)
    assert code == 0 and "## New" in said and "ridge-pca" in said and "## Vanished" not in said
    code, said = call(new, few)
    assert code == 1 and "## Vanished" in said and "## Moved" not in said
    shutil.rmtree(base / BUNDLE)
    assert call(new, base)[0] == 1
    assert call(new, base, "--shared")[0] == 0


def test_another_rank_alone_is_listed_apart_and_raises_no_alarm():
    old = {key("a"): Number(1.0, rank=1), key("b"): Number(2.0, rank=2)}
    new = {key("a"): Number(1.0, rank=2), key("b"): Number(2.0, rank=2), key("c"): Number(0.5, rank=1)}
    found = compare(old, new)
    assert not found.alarm and found.ranks == {key("a"): (1, 2)} and list(found.appeared) == [key("c")]
    assert "## Other ranks: 1 models" in markdown(found)


@pytest.mark.parametrize(
    ("was", "now", "same"),
    [
        (0.123, 0.1234, True),
        (0.123, 0.1236, False),
        (123456.0, 123500.0, True),
        (123456.0, 124500.0, False),
        (-1.0, 1.0, False),
        (0.0, 1e-12, True),
        (0.0, 0.001, False),
        (math.nan, math.nan, True),
        (math.nan, 0.0, False),
        (1.0, math.nan, False),
    ],
)
def test_a_number_moves_by_half_of_its_last_shown_digit(was, now, same):
    assert Number(was).same(Number(now)) is same
    assert Number(1.0, low=was).same(Number(1.0, low=now)) is same


def test_the_noise_of_training_stands_apart_only_where_it_is_asked_for():
    old = {key("net"): Number(1.0, 0.9, 1.1, error=0.05), key("ridge"): Number(1.0), key("far"): Number(1.0, error=0.05)}
    new = {key("net"): Number(1.1, 1.0, 1.2, error=0.01), key("ridge"): Number(1.1), key("far"): Number(1.2, error=0.05)}
    assert set(compare(old, new).moved) == set(old)
    found = compare(old, new, noise=True)
    assert set(found.moved) == {key("ridge"), key("far")} and set(found.noise) == {key("net")}
    assert "## Within the noise of training: 1 numbers" in markdown(found)
    undefined = compare(old, {**new, key("net"): Number(math.nan)}, noise=True)
    assert key("net") in undefined.moved


def test_the_error_of_a_number_is_that_of_two_runs_with_as_many_seeds(made):
    from pbench.bench.cli.progress import Silent
    from pbench.bench.cli.rendering import read_published
    from pbench.bench.engine.store import Store
    from pbench.leaderboards.moved import numbers

    published = read_published(made / "root", None, Silent())
    found = numbers(published.boards, published.codes)
    store = Store(made / "results")
    rows = store.rows(c for c in store.cards() if c["status"] == "ok")
    own = rows[(rows["model"] == "additive") & (rows["metric"] == "l2@all")]
    sd = own.groupby("seed")["value"].mean().std()
    assert found[key("additive")].error == pytest.approx(sd * math.sqrt(2 / own["seed"].nunique()))
    assert math.isnan(found[key("train-mean")].error)
    code = Key("norman-sim", "units", "identification", "additive", "mcc.responsive")
    by_seed = rows[(rows["model"] == "additive") & (rows["metric"] == "mcc.responsive")].groupby("seed")["value"].mean()
    assert found[code].mean == pytest.approx(by_seed.mean())
    assert found[code].error == pytest.approx(by_seed.std() * math.sqrt(2 / len(by_seed)))
    assert found[key("(dynamic range fraction)")].mean == published.boards[0].controls["l2@all"].decides.drf


def test_numbers_of_another_version_are_compared_through_a_file(base, tmp_path):
    file = tmp_path / "numbers.json"
    CliRunner().invoke(cli, ["publish", str(base), "--numbers", str(file), "-q"], standalone_mode=False)
    assert call(file, base)[0] == 0
    found = load(file.read_text(), "x")
    assert dump(found) == file.read_text()
    edited = file.read_text().replace('"additive", "l2@all", 0.', '"additive", "l2@all", 7.', 1)
    assert edited != file.read_text()
    file.write_text(edited)
    code, said = call(file, base)
    assert code == 1 and "## Moved: 1 numbers" in said
    for text in ("{}", "[", '{"format": 9, "numbers": []}', '{"format": 1, "numbers": [["a"]]}'):
        with pytest.raises(DataError, match="holds no numbers"):
            load(text, "file")


HOSTILE = "a|b <img src=x> @everyone `c`"


def test_names_from_records_cannot_become_markup():
    found = compare({key(HOSTILE): Number(1.0)}, {key(HOSTILE): Number(2.0)})
    (line,) = [x for x in markdown(found).splitlines() if "everyone" in x]
    assert "<" not in line and "a\\|b" in line and "\\`c\\`" in line


def test_additions_of_whole_bundles_are_named(base, new, results):
    assert call(base, new, "--only-additions")[0] == 0
    bundle_all(change_values(results, "ridge-pca", lambda v: v), new, "theirs", ("ridge-pca",))
    code, said = call(base, new, "--only-additions")
    assert code == 0 and "2 bundles were added" in said
    code, said = call(base, new, "--only-additions", "--names")
    assert code == 0
    assert said.split() == [str(new / "records" / p / "theirs") for p in ("norman-sim/units", "norman-sim/unseen-single")]
    found = json.loads(call(base, new, "--only-additions", "--json")[1])
    assert found["added"] == said.split() and found["problems"] == [] and found["unchanged"] == 8
    assert call(base, new, "--names")[0] == 2
    # Into an empty base everything is an addition.
    shutil.rmtree(base / "records")
    assert call(base, new, "--only-additions")[0] == 0
    assert call(new, base, "--only-additions")[0] == 2


def corrupt(folder, what):
    first, more = folder / BUNDLE / "first", folder / BUNDLE / "more"
    if what == "changed":
        (first / "rows.parquet").write_bytes(b"PAR1")
    elif what == "removed":
        shutil.rmtree(first)
    elif what == "file in a bundle":
        (first / "more.json").write_text("{}")
    elif what == "file beside":
        (folder / "records" / "run.py").write_text("x")
    elif what == "link":
        (folder / BUNDLE / "more").symlink_to(first)
    elif what == "link instead":
        (folder / BUNDLE).rename(folder / "elsewhere")
        (folder / BUNDLE).symlink_to(folder / "elsewhere")
    elif what == "wrong place":
        shutil.copytree(first, folder / "records" / "norman-mini" / "doubles" / "first")
    elif what == "renamed":
        shutil.copytree(first, more)
    elif what == "hostile name":
        shutil.copytree(first, folder / BUNDLE / "x\n--help")
    elif what == "not whole":
        shutil.copytree(first, more)
        (more / "cards.jsonl").write_text("")
    elif what == "code in it":
        shutil.copytree(first, more)
        (more / "setup.py").write_text("raise SystemExit")


@pytest.mark.parametrize(
    "what",
    [
        "changed",
        "removed",
        "file in a bundle",
        "file beside",
        "link",
        "link instead",
        "wrong place",
        "renamed",
        "hostile name",
        "not whole",
        "code in it",
    ],
)
def test_anything_else_than_an_addition_is_refused(base, new, what):
    corrupt(new, what)
    found = additions(base, new)
    assert found.problems and not found.added
    done = CliRunner().invoke(cli, ["compare", str(base), str(new), "--only-additions", "--names"], standalone_mode=False)
    assert done.return_value == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == len(found.problems)
    code, said = call(base, new, "--only-additions")
    assert code == 1 and "- **" in said


def test_what_is_no_set_of_records_is_told(base, tmp_path):
    (tmp_path / "empty").mkdir()
    code, said = call(base, tmp_path / "empty")
    assert code == 2 and "holds no bundles" in said
    code, said = call(base, tmp_path / "nowhere")
    assert code == 2 and "there is no" in said

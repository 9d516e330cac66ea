"""``pbench new``: what is written, what is refused, and that each template passes the checks as it stands."""

from __future__ import annotations

import importlib.util
import json
import tomllib

import pytest
from click.testing import CliRunner

import pbench
from pbench.bench.cli.new import NEXT, new
from pbench.bench.contracts import registry
from pbench.bench.contracts.errors import UsageError
from pbench.bench.engine.new_package import DESCRIPTIONS, refusal, write_package
from pbench.bench.engine.plugin_folder import entry_points

ATTRIBUTES = {"model": "MyThing", "dataset": "DATASET", "metric": "METRIC", "split": "my_thing"}


def module_of(folder, name):
    spec = importlib.util.spec_from_file_location(f"written_{name}", folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_a_package_is_complete_and_passes_every_check(kind, tmp_path):
    paths = write_package(kind, "my-thing", tmp_path)
    folder = tmp_path / "my-thing"
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in paths)
    assert {p.name for p in paths} == {"pyproject.toml", "README.md", "my_thing.py", "test_my_thing.py"}
    assert all("$" not in p.read_text() for p in paths)
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"] == {f"pbench.{kind}s": {"my-thing": f"my_thing:{ATTRIBUTES[kind]}"}}
    assert entry_points(folder) == {f"{kind}s": {"my-thing": f"my_thing:{ATTRIBUTES[kind]}"}}
    pbench.check(getattr(module_of(folder, "my_thing"), ATTRIBUTES[kind]))
    assert NEXT[kind].format(name="my-thing").split(" --")[0] in (folder / "README.md").read_text()


def test_the_model_is_at_most_thirty_lines(tmp_path):
    for name in ("my-thing", "top-5"):
        write_package("model", name, tmp_path)
        assert len((tmp_path / name / f"{name.replace('-', '_')}.py").read_text().splitlines()) <= 31
    assert len((tmp_path / "my-thing" / "my_thing.py").read_text().splitlines()) <= 30


def test_a_file_of_a_package_registers_under_the_same_name(tmp_path, monkeypatch):
    """Also names whose class does not spell them."""
    for entries in registry.REGISTRIES.values():
        entries.entries()
        for part in ("_entries", "_objects"):
            monkeypatch.setattr(entries, part, dict(getattr(entries, part)))
    for kind, name in (("model", "top-5"), ("model", "a-b"), ("dataset", "tiny"), ("metric", "gap"), ("split", "hashed")):
        write_package(kind, name, tmp_path)
        assert registry.load_plugin_file(tmp_path / name / f"{name.replace('-', '_')}.py") == [f"{kind}:{name}"]
    assert registry.datasets.entry("tiny").summary.startswith("SIMULATED screen")
    assert registry.metrics.entry("gap").summary.startswith("Median over genes")


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("model", "My-Model", "small letters"),
        ("model", "my--model", "small letters"),
        ("model", "-model", "small letters"),
        ("model", "5-top", "small letters"),
        ("model", "../up", "small letters"),
        ("model", "a b", "small letters"),
        ("model", "a" * 61, "small letters"),
        ("model", "", "small letters"),
        ("model", "additive", "pbench.models.additive:Additive (built in)"),
        ("dataset", "norman-sim", "built in"),
        ("split", "doubles", "built in"),
        ("model", "all", "several models"),
        ("model", "gaming", "several models"),
        ("model", "lambda", "Python"),
        ("model", "json", "Python"),
        ("metric", "numpy", "installed already"),
    ],
)
def test_names_that_are_refused(kind, name, says):
    assert says in refusal(kind, name)


def test_a_folder_is_never_overwritten(tmp_path):
    (tmp_path / "my-thing").mkdir()
    (tmp_path / "my-thing" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_package("model", "my-thing", tmp_path)
    assert [p.name for p in (tmp_path / "my-thing").iterdir()] == ["notes.txt"]


def test_the_command_says_what_to_type_next(tmp_path):
    def typed(*arguments):
        return CliRunner().invoke(new, [*arguments], standalone_mode=False)

    told = typed("metric", "my-error", "--out", str(tmp_path)).output
    assert "pip install -e ." in told and "pbench check my-error" in told
    written = json.loads(typed("model", "my-model", "--out", str(tmp_path), "--json").output)
    assert written["kind"] == "model" and len(written["files"]) == 4 and written["next"][-1].startswith("pbench run")
    assert "Did you mean 'model'" in str(typed("modle", "x").exception)
    assert "several metrics" in str(typed("metric", "headline", "--out", str(tmp_path)).exception)
    assert not (tmp_path / "headline").exists()

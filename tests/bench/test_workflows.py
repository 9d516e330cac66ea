"""The workflows are thin, their commands are ones that pbench has, and nobody's pull request gets a token that can write."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from small_bundles import bundle_all, change_values, small_records, write_results

import pbench
from pbench.bench.cli.main import cli

yaml = pytest.importorskip("yaml", reason="PyYAML reads the workflows")
ROOT = Path(pbench.__file__).parent
FOLDER = ROOT / ".github" / "workflows"
TEXTS = {p.name: p.read_text() for p in sorted(FOLDER.glob("*.yml"))}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [(name, job, WORKFLOWS[name]["jobs"][job]) for name in WORKFLOWS for job in WORKFLOWS[name]["jobs"]]


def triggers(name):
    """What starts a workflow; YAML reads the word `on` as true."""
    found = WORKFLOWS[name].get("on", WORKFLOWS[name].get(True))
    return {found: None} if isinstance(found, str) else dict.fromkeys(found) if isinstance(found, list) else found


def steps(key, where=None):
    return [(name, job, step[key]) for name, job, body in JOBS for step in body["steps"] if key in step and where in (None, name)]


def commands(script):
    """The commands of a script, parted where a shell parts them, each as a list of words."""
    found = []
    for line in script.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("|&;>(){}"):
                found.append(words)
                # What follows > is a file.
                words = ["(file)"] if set(word) == {">"} else []
            else:
                words.append(word)
        found.append(words)
    return [w for w in found if w and w[0] != "(file)"]


def pbench_commands(where=None):
    made = []
    for name, job, script in steps("run", where):
        for words in commands(script):
            if "pbench" in words:
                start = words.index("pbench")
                made.append((name, job, [*words[start:], *(["bundle"] if words[0] == "xargs" else [])]))
    return made


def test_there_is_a_workflow_for_everything_that_is_published():
    boards = {"boards-nightly.yml", "pages.yml", "gpu.yml", "records-check.yml", "records-comment.yml"}
    assert set(TEXTS) == boards | {"ci.yml", "dependencies.yml"}
    assert set(triggers("ci.yml")) == {"push", "pull_request"} and "schedule" in triggers("boards-nightly.yml")
    assert {"schedule", "push"} <= set(triggers("dependencies.yml"))
    assert set(triggers("records-check.yml")) == {"pull_request"} and set(triggers("records-comment.yml")) == {"workflow_run"}
    assert triggers("records-comment.yml")["workflow_run"]["workflows"] == [WORKFLOWS["records-check.yml"]["name"]]


def test_ci_tests_on_every_python_that_the_package_declares():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert WORKFLOWS["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]["python"] == declared
    assert ("ci.yml", "test", "bash .ci/run") in steps("run")
    extras = set(re.findall(r"'\.\[([a-z,]+)\]'", "".join(script for _, _, script in steps("run"))))
    assert {e for both in extras for e in both.split(",")} <= set(project["optional-dependencies"])


@pytest.mark.parametrize(("name", "job", "words"), pbench_commands(), ids=lambda x: " ".join(x) if isinstance(x, list) else x)
def test_every_command_parses(name, job, words):
    given = (triggers(name).get("workflow_dispatch") or {}).get("inputs", {})
    env = {k: given[v[2]]["default"] for k, v in env_of(name, job).items() if v[:2] == ("inputs", ".")}
    words = [re.sub(r"\$([A-Z_]+)", lambda m: str(env[m[1]]), w) for w in words]
    command = cli.get_command(click.Context(cli), words[1])
    assert command is not None, words
    command.make_context(words[1], words[2:])


def env_of(name, job):
    """Environment variables of a job that come from an expression, as its parts: inputs . name."""
    found = {}
    for k, v in WORKFLOWS[name]["jobs"][job].get("env", {}).items():
        if m := re.fullmatch(r"\$\{\{ (\w+)(\.)(\w+) \}\}", str(v)):
            found[k] = m.groups()
    return found


ALLOWED = {"pbench", "pip-audit", "pytest", "python", "bash", "sphinx-build", "xargs", "mkdir", "echo", "tee", ".venv/bin/pip"}


def test_the_steps_are_thin():
    for name, job, script in steps("run"):
        if name == "records-comment.yml":
            assert "pbench" not in script and len(script.splitlines()) < 15
            continue
        assert len(script.splitlines()) <= 5, (name, job)
        for words in commands(script):
            assert words[0] in ALLOWED, (name, job, words)
            if words[0] == "python":
                assert words[1] == "-m" and words[2] in ("pip", "venv"), words
            if words[0] == "bash":
                assert words[1:] == [".ci/run"], words
            if words[0] == "xargs":
                assert "pbench" in words


def test_nothing_that_people_type_becomes_part_of_a_script():
    for name, _, script in steps("run"):
        assert "${{" not in script, name
        assert "eval" not in script and not re.search(r"\$[A-Z]", re.sub(r'"[^"]*"', "", script)), (name, "unquoted")


def test_no_pull_request_gets_a_token_that_can_write():
    for name, text in TEXTS.items():
        assert "pull_request_target" not in text
        assert WORKFLOWS[name]["permissions"] == {}, name
    for name, job, body in JOBS:
        given = body["permissions"]
        assert isinstance(given, dict), (name, job)
        if any(v == "write" for v in given.values()):
            assert "pull_request" not in triggers(name), (name, job)
            # Who may write runs no code of the repository, nor of a pull request.
            used = [s.get("uses", "") for s in body["steps"]]
            script = "".join(s.get("run", "") for s in body["steps"])
            assert not any(u.startswith("actions/checkout") for u in used), (name, job)
            assert not re.search(r"\b(pip|pbench|python)\b", script), (name, job)
        if "self-hosted" in body["runs-on"]:
            assert set(triggers(name)) == {"workflow_dispatch"}, name
        assert "secrets." not in TEXTS[name]
        assert body["timeout-minutes"] > 0


def test_actions_are_pinned_by_their_commit_and_leave_no_credentials():
    pins: dict[str, set[str]] = {}
    for name, text in TEXTS.items():
        for line in re.findall(r"uses: .*", text):
            found = re.fullmatch(r"uses: ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
            assert found, (name, line)
            pins.setdefault(found[1], set()).add(f"{found[2]} {found[3]}")
    assert all(len(v) == 1 for v in pins.values()), pins
    for name, _, body in JOBS:
        for step in body["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False, name


def test_the_comment_takes_text_alone_from_the_report():
    ((_, _, script),) = steps("run", "records-comment.yml")
    assert "gh run download" in script and "--body-file" in script
    taken = re.search(r"tr -d '([^']*)'", script)
    assert taken is not None and taken[1].startswith("`")
    assert script.index("'```text'") < script.index("head -c") < script.rindex("'```'")


@pytest.fixture
def roots(tmp_path):
    """The two checkouts of the check of records."""
    results = write_results(tmp_path / "results", small_records(boards=1, codes=0))
    bundle_all(results, tmp_path / "base" / "leaderboards")
    shutil.copytree(tmp_path / "base", tmp_path / "new")
    (tmp_path / "report").mkdir()
    return tmp_path


def checked(what):
    """Exit codes of the commands of the check of records, run here as they stand there; scoring again needs data."""
    codes = {}
    for _, _, words in pbench_commands("records-check.yml"):
        if words[1] != "verify":
            done = CliRunner().invoke(cli, words[1:], standalone_mode=False)
            assert done.exception is None, (what, words, done.exception)
            codes[" ".join(words[1:])] = done.return_value
    return codes


def test_the_check_of_records_passes_additions_and_finds_what_moved(roots):
    bundle_all(change_values(roots / "results", "ridge-pca", lambda v: v), roots / "new" / "leaderboards", "more", ("ridge-pca",))
    assert set(checked("an addition").values()) == {0}
    bundle_all(
        change_values(roots / "results", "ridge-pca", lambda v: v + 1), roots / "new" / "leaderboards", "worse", ("ridge-pca",)
    )
    codes = checked("a bundle that answers an old question anew")
    assert [c for c, code in codes.items() if code] == ["compare base/leaderboards new/leaderboards --quiet"]
    shutil.rmtree(roots / "new" / "leaderboards" / "records" / "norman-sim" / "unseen-single" / "first")
    codes = checked("a bundle that is gone")
    assert [c for c, code in codes.items() if code and "--only-additions" in c]

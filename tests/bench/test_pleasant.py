"""What makes the command line pleasant: examples that parse, mistakes in one line, time left, completion, quiet pipes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pbench.bench.cli.completion import INSTALL, script
from pbench.bench.cli.main import COMMANDS, cli, main
from pbench.bench.cli.progress import Bar, Lines, TimeLeft, make_reporter, rounded
from pbench.bench.cli.requests import MOST_SEEDS, parse_seeds
from pbench.bench.contracts.errors import UsageError

ENTRY = "from pbench.bench.cli.main import main; main()"


def command(name):
    return cli.get_command(None, name)


@pytest.fixture
def typed(monkeypatch, capsys):
    """The command line in this process; returns exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return call


# Help


def examples(name):
    """The lines below Examples in a help text, up to the first that is no example."""
    text = command(name).help
    lines = text.partition("Examples:\n")[2].splitlines()
    return [line.strip() for line in lines[: lines.index("") if "" in lines else None]]


def typed_in(line):
    """Arguments of each call of pbench in a line of a shell, without what a pipe or a remark adds."""
    line = line.replace('eval "$(', "").replace(')"', "")
    for part in line.replace("&&", ";").split(";"):
        words = shlex.split(part.partition("  ")[0].partition(" | ")[0], comments=True)
        while words and words[0] != "pbench":
            words = words[1:]
        if words:
            yield words[1:]


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_parse(name):
    found = [words for line in examples(name) for words in typed_in(line)]
    assert any(words[0] == name for words in found), name
    for words in found:
        assert words[0] in COMMANDS, words
        command(words[0]).make_context(words[0], list(words[1:]), resilient_parsing=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_json_and_what_takes_long_can_be_quiet(name):
    known = {option for p in command(name).params for option in p.opts}
    assert "--json" in known
    # These read or write large files or run jobs, and say so while they do.
    if name in ("run", "score", "submit", "verify", "publish", "compare"):
        assert {"--quiet", "-q"} <= known


# Mistakes

MISTAKES = {
    "run": [
        ("--models additiv", "additive"),
        ("--dataset ''", "pbench list datasets"),
        ("--dataset notes.txt", "no .h5ad"),
        ("--dataset ./folder --scale counts", "that is a folder"),
        ("--dataset tiny.h5ad", "--scale counts"),
        ("--split ''", "pbench list splits"),
        ("--split doubels", "doubles"),
        ("--metrics mse@de2", "mse@de20"),
        ("--seeds -1", "0-4"),
        ("--seeds ''", "0-4"),
        ("--seeds 99999999999", "fewer"),
        ("--seeds 0-99999999999", "fewer"),
        ("--preset fast --models additive --dataset tiny.h5ad --scale counts", "quick"),
        ("--resource go= --models knn-go", "NAME=FILE"),
        ("--resource =x --models knn-go", "NAME=FILE"),
        ("--plugin latin.py", "cannot be imported"),
        ("--plugin ''", "no path"),
        ("--out notes.txt", "is a file"),
        ("--out ''", "no path"),
        ("--jobs -1", "x>=1"),
        ("--timeout -1", "x>0"),
        ("--memory nothing", "such as 4GB"),
        ("--track nonsense", "identifiability"),
    ],
    "score": [
        ("", "Missing argument 'PREDICTIONS'"),
        ("missing.h5ad --truth norman-sim", "no such file"),
        ("'' --truth norman-sim", "no path"),
        ("folder.csv --truth norman-sim --prediction-scale log1p_1e4", "that is a folder"),
        ("notes.md --truth norman-sim", ".h5ad"),
        ("tiny.h5ad --truth norman-sim", "--prediction-scale"),
        ("tiny.h5ad --truth norman-sim --prediction-scale logp", "log1p_1e4"),
        ("tiny.h5ad --truth norman-smi --prediction-scale log1p_1e4", "norman-sim"),
        ("tiny.h5ad --truth norman-sim --prediction-scale log1p_1e4 --name ''", "--name"),
        ("tiny.h5ad --truth norman-sim --prediction-scale log1p_1e4 --name additive", "registered model"),
        ("tiny.h5ad --truth norman-sim --prediction-scale log1p_1e4 --split ''", "pbench list splits"),
    ],
    "leaderboard": [
        ("--results missing", "pbench run --out missing"),
        ("--results notes.txt", "is a file"),
        ("--results ''", "no path"),
        ("--dataset other", "no board for --dataset 'other'"),
        ("--write folder", "is a directory"),
        ("--write nowhere/deep/board.md", "nowhere/deep/board.md: No such file or directory"),
        ("--write notes.txt/board.md", "Not a directory"),
        ("--write sealed/board.md", "Permission denied"),
        ("--check notes.md", "pbench leaderboard --write notes.md"),
        ("--figures notes.txt/inside", "Not a directory"),
    ],
    "submit": [
        ("", "Missing argument 'OUT'"),
        ("'' --results results", "no path"),
        ("out --results missing", "pbench run --out missing"),
        ("notes.txt", "is a file"),
    ],
    "verify": [
        ("", "Missing argument 'BUNDLES"),
        ("missing", "pbench submit missing"),
        ("notes.txt", "pbench submit"),
        ("folder", "pbench submit folder"),
        ("''", "no path"),
        ("bundle --jobs 0", "x>=1"),
    ],
    "list": [
        ("model5", "models"),
        ("nonsense", "there is no list of 'nonsense'."),
        ("''", "models"),
        ("metrics --write notes.txt", "is a file"),
        ("metrics --write notes.txt/inside", "Not a directory"),
    ],
    "show": [
        ("norman-smi", "norman-sim"),
        ("''", "pbench list"),
        ("latent-static[nonsense=1]", "noise"),
        ("additive --picture x.png", "pbench list datasets"),
        ("additive --difficulty", "pbench list datasets"),
        ("doubles --manifest out", "--dataset norman-sim"),
        ("doubles --dataset cut.h5ad --scale counts", "damaged"),
        ("doubles --dataset empty.h5ad --scale counts", "adata.write_h5ad()"),
    ],
    "fetch": [("norman-smi", "norman-sim"), ("''", "pbench list datasets"), ("your.h5ad", "pbench run --dataset")],
    "audit": [
        ("''", "pbench list splits"),
        ("doubels --dataset norman-sim", "doubles"),
        ("doubles", "--dataset norman-sim"),
        ("folder.json", "not a pbench split manifest"),
        ("latin.json", "not a pbench split manifest"),
        ("doubles --dataset norman-sim --model aditive", "additive"),
    ],
    "check": [
        ("aditive", "additive"),
        ("''", ""),
        ("missing.py", "no such file"),
        ("folder.py", "no such file"),
        ("latin.py", "cannot be imported"),
        ("additive --timeout soon", "valid float"),
    ],
    "publish": [
        ("missing", ""),
        ("notes.txt", "is a file"),
        ("folder", "pbench submit"),
        ("root", "TOML"),
        ("''", "no path"),
        ("root --site notes.txt", "is a file"),
    ],
    "compare": [
        ("", "Missing argument 'BASE'"),
        ("missing missing", "there is no missing"),
        ("notes.txt notes.txt", "pbench publish --numbers"),
        ("latin.json latin.json", "pbench publish --numbers"),
        ("folder folder", "pbench submit"),
    ],
    "doctor": [
        ("extra", "unexpected extra argument"),
        ("--results notes.txt", "is a file"),
        ("--plugin missing.py", "no such file"),
    ],
    "new": [("", "Missing argument"), ("modl x", "model"), ("model ''", ""), ("model ../x", ""), ("model additive", "additive")],
    "completion": [("", "Missing argument"), ("tcsh", "'bash', 'zsh', 'fish'"), ("''", "'bash', 'zsh', 'fish'")],
}


@pytest.fixture(scope="module")
def litter(tmp_path_factory):
    """Files and folders that are not what their names say."""
    import anndata
    import h5py
    import numpy as np
    import pandas as pd

    folder = tmp_path_factory.mktemp("litter")
    for name in ("notes.txt", "notes.json"):
        (folder / name).write_text("just notes")
    for name in ("notes.md", "latin.tsv", "latin.json"):
        (folder / name).write_bytes(b"\xff\xfe\x9c\n")
    (folder / "latin.py").write_bytes(b"x = '\xff'\n")
    for name in ("folder", "folder.py", "folder.csv", "folder.json", "root", "root/records", "bundle", "sealed"):
        (folder / name).mkdir()
    (folder / "root" / "published.toml").write_bytes(b"\xff")
    (folder / "bundle" / "bundle.json").write_text("{")
    (folder / "results" / "records").mkdir(parents=True)
    (folder / "results" / "records" / "cut.json").write_bytes(b"\xff\xfe")
    labels = pd.DataFrame({"perturbation": ["A", "A", "control", "B"]}, index=list("abcd"))
    anndata.AnnData(np.ones((4, 3), dtype=np.float32), obs=labels, var=pd.DataFrame(index=list("xyz"))).write_h5ad(
        folder / "tiny.h5ad"
    )
    whole = (folder / "tiny.h5ad").read_bytes()
    (folder / "cut.h5ad").write_bytes(whole[: len(whole) // 2])
    with h5py.File(folder / "empty.h5ad", "w"):
        pass
    return folder


def test_every_command_has_mistakes():
    assert set(MISTAKES) == set(COMMANDS)


@pytest.mark.parametrize(("name", "arguments", "words"), [(n, a, w) for n, rows in MISTAKES.items() for a, w in rows])
def test_a_mistake_is_one_line_that_says_what_to_do(typed, litter, monkeypatch, name, arguments, words):
    import re

    monkeypatch.chdir(litter)
    if arguments == "--write sealed/board.md":
        # Whoever runs the tests as root may write anywhere.
        monkeypatch.setattr(
            Path, "write_text", lambda self, *a, **k: (_ for _ in ()).throw(PermissionError(13, "Permission denied", str(self)))
        )
    if name == "run":
        monkeypatch.setattr(
            "pbench.bench.cli.run.run_matrix", lambda *a, **k: pytest.fail("the mistake was not noticed"), raising=True
        ) if ("--preset" not in arguments) else None
    code, out, err = typed(name, *shlex.split(arguments))
    assert code in (1, 2, 3, 4), (code, out, err)
    assert "Traceback" not in out + err
    said = [line for line in (out + err if code == 1 else err).splitlines() if line]
    assert said
    if code != 1:
        assert out == ""
        assert said[-1].startswith("Error: "), err
        assert sum(line.startswith("Error: ") for line in said) == 1
        assert len(said[-1]) < 700
        assert words == "" or re.search(words if "|" in words else re.escape(words), said[-1]), said[-1]
    else:
        assert words in out + err


@pytest.mark.parametrize(
    ("word", "near"), [("rnu", "run"), ("leaderbord", "leaderboard"), ("--hlep", "--help"), ("nonsense", "run, score|Known")]
)
def test_a_mistyped_command_suggests_one(typed, word, near):
    import re

    code, out, err = typed(word)
    assert (code, out) == (2, "")
    assert re.search(near, err), err


def test_what_the_system_refuses_is_a_message(typed, monkeypatch):
    for error, words in (
        (PermissionError(13, "Permission denied", "results"), "results: Permission denied. Give yourself the right"),
        (OSError(28, "No space left on device", "results"), "Free some space"),
        (IsADirectoryError(21, "Is a directory", "board.md"), "board.md: Is a directory. Name another file"),
        (OSError("something odd"), "something odd"),
    ):

        def fails(*a, error=error, **k):
            raise error

        monkeypatch.setattr("pbench.bench.cli.doctor.usable", fails)
        code, out, err = typed("doctor")
        assert (code, out) == (3, "")
        assert words in err and err.startswith("Error: ") and err.count("\n") == 1


def test_seeds_have_a_bound():
    assert len(parse_seeds(str(MOST_SEEDS))) == MOST_SEEDS
    # A range of more than 2**63 numbers has no len().
    for text in (str(MOST_SEEDS + 1), f"0-{MOST_SEEDS}", "5" * 50, f"0-{'5' * 50}"):
        with pytest.raises(UsageError, match="are the most"):
            parse_seeds(text)


# Progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_time_left_follows_from_finished_jobs_and_how_many_run_at_a_time():
    clock = Clock()
    left = TimeLeft(clock)
    left.planned(10)
    assert left.estimate() is None
    for title in "ab":
        left.started(title)
    assert left.estimate() is None
    clock.now += 30
    left.finished("a", 30.0)
    # Nine of 30 s are left, on two places; of one of them 30 s have passed.
    assert left.estimate() == pytest.approx((9 * 30 - 30) / 2)
    left.started("c")
    clock.now += 10
    assert left.estimate() == pytest.approx((9 * 30 - 30 - 10) / 2)
    left.finished("b", 40.0)
    assert left.estimate() == pytest.approx((8 * 35 - 10) / 2)
    for n in range(7):
        left.finished(f"x{n}", 35.0)
    # The last job has one place, however many there are.
    assert left.estimate() == pytest.approx(35 - 10)
    clock.now += 100
    assert left.estimate() == 0
    left.finished("c", 110.0)
    assert left.estimate() is None


def test_lines_say_how_long_is_left(capsys):
    clock = Clock()
    with Lines(clock) as lines:
        lines.phase("reading norman-sim")
        lines.planned(4, 1)
        for n in range(3):
            lines.started(f"m{n}")
            clock.now += 120
            lines.finished(f"m{n}", "ok" if n else "out_of_memory", "" if n else "it was too large", 120.0)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "reading norman-sim",
        "4 jobs, 1 already done",
        "[2/4] m0 120.0 s out of memory: it was too large (about 4 min left)",
        "[3/4] m1 120.0 s (about 2 min left)",
        "[4/4] m2 120.0 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "5 s"), (42, "40 s"), (89, "90 s"), (90, "2 min"), (3000, "50 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_times_are_rounded_as_a_person_would(seconds, words):
    assert rounded(seconds) == words


class Terminal:
    """A standard error that says that it is a terminal."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self): ...


def test_a_terminal_has_a_bar_and_a_log_has_lines(monkeypatch):
    assert type(make_reporter(quiet=False)) is Lines
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert type(make_reporter(quiet=False)) is Bar
    assert not isinstance(make_reporter(quiet=True), Bar | Lines)
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_reporter(quiet=False)) is Lines


@pytest.mark.parametrize("colourless", [True, False])
def test_the_bar_shows_what_runs_and_the_time_left_and_honours_no_color(monkeypatch, colourless):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if colourless:
        monkeypatch.setenv("NO_COLOR", "1")
    clock = Clock()
    with Bar(clock) as bar:
        bar.planned(4, 1)
        bar.started("additive on norman-sim / doubles")
        bar.started("cpa on norman-sim / doubles")
        clock.now += 120
        bar.finished("additive on norman-sim / doubles", "failed", "no reason", 120.0)
        bar.progress.refresh()
    assert "failed: additive on norman-sim / doubles: no reason" in terminal.text
    assert "cpa" in terminal.text and "2/4" in terminal.text and "about 60 s left" in terminal.text
    colours = [c for c in terminal.text.split("\x1b[")[1:] if c.partition("m")[0].startswith(("3", "9", "38", "1;3"))]
    assert bool(colours) is not colourless


# Pipes and completion


def test_a_closed_pipe_is_quiet(tmp_path):
    code = f'"{sys.executable}" -c "{ENTRY}" show norman-sim --json | head -c 1'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout == "{"
    assert done.stderr == ""


def test_standard_output_has_data_only(typed, toy_results):
    code, out, err = typed(
        "leaderboard", "--results", toy_results, "--json", "--figures", toy_results / "figures", "--check", "none.md"
    )
    assert code == 1
    assert json.loads(out)["up_to_date"] is False
    assert "none.md is stale" in err


@pytest.fixture
def toy_results(tmp_path, make_screen):
    import pbench

    adata = make_screen(seed=1).adata
    predicted = pbench.PerturbationPredictor("train-mean", scale="counts").fit(adata).predict(adata)
    pbench.evaluate(
        adata,
        predicted,
        true_scale="counts",
        pred_scale="log1p_1e4",
        metrics="l2@all",
        baselines=False,
        results=tmp_path / "kept",
    )
    return tmp_path / "kept"


def test_filters_that_leave_no_board_say_what_there_is(typed, toy_results):
    code, out, err = typed("leaderboard", "--results", toy_results, "--dataset", "adata_treu")
    assert (code, out) == (2, "")
    assert "Did you mean 'adata_true'?" in err
    assert typed("leaderboard", "--results", toy_results, "--dataset", "adata*")[0] == 0


@pytest.mark.parametrize("shell", INSTALL)
def test_a_script_for_every_shell(typed, shell, tmp_path):
    code, out, err = typed("completion", shell)
    assert (code, err) == (0, "")
    assert out == script(shell) and "_PBENCH_COMPLETE" in out
    found = json.loads(typed("completion", shell, "--json")[1])
    assert found["script"] == out and f"pbench completion {shell}" in found["line"]
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(out)
        subprocess.run([program, "-n", tmp_path / "script"], check=True, timeout=30)


@pytest.fixture
def completed(monkeypatch, capfdbinary):
    """What a shell is offered at the end of a line, through the same environment as its script."""

    def call(line):
        words = shlex.split(line) + ([""] if line.endswith(" ") else [])
        monkeypatch.setenv("_PBENCH_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setattr(sys, "argv", ["pbench"])
        with pytest.raises(SystemExit):
            main()
        out, err = capfdbinary.readouterr()
        assert err == b""
        return [item.partition(",")[2] for item in out.decode().splitlines()]

    return call


def test_names_are_offered_where_they_belong(completed):
    assert {"run", "score", "completion"} <= set(completed("pbench "))
    assert completed("pbench lea") == ["leaderboard"]
    assert "--models" in completed("pbench run --mo")
    assert completed("pbench run --models addi") == ["additive"]
    assert completed("pbench run --models additive,ridge-p") == ["additive,ridge-pca"]
    assert "additive,additive" not in completed("pbench run --models additive,a")
    assert {"all", "gaming"} <= set(completed("pbench run --models "))
    assert {"norman-sim", "norman-mini"} <= set(completed("pbench score x.h5ad --truth norman-"))
    assert completed("pbench leaderboard --split doub") == ["doubles"]
    assert {"mse@de20", "mse@all"} <= set(completed("pbench run --metrics mse@"))
    assert "headline" in completed("pbench score x.h5ad --metrics head")
    assert "norman-sim" in completed("pbench show norman-s")
    assert "additive" in completed("pbench check addit")
    assert completed("pbench completion z") == ["zsh"]
    assert completed("pbench list mo") == ["models"]
    assert "your.h5ad" not in completed("pbench show your")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not there")
def test_bash_completes_names_with_at_signs(tmp_path):
    """Bash takes what follows @ for a word of its own; the answer must be what it puts there."""
    (tmp_path / "pbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{ENTRY}" "$@"\n')
    (tmp_path / "pbench").chmod(0o755)
    lines = ["pbench run --metrics mse@de", "pbench run --models=addit", "pbench run --models addi"]
    ask = "\n".join(
        f'COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _pbench_completion; echo "${{COMPREPLY[*]}}"' for line in lines
    )
    (tmp_path / "ask.sh").write_text(script("bash") + ask)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", tmp_path / "ask.sh"], capture_output=True, text=True, env={**os.environ, "PATH": path}, timeout=120
    )
    assert done.stdout.splitlines() == ["de20 de50", "additive", "additive"], done.stderr


def test_completion_imports_nothing_heavy():
    code = (
        "import os, sys\n"
        "os.environ |= {'_PBENCH_COMPLETE': 'bash_complete', 'COMP_WORDS': 'pbench run --models add', 'COMP_CWORD': '3'}\n"
        "sys.argv = ['pbench']\n"
        "from pbench.bench.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'scanpy', 'anndata', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["plain,additive", "[]"], done.stderr


def test_click_types_of_paths_are_named_ones():
    for name in COMMANDS:
        for parameter in command(name).params:
            if isinstance(parameter.type, click.Path):
                with pytest.raises(click.BadParameter, match="no path"):
                    parameter.type.convert("", parameter, None)

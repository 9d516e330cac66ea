"""What a user types and what comes back: help, listings, mistakes, exit codes."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from pbench.bench.cli.main import COMMANDS, cli, main
from pbench.bench.cli.requests import CONTROLS, model_requests, parse_seeds, with_controls
from pbench.bench.cli.run import run as run_command
from pbench.bench.contracts.errors import UsageError
from pbench.bench.contracts.registry import REGISTRIES

HEAVY = ("torch", "scanpy", "pertpy", "anndata", "sklearn")


@pytest.fixture
def typed(monkeypatch, capsys):
    """The command line in this process; returns exit code, standard output and standard error."""

    for registry in REGISTRIES.values():
        registry.entries()
        for name in ("_entries", "_objects", "broken"):
            monkeypatch.setattr(registry, name, dict(getattr(registry, name)))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return call


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["list"], ["list", "models"], ["show", "additive"], ["show", "norman-sim"], ["run", "--help"]],
)
def test_what_is_looked_up_needs_no_heavy_import(pbench, tmp_path, arguments):
    code = (
        "import sys, json\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "from pbench.bench.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        f"sys.stderr.write(json.dumps([code, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert json.loads(done.stderr) == [0, []]
    assert done.stdout


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_help_has_examples(command):
    found = CliRunner().invoke(cli, [*([command] if command else []), "--help"])
    assert found.exit_code == 0
    assert "Examples:\n" in found.output
    assert "\n    pbench " in found.output


def test_help_names_every_command_and_exit_code():
    text = CliRunner().invoke(cli, ["--help"]).output
    assert all(command in text for command in COMMANDS)
    words = " ".join(text.split())
    for code in ("0 fine", "1 finished", "2 usage", "3 data", "4 an optional package", "130 interrupted"):
        assert code in words


SUGGESTIONS = [
    (["run", "--models", "aditive"], "additive"),
    (["run", "--dataset", "norman-smi"], "norman-sim"),
    (["run", "--split", "doubels"], "doubles"),
    (["run", "--metrics", "mse@de2"], "mse@de20"),
    (["run", "--models", "ridge-pca[rigde=1]"], "ridge"),
    (["show", "aditive"], "additive"),
    (["show", "doubels"], "doubles"),
    (["list", "model5"], "models"),
    (["audit", "doubels", "--dataset", "norman-sim"], "doubles"),
    (["audit", "doubles", "--dataset", "norman-smi"], "norman-sim"),
    (["check", "aditive"], "additive"),
    (["fetch", "norman-smi"], "norman-sim"),
]


@pytest.mark.parametrize(("arguments", "near"), SUGGESTIONS)
def test_unknown_names_suggest_near_ones(typed, arguments, near):
    code, out, err = typed(*arguments)
    assert code == 2
    assert out == ""
    assert "Did you mean" in err and repr(near) in err, err


MISTAKES = [
    [],
    ["nonsense"],
    ["run", "--nonsense"],
    ["run", "--models", ""],
    ["run", "--models", ","],
    ["run", "--models", "additive["],
    ["run", "--models", "additive[x]"],
    ["run", "--models", "additive[x=1]"],
    ["run", "--models", "ridge-pca[ridge=nan]"],
    ["run", "--models", "*nothing*"],
    ["run", "--seeds", "one"],
    ["run", "--seeds", ""],
    ["run", "--seeds", "3-1"],
    ["run", "--seeds", "-1"],
    ["run", "--metrics", "mse"],
    ["run", "--metrics", "mse@de20[k=1]"],
    ["run", "--metrics", ""],
    ["run", "--jobs", "0"],
    ["run", "--jobs", "two"],
    ["run", "--timeout", "-1"],
    ["run", "--memory", "0"],
    ["run", "--overwrite", "sometimes"],
    ["run", "--preset", "nonsense"],
    ["run", "--resource", "go"],
    ["run", "--resource", "go=missing.tsv", "--models", "additive"],
    ["run", "--plugin", "missing.py"],
    ["run", "--plugin", "."],
    ["run", "--plugin", "notes.txt"],
    ["run", "--plugin", "empty.py"],
    ["run", "--plugin", "broken.py"],
    ["run", "--plugin", "syntax.py"],
    ["run", "--plugin", "raising.py", "--models", "raising"],
    ["run", "--plugin", "a/same.py", "--plugin", "b/same.py"],
    ["run", "--dataset", ""],
    ["run", "--dataset", "missing.h5ad"],
    ["run", "--dataset", "notes.h5ad"],
    ["run", "--dataset", "notes.h5ad", "--scale", "log2"],
    ["run", "--dataset", "norman-sim", "--scale", "counts"],
    ["run", "--dataset", "your.h5ad"],
    ["run", "--split", "missing.json"],
    ["run", "--split", "notes.json"],
    ["run", "--split", "doubles[nonsense=1]"],
    ["run", "--split", "doubles["],
    ["run", "--out", "notes.txt"],
    ["leaderboard", "--results", "missing"],
    ["leaderboard", "--results", "notes.txt"],
    ["leaderboard", "--plugin", "missing.py"],
    ["list", "nonsense"],
    ["list", "models", "more"],
    ["show"],
    ["show", "nothing-like-this"],
    ["show", "doubles", "--dataset", "missing.h5ad"],
    ["fetch"],
    ["fetch", "your.h5ad"],
    ["audit"],
    ["audit", "doubles"],
    ["audit", "missing.json"],
    ["audit", "notes.json"],
    ["audit", "notes.json", "--model", "additive"],
    ["check"],
    ["check", "missing.py"],
    ["check", "broken.py"],
    ["check", "empty.py"],
    ["check", "additive", "--timeout", "soon"],
    ["doctor", "extra"],
]


@pytest.fixture
def litter(tmp_path):
    """Files that are not what their names say."""
    for name in ("notes.txt", "notes.h5ad", "notes.json"):
        (tmp_path / name).write_text("just notes")
    (tmp_path / "empty.py").write_text("X = 1\n")
    (tmp_path / "broken.py").write_text("raise RuntimeError('broken on import')\n")
    (tmp_path / "syntax.py").write_text("def f(:\n")
    model = "class Raising:\n    def __init__(self):\n        raise ValueError('no')\n    def fit(self): ...\n    def predict(self): ...\n"
    (tmp_path / "raising.py").write_text(model)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(model.replace("Raising", folder.upper()))
    return tmp_path


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_is_a_message_and_never_a_traceback(typed, litter, arguments):
    code, out, err = typed(*arguments)
    assert code in ((0, 2) if not arguments else (2, 3)), (code, err)
    assert "Traceback" not in out + err
    assert out + err
    if arguments:
        assert out == ""
        assert len(err) < 1500
    assert not (litter / "results" / "records").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "--dataset", "missing.h5ad", "--scale", "counts"], 3),
        (["run", "--dataset", "norman-mini"], 3),
        (["audit", "missing.json"], 3),
        (["run", "--models", "nothing-like-it"], 2),
    ],
)
def test_exit_codes_tell_usage_from_data(typed, arguments, code):
    assert typed(*arguments)[0] == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--json"],
        ["list", "metrics", "--json"],
        ["show", "additive", "--json"],
        ["show", "mse@de20", "--json"],
        ["show", "doubles", "--json"],
        ["show", "norman-sim", "--json"],
        ["show", "your.h5ad", "--json"],
        ["fetch", "norman-sim", "--json"],
        ["doctor", "--json"],
        ["check", "no-change", "--json"],
    ],
    ids=" ".join,
)
def test_json_is_one_object(typed, arguments):
    code, out, _ = typed(*arguments)
    assert code == 0
    json.loads(out)


def test_everything_registered_can_be_shown(typed):
    for registry in REGISTRIES.values():
        for name in registry.names():
            code, out, err = typed("show", name)
            assert (code, err) == (0, "") and name in out


def test_json_stays_one_object_when_a_plugin_prints(pbench, toy_plugin, tmp_path):
    (tmp_path / "noisy.py").write_text(
        "print('noise on import')\nfrom pbench.models.no_change import NoChange\n\n\n"
        "class Noisy(NoChange):\n    def fit(self, data, *, seed):\n        print('noise in fit')\n        return super().fit(data, seed=seed)\n"
    )
    done = pbench(
        *(
            "run",
            "--plugin",
            "noisy.py",
            "--plugin",
            toy_plugin,
            "--dataset",
            "toy-screen",
            "--models",
            "noisy",
            "--json",
            "--no-controls",
        ),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert [job["model"] for job in json.loads(done.stdout)["jobs"]] == ["noisy"]
    assert json.loads(pbench("list", "models", "--plugin", "noisy.py", "--json", cwd=tmp_path).stdout)["broken"] == {}


def test_a_split_is_made_written_audited_and_run(pbench, toy_plugin, tmp_path):
    plugin = ("--plugin", toy_plugin)
    made = pbench("show", "doubles[seed=3]", "--dataset", "toy-screen", "--manifest", "splits", "--json", *plugin, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (path,) = (tmp_path / "splits").glob("*.json")
    audited = pbench("audit", path, "--json", cwd=tmp_path)
    assert audited.returncode == 0 and json.loads(audited.stdout)[0]["status"] in ("pass", "warn")
    run = pbench(
        "run",
        "--split",
        path,
        "--dataset",
        "toy-screen",
        "--models",
        "additive",
        "--json",
        "--no-controls",
        *plugin,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    (job,) = json.loads(run.stdout)["jobs"]
    assert job["spec"]["split_id"] == json.loads(path.read_text())["id"]
    leaking = json.loads(path.read_text())
    leaking["conditions"][0]["role"] = "excluded" if leaking["conditions"][0]["role"] != "excluded" else "train"
    path.write_text(json.dumps(leaking))
    refused = pbench("run", "--split", path, "--dataset", "toy-screen", *plugin, cwd=tmp_path)
    assert refused.returncode == 3 and "was edited" in refused.stderr


def test_the_controls_run_with_every_matrix(pbench, toy_plugin, tmp_path):
    asked = ("run", "--dataset", "toy-screen", "--plugin", toy_plugin, "--models", "additive,train-mean", "--metrics", "headline")
    done = pbench(*asked, "--json", "--controls", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    jobs = {job["model"]: job for job in json.loads(done.stdout)["jobs"]}
    assert set(jobs) == {"additive", *CONTROLS}
    board = (tmp_path / "results" / "leaderboard.md").read_text()
    assert "What the metrics can tell" in board and "technical-duplicate over" in board


def test_controls_are_asked_for_once():
    labels = [str(r) for r in with_controls("additive,train-mean,train-mean[weight=cell]", ["mse@de20"])]
    assert labels[:3] == ["additive", "train-mean", "train-mean[weight=cell]"]
    assert labels[3:] == [name for name in CONTROLS if name != "train-mean"]
    (option,) = [p for p in run_command.params if p.name == "controls"]
    assert option.default is True


@pytest.mark.parametrize("metrics", [["legacy_r2@all"], ["mse@de20", "legacy_random_pair_rmse@all"]])
def test_legacy_metrics_bring_the_cells_beside_their_mean(metrics):
    assert [str(r) for r in with_controls("additive", metrics)][:3] == ["additive", "oracle-mean", "oracle-sampler"]
    assert [str(r) for r in with_controls("oracle-sampler", metrics)].count("oracle-sampler") == 1
    assert "oracle-sampler" not in map(str, with_controls("additive", ["mse@de20"]))


def test_groups_are_left_out_of_all_and_asked_for_by_name():
    every, gaming = ({r.name for r in model_requests(text)} for text in ("all", "gaming"))
    assert gaming and all(name.startswith("gaming-") for name in gaming)
    assert not every & gaming and "submission" not in every and {"additive", "oracle-mean"} <= every
    assert {r.name for r in model_requests("gaming-s*")} < gaming
    assert [r.name for r in model_requests("gaming-hub")] == ["gaming-hub"]
    with pytest.raises(UsageError):
        model_requests("g*p")


def test_check_reports_a_bad_file_with_1(typed, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from pbench.models.no_change import NoChange\n\n\nclass Mine(NoChange):\n    def __init__(self, k=1):\n        self.k = k\n"
    )
    code, out, _ = typed("check", "mine.py")
    assert code == 1
    assert "FAIL  constructor: keyword-only" in out and "1 check(s) failed." in out


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", (0,)),
        ("1", (0,)),
        ("3", (0, 1, 2)),
        ("3-3", (3,)),
        ("0-4", (0, 1, 2, 3, 4)),
        ("2,0,2", (2, 0)),
        (" 1 , 3-4", (1, 3, 4)),
    ],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


def test_models_of_the_track_of_identifiability():
    names = {r.name for r in model_requests("all", "identifiability")}
    assert {"pca", "cite-vae", "oracle-code", "sams-vae"} <= names and not {"additive", "gears", "gears-official"} & names
    encoders = {r.name for r in model_requests("encoders", "identifiability")}
    assert "tdrl" in encoders and "cite-vae" not in encoders and encoders < names
    assert [str(r) for r in model_requests("additive,cite-vae[steps=1]", "identifiability")] == ["additive", "cite-vae[steps=1]"]
    assert not {"pca", "oracle-code"} & {r.name for r in model_requests("all")}
    assert {r.name for r in with_controls("pca", ("mcc.pearson",), "identifiability")} >= {
        "oracle-code",
        "label-code",
        "noise-code",
    }

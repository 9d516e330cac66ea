"""What the README shows is true: its model passes the checks, its commands parse, and CI runs its two main ones."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

import pbench
from pbench.bench.cli.main import cli
from pbench.bench.engine.check import check_model

ROOT = Path(pbench.__file__).parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^    (?! )(.+)$", README, flags=re.MULTILINE)
COMMANDS = [line for line in BLOCKS if line.startswith("pbench ")]


def test_the_model_of_the_readme_passes_every_check():
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert code is not None and len(code[1].splitlines()) <= 30
    scope: dict = {"__name__": "readme"}
    exec(code[1], scope)
    assert [v for v in check_model(scope["HalfAdditive"]) if not v.passed] == []


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_parses(line):
    words = shlex.split(line, comments=True)[1:]
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None, line
    # Parsing refuses unknown options and missing arguments without running anything.
    command.make_context(words[0], words[1:])


def test_ci_runs_the_two_commands_of_the_readme():
    install_and_run, install_and_test = [line for line in BLOCKS if line.startswith("pip install -c constraints.txt")]
    ci = (ROOT / ".ci" / "run").read_text()
    assert install_and_test in ci
    assert install_and_run.partition(" && ")[2] in ci

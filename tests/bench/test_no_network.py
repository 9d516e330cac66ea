"""Nothing but ``pbench fetch`` and the download of a data set asks another host for anything."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ENTRY = "from pbench.bench.cli.main import main; main()"
#: Imported by every Python process of a command before anything else: attempts are refused and noted.
BLOCKER = """
import os
import socket


def refuse(what):
    def refused(*arguments, **options):
        family = getattr(arguments[0], "family", None) if arguments else None
        if family == socket.AF_UNIX:
            return originals[what](*arguments, **options)
        with open(os.environ["PBENCH_ATTEMPTS"], "a") as f:
            f.write(f"{what} {arguments[-1]}\\n")
        raise OSError(f"the network is blocked: {what}")

    return refused


originals = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto", "sendmsg")}
for name in originals:
    setattr(socket.socket, name, refuse(name))
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, refuse(name))
"""


@pytest.fixture
def attempts(tmp_path, isolated, shared_cache):
    """Runs a command with every socket blocked but those between our own processes; returns it with what was tried."""
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(BLOCKER)
    noted = tmp_path / "attempts"
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path / "blocked"),
        "PBENCH_ATTEMPTS": str(noted),
        "PBENCH_CACHE": str(shared_cache),
    }

    def call(*words):
        done = subprocess.run(
            [sys.executable, "-c", ENTRY, *words], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        return done, noted.read_text().splitlines() if noted.exists() else []

    return call


def test_the_blocker_sees_a_download(attempts):
    """A data set that has to be downloaded is one that is asked for: the attempt is noted, and the message says what to do."""
    done, tried = attempts("fetch", "norman-mini")
    assert done.returncode == 3 and tried
    assert "PBENCH_DATA" in done.stderr and "Traceback" not in done.stderr


COMMANDS = (
    ("--help",),
    ("list",),
    ("list", "datasets", "--json"),
    ("show", "norman"),
    ("show", "replogle-k562"),
    ("show", "additive"),
    ("audit", "doubles", "--dataset", "norman-sim"),
    ("doctor",),
    ("completion", "bash"),
    ("new", "model", "my-model"),
    ("leaderboard",),
    ("submit", "bundle", "--dataset", "norman-sim", "--split", "doubles"),
    ("verify", "bundle"),
    ("publish", "--results", "results", "--out", "mine"),
)


def test_no_command_asks_another_host(attempts):
    """From a run with a network to published pages, in one folder, one command after the other."""
    run = ("run", "--models", "additive,ridge-pca,latent-additive", "--preset", "quick", "--metrics", "headline", "--quiet")
    for words in (run, *COMMANDS):
        done, tried = attempts(*words)
        assert tried == [], words
        assert done.returncode == 0, (words, done.stderr[-2000:])

"""How much memory is left, told from files that systems keep of it, and what may be unpacked into it."""

from __future__ import annotations

import resource

import pytest

from pbench.bench.contracts import memory
from pbench.bench.contracts.condition import MOST_LETTERS, Condition
from pbench.bench.contracts.errors import DataError, UsageError, printable

GB = 2**30


@pytest.fixture
def system(tmp_path):
    """A root with the files of a machine with 8 GB free, and of a container where some are given."""

    def make(groups=()):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "proc/meminfo").write_text(f"MemTotal: {16 * GB // 1024} kB\nMemAvailable: {8 * GB // 1024} kB\n")
        (tmp_path / "proc/self/status").write_text(f"Name: x\nVmData: {GB // 1024} kB\n")
        for name, text in dict(groups).items():
            (tmp_path / "sys/fs/cgroup" / name).write_text(text)
        return tmp_path

    return make


def test_a_machine(system):
    assert memory.available(system()) == 8 * GB


@pytest.mark.parametrize("limit, expected", [("max", 8 * GB), (str(3 * GB), 3 * GB - 2 * GB + GB // 2)])
def test_a_container(system, limit, expected):
    facts = f"anon 7\ninactive_file {GB // 2}\n"
    root = system({"memory.max": limit, "memory.current": str(2 * GB), "memory.stat": facts})
    assert memory.available(root) == expected


def test_the_limit_of_this_process(system, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (4 * GB, 4 * GB))
    assert memory.available(system()) == 3 * GB


def test_without_such_files_it_is_the_machine(tmp_path):
    assert memory.available(tmp_path) == memory.machine(tmp_path) > GB // 8


def test_what_may_be_unpacked(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 100 * GB)
    assert memory.unpackable(1) == memory.UNPACKED
    assert memory.unpackable(GB) == 100 * GB
    assert memory.unpackable(10 * memory.UNPACKED // memory.TIMES) == pytest.approx(10 * memory.UNPACKED, rel=1e-3)


@pytest.mark.parametrize(
    "what",
    [
        {"targets": ("x" * (MOST_LETTERS + 1),)},
        {"targets": ("\ud800",)},
        {"targets": ("A",), "context": "\udfff"},
        {"targets": ("A",), "doses": (float("nan"),)},
        {"targets": ("A",), "time": float("inf")},
    ],
)
def test_conditions_that_cannot_be_written_down(what):
    with pytest.raises(DataError):
        Condition(**what)


def test_errors_are_said_on_one_line_and_steer_nothing():
    assert str(UsageError("a\nb\x1b[2J\u202ec\ud800")) == "a b�[2J�c�"
    assert len(str(DataError("x" * 10**6))) < 5000
    assert printable("a\tb\nc\x85") == "a\tb\nc�"

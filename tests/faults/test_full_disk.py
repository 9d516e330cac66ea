"""No space, no permission, files that may not grow: one clear message, what was finished is whole, and the next run goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import subprocess

import pytest
from fault_writers import score_id, write_until_full

from pbench.bench.contracts.errors import PbenchError
from pbench.bench.engine.folders import write_folder
from pbench.bench.engine.store import Store
from pbench.bench.engine.survey import survey_results
from pbench.bench.engine.temporaries import is_temporary


@pytest.fixture
def small_disk(tmp_path):
    """Makes a file system of some bytes in memory, and changes its size."""
    made = []

    def mount(size, *more):
        place = tmp_path / f"disk{len(made)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
        made.append(place)
        return place

    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    yield mount
    for place in made:
        subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place, option):
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True, capture_output=True)


def temporary(folder):
    return [p for p in folder.rglob("*") if is_temporary(p.name)]


def filled(forked, folder):
    context = multiprocessing.get_context("forkserver")
    ear, mouth = context.Pipe(duplex=False)
    process = forked(write_until_full, str(folder), mouth)
    mouth.close()
    number, said = ear.recv()
    process.join()
    return number, said


def test_a_full_disk_takes_nothing_that_was_finished(forked, small_disk):
    place = small_disk("2m")
    store = Store(place / "results")
    number, said = filled(forked, store.folder)
    assert number > 5 and "cannot write" in said and "No space left on device" in said and "Free some space" in said
    assert [c["score_id"] for c in store.cards()] == sorted(score_id(n) for n in range(number))
    assert temporary(place) == []
    # What the record that did not fit has left is an archive that is whole, at most.
    assert survey_results(store.folder) == []
    with pytest.raises(PbenchError, match="No space left"):
        for _ in range(100):
            store.consolidate()
            store.save_checkpoint("a" * 32, {"w": __import__("numpy").zeros(10**6)})
    remount(place, "size=8m")
    again, said = filled(forked, store.folder)
    assert again > number and "No space left" in said and len(store.cards()) == again


def test_a_run_on_a_full_disk_says_so_and_goes_on_with_space(bench, undisturbed, read_contents, small_disk):
    place = small_disk("80k")
    done = bench.call(*bench.run_arguments(place / "results"))
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert "cannot write" in message and "No space left on device. Free some space" in message
    assert bench.all_ended() and temporary(place) == []
    kept = Store(place / "results").cards()
    assert {f.kind for f in survey_results(place / "results")} <= {"being written", "stale"}
    remount(place, "size=20m")
    done = bench.call(*bench.run_arguments(place / "results"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reused"] >= len([c for c in kept if c["status"] == "ok"])
    assert read_contents(place / "results") == undisturbed and survey_results(place / "results") == []


@pytest.mark.slow
def test_a_cache_on_a_full_disk_is_said_and_made_with_space(bench, undisturbed, read_contents, small_disk, tmp_path):
    place = small_disk("32k")
    done = bench.call(*bench.run_arguments(tmp_path / "results"), cache=place)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "No space left on device. Free some space or set PBENCH_CACHE to another folder" in done.stderr
    assert temporary(place) == []
    remount(place, "size=20m")
    done = bench.call(*bench.run_arguments(tmp_path / "results"), cache=place)
    assert done.returncode == 0, done.stderr
    assert read_contents(tmp_path / "results") == undisturbed


@pytest.mark.slow
def test_a_folder_that_may_only_be_read_is_said(bench, undisturbed, small_disk):
    place = small_disk("20m")
    (place / "results").mkdir()
    remount(place, "ro")
    done = bench.call(*bench.run_arguments(place / "results"))
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert "Read-only file system. Give yourself the right to write there or choose another folder with --out" in done.stderr


def test_files_that_may_not_grow_are_a_full_disk(bench, undisturbed, read_contents, tmp_path):
    """A limit on the size of files, which works everywhere: no archive of a prediction fits, and each job says why."""
    out = tmp_path / "results"
    bound = 2048

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, bound))

    done = bench.call(*bench.run_arguments(out), preexec_fn=limit)
    assert done.returncode in (1, 3) and "Traceback" not in done.stderr and "File too large" in done.stderr
    assert temporary(out) == [] and {f.kind for f in survey_results(out)} <= {"being written", "stale"}
    done = bench.call(*bench.run_arguments(out))
    assert done.returncode == 0, done.stderr
    assert read_contents(out) == undisturbed


def test_what_does_not_fit_into_the_cache_leaves_nothing_behind(tmp_path):
    def write(folder):
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(PbenchError, match=r"No space left on device\. Free some space or set PBENCH_CACHE"):
        write_folder(tmp_path / "made", write)
    assert list(tmp_path.iterdir()) == []

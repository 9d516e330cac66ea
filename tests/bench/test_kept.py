"""The cache and the results of a whole chain: what changed is put aside and made again, and doctor tells of it."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.engine.folders import QUARANTINE, write_folder
from pbench.bench.engine.kept import whole_archive, whole_or_quarantined
from pbench.bench.engine.kept_splits import kept_splits, save_index, save_split
from pbench.bench.engine.repair import repair
from pbench.bench.engine.resources import resolve_resources
from pbench.bench.engine.sealed import read_arrays, save_arrays
from pbench.bench.engine.statistics import GroupSums
from pbench.bench.engine.store import Store
from pbench.bench.engine.survey import survey_cache, survey_results
from pbench.bench.engine.temporaries import temporary_beside

REPORT = {"status": "pass", "findings": [{"rule": 1, "name": "n", "status": "pass", "detail": "d"}]}


@pytest.fixture
def folder(fresh_cache):
    return fresh_cache / "screens" / "abc" / "splits"


@pytest.fixture
def index(folder):
    """Two splits, the second by cells."""
    conditions = {Condition(("A",)): "train", Condition(("B",)): "test"}
    plain = SplitManifest("d", "i", "doubles", {}, "1/2", 1, conditions)
    by_cells = SplitManifest("d", "i", "doubles", {}, "2/2", 1, conditions, test_cells=("c1",))
    sums = GroupSums(np.ones((4, 3)), np.ones((4, 3)), np.ones(4))
    save_split(folder, plain, REPORT, None)
    save_split(folder, by_cells, REPORT, sums)
    save_index(folder / "k.index.json", [plain, by_cells])
    return folder / "k.index.json"


def test_splits_are_read_back(index, folder):
    found = kept_splits(index)
    assert found is not None and [bool(sums) for _, sums, _ in found] == [False, True]
    assert all(audit == REPORT and SplitManifest.load(path).id[:32] == path.stem for path, _, audit in found)
    assert kept_splits(folder / "other.index.json") is None


@pytest.mark.parametrize("pattern", ["*.index.json", "*.audit.json", "????????????????????????????????.json", "*.sums.npz"])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_split_of_which_a_byte_changed_is_not_used(index, folder, fresh_cache, pattern, how):
    path = sorted(folder.glob(pattern))[-1]
    data = path.read_bytes()
    at = data.index(b"d") if path.suffix == ".json" else len(data) // 2
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:at] if how == "cut" else data[:at] + b"e" + data[at + 1 :])
        assert path in {f.path for f in survey_cache(fresh_cache)}
    assert kept_splits(index) is None
    if how != "gone":
        (moved,) = (p for p in (fresh_cache / QUARANTINE).iterdir() if not p.name.endswith(".why.json"))
        assert moved.name == path.name and not path.exists()


def test_an_index_of_an_earlier_version_is_made_again(index):
    index.write_text(json.dumps(["abc"]))
    assert kept_splits(index) is None and index.exists()


def test_folders_and_archives_are_used_only_as_they_were_written(fresh_cache):
    made, archive = fresh_cache / "screens" / "x", fresh_cache / "resources" / "x.npz"
    write_folder(made, lambda f: (f / "a").write_text("abc"))
    archive.parent.mkdir()
    save_arrays(archive, {"a": np.arange(3)})
    assert whole_or_quarantined(made) and whole_archive(archive) and survey_cache(fresh_cache) == []
    (made / "a").write_text("abd")
    archive.write_bytes(archive.read_bytes()[:-1])
    assert {f.path for f in survey_cache(fresh_cache)} == {made, archive}
    assert not whole_or_quarantined(made) and not whole_archive(archive)
    assert not made.exists() and not archive.exists() and {f.kind for f in survey_cache(fresh_cache)} == {"quarantine"}
    assert not whole_or_quarantined(made) and not whole_archive(archive)


def test_a_table_of_side_information_is_converted_again_where_the_cache_is_damaged(tmp_path, fresh_cache):
    table = tmp_path / "genes.csv"
    table.write_text("gene,a,b\nA,1,2\nB,3,4\n")
    for damage in (None, b"", b"PK", "flip"):
        source = resolve_resources(["go"], {"go": str(table)})["go"].named
        assert source is not None and source.path is not None and source.table is not None
        assert source.table.values.tolist() == [[1, 2], [3, 4]]
        assert sorted(read_arrays(source.path)) == ["names", "same_screen", "source", "values"]
        data = source.path.read_bytes()
        if damage is not None:
            source.path.write_bytes(data[:100] + b"\0\1" + data[102:] if damage == "flip" else damage)
    assert len(list((fresh_cache / QUARANTINE).glob("*.why.json"))) == 2


def test_a_conversion_that_is_not_done_is_left_to_the_next_run(fresh_cache):
    partial = fresh_cache / "screens" / "abc.partial"
    partial.mkdir(parents=True)
    (partial / "data.bin").write_bytes(b"half")
    (finding,) = survey_cache(fresh_cache)
    assert (finding.kind, finding.path, finding.is_defect) == ("being written", partial, False)


def test_what_doctor_finds_is_put_aside_once(tmp_path, fresh_cache):
    store = Store(tmp_path / "results")
    for room in ("records", "predictions"):
        (store.folder / room).mkdir(parents=True)
    orphan = store.folder / "records" / f"{'ab' * 16}.0123456789ab.parquet"
    orphan.write_bytes(b"PAR1")
    written = temporary_beside(store.folder / "predictions" / "x.npz")
    written.write_bytes(b"half")
    (store.folder / "records" / "notes.txt").write_text("mine")
    assert {f.kind for f in survey_results(store.folder)} == {"being written", "unknown file"}
    later = time.time() + 3700
    found = survey_results(store.folder, now=later)
    assert {(f.kind, f.path) for f in found if f.is_defect} == {("rows without a card", orphan), ("left over", written)}
    moved = repair(found, store.folder, fresh_cache)
    assert {m.path for m in moved} == {orphan, written} and all(m.to.exists() and not m.path.exists() for m in moved)
    again = survey_results(store.folder, now=later)
    assert {f.kind for f in again} == {"quarantine", "unknown file"} and repair(again, store.folder, fresh_cache) == []


def test_an_archive_that_was_put_aside_is_missed_until_it_is_made_again(tmp_path):
    store = Store(tmp_path)
    path = store.save_checkpoint("ab" * 32, {"w": np.ones(3)})
    other = tmp_path / "predictions" / f"{'cd' * 16}.npz"
    other.parent.mkdir()
    other.write_bytes(b"x")
    path.write_bytes(b"y")
    repair(survey_results(tmp_path), tmp_path, tmp_path / "cache")
    assert store.put_aside() == {"cd" * 16}
    save_arrays(other, {"a": np.ones(1)})
    assert store.put_aside() == set()


def test_doctor_reports_a_folder_of_bundles_and_leaves_it_alone(pbench, tmp_path):
    bundle = tmp_path / "records" / "d" / "s" / "first"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{")
    for more in ((), ("--repair",)):
        done = pbench("doctor", "--no-cache", "--json", "--results", tmp_path, *more, cwd=tmp_path)
        (finding,) = json.loads(done.stdout)["findings"]
        assert done.returncode == 1 and (finding["kind"], finding["path"]) == ("bundle", str(bundle))
        assert json.loads(done.stdout)["repaired"] == []
    assert (bundle / "bundle.json").read_text() == "{"

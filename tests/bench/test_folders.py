"""Folders that know what they should hold, files that carry their own checksum, and where what is damaged goes."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from pbench.bench.contracts.errors import PbenchError
from pbench.bench.engine.folders import CHECKSUMS, defects, quarantine, seal, write_atomically, write_folder
from pbench.bench.engine.sealed import Damaged, opened_json, read_arrays, save_arrays, sealed_json
from pbench.bench.engine.temporaries import is_left_over, sweep, temporary_beside


@pytest.fixture
def folder(tmp_path):
    def fill(building):
        (building / "below").mkdir()
        (building / "a.npy").write_bytes(bytes(range(200)))
        (building / "below" / "b.json").write_text('{"b": 1}')
        (building / "empty").write_bytes(b"")

    write_folder(tmp_path / "made", fill)
    return tmp_path / "made"


def test_a_sealed_folder_lists_its_files_with_their_checksums(folder):
    listed = json.loads((folder / CHECKSUMS).read_text())
    assert sorted(listed) == ["a.npy", "below/b.json", "empty"]
    for name, facts in listed.items():
        data = (folder / name).read_bytes()
        assert facts == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert defects(folder) == [] and sorted(p.name for p in folder.parent.iterdir()) == ["made"]


def test_what_was_added_later_is_not_looked_at(folder):
    (folder / "splits").mkdir()
    (folder / "splits" / "x.json").write_text("{")
    assert defects(folder) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "a.npy").unlink(), "a.npy is missing"),
        (lambda f: (f / "below" / "b.json").write_text('{"b": 10}'), "below/b.json has 9 bytes, and 8 were written"),
        (lambda f: (f / "empty").write_bytes(b"x"), "empty has 1 bytes, and 0 were written"),
        (lambda f: ((f / "empty").unlink(), os.mkfifo(f / "empty")), "empty is no file"),
        (lambda f: (f / CHECKSUMS).unlink(), f"made has no {CHECKSUMS}"),
        (lambda f: (f / CHECKSUMS).write_text("{"), f"{CHECKSUMS} of made is no JSON"),
        (lambda f: (f / CHECKSUMS).write_text("[" * 100_000), f"{CHECKSUMS} of made is no JSON"),
        (lambda f: (f / CHECKSUMS).write_text("[]"), f"{CHECKSUMS} of made lists no files"),
        (lambda f: (f / CHECKSUMS).write_text('{"../x": {"size": 1, "sha256": ""}}'), "has an entry that is none: '../x'"),
        (lambda f: (f / CHECKSUMS).write_text('{"a.npy": 3}'), "has an entry that is none: 'a.npy'"),
    ],
)
def test_every_defect_of_a_folder_is_named(folder, damage, said):
    damage(folder)
    (found,) = defects(folder)
    assert said in found


def test_any_byte_that_changes_is_found(folder):
    path = folder / "a.npy"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        assert defects(folder) == ["a.npy has other content than was written (its checksum differs)"]
    listed = folder / CHECKSUMS
    path.write_bytes(whole)
    text = listed.read_bytes()
    for at in range(0, len(text), 3):
        listed.write_bytes(text[:at] + bytes([text[at] ^ (1 << at % 7)]) + text[at + 1 :])
        # What changes nothing that is said, such as the kind of a white space, is no defect.
        same = _parsed(listed) == json.loads(text)
        assert bool(defects(folder)) != same, listed.read_bytes()


def _parsed(path):
    try:
        return json.loads(path.read_bytes().decode())
    except ValueError:
        return None


def test_sealing_again_takes_what_is_there(folder):
    (folder / "a.npy").write_bytes(b"new")
    seal(folder)
    assert defects(folder) == []


def test_a_folder_that_is_not_sealed_is_written_as_it_is(tmp_path):
    write_folder(tmp_path / "plain", lambda f: (f / "x").write_text("x"), sealed=False)
    assert [p.name for p in (tmp_path / "plain").iterdir()] == ["x"]


def test_what_is_quarantined_is_kept_with_the_reason(tmp_path):
    (tmp_path / "records").mkdir()
    for text in ("one", "two", "three"):
        path = tmp_path / "records" / "x.json"
        path.write_text(text)
        moved = quarantine(path, f"because of {text}")
        assert moved.read_text() == text and moved.parent == tmp_path / "quarantine" and not path.exists()
        note = json.loads((moved.parent / f"{moved.name}.why.json").read_text())
        assert note["from"] == str(path) and note["why"] == f"because of {text}" and note["when"].endswith("+00:00")
    assert len(list((tmp_path / "quarantine").iterdir())) == 6
    assert quarantine(path, "again") == tmp_path / "quarantine"
    assert len(list((tmp_path / "quarantine").iterdir())) == 6


def test_a_cached_folder_goes_to_the_quarantine_of_the_cache(fresh_cache):
    made = fresh_cache / "screens" / "abc"
    write_folder(made, lambda f: (f / "x").write_text("x"))
    moved = quarantine(made, "damaged")
    assert moved == fresh_cache / "quarantine" / "abc" and (moved / "x").read_text() == "x"


def test_many_may_quarantine_at_once_and_nothing_is_lost(tmp_path):
    room = tmp_path / "records"
    room.mkdir()
    moved = []

    def work(number):
        for k in range(20):
            (room / f"{number}").mkdir(exist_ok=True)
            path = room / f"{number}" / "same.json"
            path.write_text(f"{number} {k}")
            moved.append(quarantine(path, "why", root=tmp_path))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    texts = {p.read_text() for p in (tmp_path / "quarantine").iterdir() if not p.name.endswith(".why.json")}
    assert texts == {f"{n} {k}" for n in range(6) for k in range(20)} and len(set(moved)) == 120


def test_many_may_ask_for_the_same_file(tmp_path):
    (tmp_path / "records").mkdir()
    path = tmp_path / "records" / "x"
    path.write_text("x")
    found = []
    threads = [threading.Thread(target=lambda: found.append(quarantine(path, "why"))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(p.name for p in (tmp_path / "quarantine").iterdir() if not p.name.endswith(".json")) == [
        p.name for p in found if p.name != "quarantine"
    ]
    assert sum(p.name != "quarantine" for p in found) == 1


def test_sealed_json_is_read_back_and_any_byte_that_changes_is_found():
    value = {"b": [1, 2.5, None], "a": {"ü": "x\n"}}
    data = sealed_json(value)
    assert opened_json(data) == (value, True) and json.loads(data)["b"] == value["b"]
    for at in range(len(data)):
        for bit in (0, 3, 6):
            changed = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
            try:
                assert opened_json(changed)[1] is False, (at, bit)
            except Damaged:
                continue
            # Without its checksum it is what an earlier version wrote, or it has a strange last entry.
            assert set(opened_json(changed)[0]) - set(value)
    for end in range(len(data)):
        with pytest.raises(Damaged):
            opened_json(data[:end])


@pytest.mark.parametrize("value", [{}, {"sha256": ""}, {"a": float("nan")}, {"a": float("inf")}])
def test_what_cannot_be_sealed_is_refused(value):
    with pytest.raises(ValueError):
        sealed_json(value)


@pytest.mark.parametrize("compressed", [True, False])
def test_an_archive_is_read_back_by_anything_and_any_byte_that_changes_is_found(tmp_path, compressed):
    path = tmp_path / "a.npz"
    values = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "text": np.array(["a", "bc"])}
    save_arrays(path, values, compressed=compressed)
    for found in (read_arrays(path), dict(np.load(path, allow_pickle=False))):
        assert sorted(found) == sorted(values)
        assert all(np.array_equal(found[n], values[n]) and found[n].dtype == values[n].dtype for n in values)
    assert zipfile.ZipFile(path).testzip() is None
    data = path.read_bytes()
    for at in [*range(0, len(data), 7), *range(len(data) - 100, len(data))]:
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        with pytest.raises(Damaged):
            read_arrays(path)
    for end in [*range(0, len(data), 7), *range(len(data) - 100, len(data))]:
        path.write_bytes(data[:end])
        with pytest.raises(Damaged):
            read_arrays(path)


def test_an_archive_of_an_earlier_version_has_no_checksum_and_is_read(tmp_path):
    np.savez(tmp_path / "old.npz", x=np.arange(3))
    assert read_arrays(tmp_path / "old.npz")["x"].tolist() == [0, 1, 2]


def test_objects_pipes_links_and_folders_are_no_archives(tmp_path):
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], dtype=object))
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    os.symlink(tmp_path / "pickle.npz", tmp_path / "link.npz")
    for name, said in (("pickle", "readable"), ("pipe", "special"), ("folder", "folder"), ("link", "link")):
        with pytest.raises(Damaged, match=said):
            read_arrays(tmp_path / f"{name}.npz")


def test_what_a_dead_process_was_writing_is_left_over_and_swept(tmp_path):
    program = "import os, sys; from pathlib import Path; from pbench.bench.engine.temporaries import temporary_beside as t\n"
    program += "t(Path(sys.argv[1]) / 'x.json').write_text('{'); os.mkdir(t(Path(sys.argv[1]) / 'screen', hidden=False))"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    mine = temporary_beside(tmp_path / "y.json")
    mine.write_text("being written")
    elsewhere = tmp_path / ".z.json.otherhost-1-0123abcd.tmp"
    elsewhere.write_text("being written elsewhere")
    left = [p for p in tmp_path.iterdir() if is_left_over(p)]
    assert len(left) == 2 and socket.gethostname()[:10].replace(".", "_") in left[0].name
    assert is_left_over(elsewhere, now=elsewhere.stat().st_mtime + 3601) and not is_left_over(elsewhere)
    assert sweep(tmp_path, tmp_path / "absent") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([mine.name, elsewhere.name])


def test_a_folder_that_a_dead_process_was_building_is_removed_when_it_is_built_again(tmp_path):
    program = "import os, sys; from pathlib import Path; from pbench.bench.engine.folders import write_folder\n"
    program += "write_folder(Path(sys.argv[1]), lambda f: ((f / 'half').write_text('x'), os._exit(9)))"
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "made")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_folder(tmp_path / "made", lambda f: (f / "whole").write_text("x"))
    assert [p.name for p in tmp_path.iterdir()] == ["made"] and defects(tmp_path / "made") == []


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (write_folder, write_atomically):
        with pytest.raises(PbenchError, match="cannot write .*what was finished is kept"):
            write(tmp_path / "file" / "below", lambda p: p.mkdir())

"""Bytes that change in any kind of file of results and cache: named by doctor, never used, made again by the next run."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest
from fault_writers import card_of, score_id, table_of

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.engine.encodings import agreements, save_encoding
from pbench.bench.engine.folders import QUARANTINE
from pbench.bench.engine.store import Store
from pbench.bench.engine.survey import survey_cache, survey_results

#: Of the results, by a pattern below their folder; what doctor names may be the file itself or the card that it belongs to.
RESULTS = (
    "records/*.json",
    "records/*.parquet",
    "predictions/*.npz",
    "encodings/*.npz",
    "checkpoints/*.npz",
    "agreements/*.json",
    "manifests/*.json",
)
#: Of the cache.
CACHE = (
    "screens/*/*.npy",
    "screens/*/screen.json",
    "screens/*/checksums.json",
    "screens/*/splits/*.index.json",
    "screens/*/splits/*.audit.json",
    "screens/*/splits/????????????????????????????????.json",
    "screens/*/splits/*/*.npy",
    "screens/*/splits/*/checksums.json",
)


def flip(data, dice):
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]


def zero(data, dice):
    at = dice.randrange(len(data))
    length = min(len(data) - at, dice.randrange(1, 600))
    return data[:at] + bytes(length) + data[at + length :]


def cut(data, dice):
    return data[: dice.randrange(len(data))]


def lengthen(data, dice):
    return data + dice.randbytes(dice.randrange(1, 100))


DAMAGE = (flip, flip, zero, cut, lengthen)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of results with every kind of file."""
    from pbench.bench.contracts.latents import Encoding

    folder = tmp_path_factory.mktemp("whole")
    store, rng = Store(folder), np.random.default_rng(0)
    cards = []
    for number in range(2):
        spec = {"data_id": "d", "split_id": "s", **card_of(number)["spec"]}
        more = {"encoded": True, "stochastic": True, "started": time.time(), "spec": spec}
        store.write(score_id(number), {**card_of(number), **more}, table_of(number))
        cards.append(store.card(score_id(number)))
        codes = {"z": rng.normal(size=(60, 3))}
        save_encoding(folder, score_id(number), Encoding(codes, None, {}), np.arange(60) % 2 == 0)
        store.save_checkpoint(score_id(number), {"w": rng.normal(size=50)})
    conditions = {Condition(("A",)): "train", Condition(("B",)): "test"}
    store.save_manifest(SplitManifest("d", "i", "doubles", {}, "1/1", 1, conditions))
    from fault_writers import CONDITIONS, GENES, answer_of

    store.save_prediction(score_id(0), CONDITIONS, GENES, answer_of(0))
    assert len(agreements(folder, cards)) == 1
    store.consolidate()
    assert survey_results(folder) == [] and all(list(folder.glob(pattern)) for pattern in RESULTS)
    return folder


def said_the_same(path, before):
    """Whether a changed manifest says what it said: its identity is its content, not its white space."""
    try:
        return path.parent.name == "manifests" and SplitManifest.load(path).id == before
    except Exception:  # noqa: BLE001 - whatever it raises, it does not say the same
        return False


@pytest.mark.parametrize("pattern", RESULTS)
def test_a_changed_file_of_the_results_is_named(results, pattern, dice, how_many):
    for _ in range(how_many(0.5, 6)):
        path = dice.choice(sorted(results.glob(pattern)))
        whole = path.read_bytes()
        identity = SplitManifest.load(path).id if path.parent.name == "manifests" else None
        changed = dice.choice(DAMAGE)(whole, dice)
        path.write_bytes(changed)
        found = survey_results(results)
        if changed != whole and not said_the_same(path, identity):
            named = {p for f in found if f.is_defect for p in (f.path, *f.with_it)}
            assert path in named, (path, [str(f) for f in found])
        path.write_bytes(whole)
    assert survey_results(results) == []


def test_a_changed_table_of_all_rows_is_named(results, dice, how_many):
    path = results / "records.parquet"
    whole = path.read_bytes()
    for _ in range(how_many(0.5, 6)):
        path.write_bytes(flip(whole, dice))
        found = survey_results(results)
        # Bytes that change no row, such as those of a statistic, do no harm.
        assert [f.path for f in found] == [path] or _same_rows(path, whole)
    path.write_bytes(whole)


def _same_rows(path, whole):
    import io

    import pyarrow.parquet as pq

    return pq.read_table(path).equals(pq.read_table(io.BytesIO(whole)))


def test_a_damaged_archive_of_codes_is_never_used(results, tmp_path, dice, how_many):
    from pbench.bench.engine.encodings import read_encoding

    folder = shutil.copytree(results, tmp_path / "copy")
    path = sorted((folder / "encodings").glob("*.npz"))[0]
    whole = path.read_bytes()
    for _ in range(how_many(0.5, 6)):
        path.write_bytes(dice.choice(DAMAGE)(whole, dice))
        assert path.read_bytes() == whole or read_encoding(folder, path.stem) is None


def test_damaged_results_are_put_aside_and_made_again(bench, undisturbed, read_contents, dice, tmp_path):
    """Doctor names each, moves each, and the next run gives what an undisturbed one gives; twice is as good as once."""
    out = shutil.copytree(bench.whole, tmp_path / "results")
    hurt = [dice.choice(sorted(out.glob(p))) for p in ("records/*.json", "records/*.parquet", "predictions/*.npz")]
    hurt = [*dict.fromkeys(hurt), next((out / "manifests").glob("*.json"))]
    for path in hurt:
        path.write_bytes(cut(path.read_bytes(), dice))
    doctor = ("doctor", "--no-cache", "--results", out)
    seen = bench.call(*doctor)
    assert seen.returncode == 1 and all(path.name.split(".")[0] in seen.stdout for path in hurt)
    assert "pbench doctor --repair --results" in seen.stdout and not (out / QUARANTINE).exists()
    mended = bench.call(*doctor, "--repair", "--json")
    assert mended.returncode == 0, mended.stderr
    moved = json.loads(mended.stdout)["repaired"]
    assert {p.name for p in hurt} <= {m["path"].rpartition("/")[2] for m in moved}
    assert all((out / QUARANTINE).joinpath(m["to"].rpartition("/")[2]).exists() for m in moved)
    done = bench.call(*bench.run_arguments(out))
    assert done.returncode == 0 and read_contents(out) == undisturbed
    last = bench.call(*doctor, "--repair", "--json")
    told = json.loads(last.stdout)
    assert last.returncode == 0 and told["repaired"] == [] and {f["kind"] for f in told["findings"]} == {"quarantine"}


def test_a_changed_byte_in_the_cache_reaches_no_number(bench, undisturbed, read_contents, dice, how_many, tmp_path):
    cache = shutil.copytree(bench.cache, tmp_path / "cache")
    patterns = [p for p in CACHE if list(cache.glob(p))]
    assert len(patterns) >= 6, patterns
    for number in range(how_many(0.05, 1)):
        out = tmp_path / f"results{number}"
        pattern = patterns[number % len(patterns)] if how_many() > 50 else dice.choice(patterns)
        path = dice.choice(sorted(cache.glob(pattern)))
        whole = path.read_bytes()
        changed = dice.choice(DAMAGE)(whole, dice)
        path.write_bytes(changed)
        named = [f for f in survey_cache(cache) if f.is_defect]
        done = bench.call(*bench.run_arguments(out), cache=cache)
        assert done.returncode == 0, done.stderr
        assert read_contents(out) == undisturbed
        if named:
            assert any(path == f.path or path.is_relative_to(f.path) for f in named)
            assert list((cache / QUARANTINE).iterdir())
            assert "is damaged" in done.stderr and "it was moved to" in done.stderr
        assert [f for f in survey_cache(cache) if f.is_defect] == []


def test_a_changed_byte_in_any_kind_of_cached_file_is_named(bench, undisturbed, dice, how_many):
    cache = bench.cache
    for pattern in (p for p in CACHE if list(cache.glob(p))):
        for _ in range(how_many(0.25, 2)):
            path = dice.choice(sorted(cache.glob(pattern)))
            whole = path.read_bytes()
            path.write_bytes(flip(whole, dice))
            named = [f for f in survey_cache(cache) if f.is_defect]
            harmless = path.suffix == ".json" and _parsed(path) == json.loads(whole) and "index" not in path.name
            assert harmless or any(path == f.path or path.is_relative_to(f.path) for f in named), path
            path.write_bytes(whole)
    assert [f for f in survey_cache(cache) if f.is_defect] == []


def _parsed(path):
    try:
        return json.loads(path.read_bytes().decode())
    except ValueError:
        return None

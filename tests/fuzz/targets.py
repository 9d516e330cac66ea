"""Every reader of what strangers write, as a function of bytes: it returns or raises one of our errors, and does nothing else."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seeds

from pbench.bench.contracts.errors import PbenchError


@dataclass(frozen=True)
class Target:
    """A reader.

    Parameters
    ----------
    read
        Reads the bytes; the folder is empty and its own.
    seeds
        Gives valid inputs.
    native
        Whether a library in C parses the bytes, which can end or hold up its process; commands call it in one of its own, so such
        an end is counted and is no find.
    """

    read: Callable[[bytes, Path], Any]
    seeds: Callable[[], list[bytes]]
    native: bool = False


def run(target: Target, data: bytes, folder: Path) -> bool:
    """Whether the bytes were taken; whatever else is raised than an error of ours, on one line that can be printed, comes out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target.read(data, folder)
        except PbenchError as error:
            said = str(error)
            if not said or len(said) > 5000 or not all(c.isprintable() for c in said):
                raise AssertionError(f"no sentence for people: {said[:500]!r}") from error
            return False
    return True


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _h5ad(data: bytes, folder: Path) -> None:
    from pbench.datasets.h5ad import columns, layers
    from pbench.datasets.reader import from_h5ad

    path = _file(folder, "x.h5ad", data)
    columns(path)
    layers(path)
    from_h5ad(path, scale="counts", context_key="context", dose_key="dose", time_key="time", batch_key="batch").load()


def _edited(data: bytes, folder: Path) -> None:
    from edits import edited

    _h5ad(edited(data, folder), folder)


def _zarr(data: bytes, folder: Path) -> None:
    from pbench.datasets.reader import from_h5ad

    data = data.ljust(2, b"\0")
    files = dict(seeds.zarr_store(2 + data[0] % 2))
    files[sorted(files)[data[1] % len(files)]] = data[2:]
    for name, content in files.items():
        _file(folder, f"x.zarr/{name}", content)
    from_h5ad(
        folder / "x.zarr", scale="counts", context_key="context", dose_key="dose", time_key="time", batch_key="batch"
    ).load()


def _predictions(name: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        from pbench.bench.engine.submission_files import open_predictions
        from pbench.bench.engine.submission_layouts import Reading

        path = _file(folder, name, data)
        keys = {"context_key": "context", "dose_key": "dose", "time_key": "time"} if name.endswith("h5ad") else {}
        reading = Reading(scale=None if name.endswith(".npz") else "log1p_1e4", **keys)
        with open_predictions(path, reading, folder / "scratch") as found:
            for _ in found.rows:
                pass

    return read


def _features(name: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        from pbench.datasets.feature_table import read_feature_table

        read_feature_table(_file(folder, name, data))

    return read


def _annotations(data: bytes, folder: Path) -> None:
    from pbench.datasets.gene2go import read_annotations

    read_annotations(_file(folder, "gene2go_all.pkl", data))


def _manifest(data: bytes, folder: Path) -> None:
    from pbench.bench.contracts.identity import content_id
    from pbench.bench.contracts.split import SplitManifest

    path = _file(folder, "m.json", data)
    try:
        SplitManifest.load(path)
    except PbenchError as error:
        if "was edited" not in str(error):
            raise
        # The identity is no secret: a stranger writes the one that fits.
        value = json.loads(data)
        value["id"] = content_id({k: v for k, v in value.items() if k != "id"})
        path.write_text(json.dumps(value))
        manifest = SplitManifest.load(path)
        assert manifest.name and manifest.with_role("test") is not None
        manifest.save(folder / "again.json")


def _bundle(data: bytes, folder: Path) -> None:
    from pbench.bench.engine.bundle import bundle_id, read_bundle
    from pbench.bench.engine.bundle_files import sha256

    files = dict(seeds.bundle())
    name = sorted(files)[data[0] % len(files)] if data else "rows.parquet"
    files[name] = data[1:]
    if name != "bundle.json":
        meta = json.loads(files["bundle.json"])
        meta["files"][name] = sha256(files[name])
        meta["id"] = bundle_id(meta)
        files["bundle.json"] = json.dumps(meta).encode()
    for each, content in files.items():
        _file(folder, f"one/{each}", content)
    read_bundle(folder / "one")


def _archived(data: bytes, folder: Path) -> None:
    from pbench.bench.engine.bundle_predictions import read_archived

    read_archived(_file(folder, f"predictions/{'0' * 32}.npz", data))


def _encoding(data: bytes, folder: Path) -> None:
    from pbench.bench.engine.encodings import read_agreements, read_encoding

    _file(folder, f"encodings/{'0' * 32}.npz", data)
    _file(folder, "agreements/0.json", data)
    read_encoding(folder, "0" * 64)
    read_agreements(folder)


def _among_results(folder: Path, change: Callable[[dict[str, bytes], str], None]) -> None:
    """Boards, and what doctor says, of a folder of results of which one record is changed."""
    from pbench.bench.cli.rendering import render_boards
    from pbench.bench.engine.store import Store
    from pbench.bench.engine.survey import survey_results

    whole = seeds.results()
    card = next(n for n in sorted(whole) if n.startswith("records/") and n.endswith(".json"))
    files = {n: d for n, d in whole.items() if not n.startswith("records/") or n.startswith(card.removesuffix(".json"))}
    change(files, card)
    for name, content in files.items():
        _file(folder, name, content)
    store = Store(folder)
    store.cards()
    store.damaged()
    survey_results(folder)
    render_boards(folder, lambda card: True)


def _record(data: bytes, folder: Path) -> None:
    """A stranger's card among whole records, sealed as they are: it is damaged, or stands on a board."""
    from pbench.bench.engine.sealed import sealed_json

    def change(files: dict[str, bytes], card: str) -> None:
        try:
            files[card] = sealed_json(json.loads(data))
        except (ValueError, RecursionError, TypeError, AttributeError):
            files[card] = data

    _among_results(folder, change)


def _record_rows(data: bytes, folder: Path) -> None:
    """A stranger's rows, with a card that says they are its own."""
    from pbench.bench.engine.bundle_files import sha256
    from pbench.bench.engine.sealed import opened_json, sealed_json

    def change(files: dict[str, bytes], card: str) -> None:
        value = opened_json(files[card])[0]
        files[f"records/{value['rows_file']}"] = data
        files[card] = sealed_json({**value, "rows_sha256": sha256(data)})

    _among_results(folder, change)


def _raw_record(data: bytes, folder: Path) -> None:
    from pbench.bench.engine.store import Store

    _file(folder, f"records/{'0' * 32}.json", data)
    _file(folder, f"records/{'0' * 32}.parquet", data)
    _file(folder, f"predictions/{'0' * 32}.npz", data)
    store = Store(folder)
    store.whole_and_damaged()
    store.prediction("0" * 64, ())


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _requests(data: bytes, folder: Path) -> None:
    import click

    from pbench.bench.cli.options import Memory
    from pbench.bench.cli.requests import parse_seeds
    from pbench.bench.engine.plan import parse_requests

    text = _text(data)
    for read in (
        lambda: parse_requests(text, ["additive", "knn", "ridge"], kind="model", groups={"ridge": "g"}, variants=["anchor"]),
        lambda: parse_seeds(text),
        lambda: Memory().convert(text, None, None),
    ):
        try:
            read()
        except (PbenchError, click.ClickException):
            pass


def _conditions(data: bytes, folder: Path) -> None:
    from pbench.bench.contracts.condition import Condition, parse_label
    from pbench.datasets.labels import canonical, constructs, guides, joined, numbered

    text = _text(data)
    try:
        value = Condition.from_dict(json.loads(data))
        assert Condition.from_dict(value.to_dict()) == value
        assert parse_label(value.label) == value.targets
        value.key.encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, PbenchError):
        pass
    for parse in (
        joined("+", control="ctrl"),
        joined(None, control="ctrl"),
        guides(),
        constructs(controls=["c"]),
        numbered(control="c"),
    ):
        try:
            label = canonical(text, parse, where="x")
        except PbenchError:
            continue
        assert canonical(label, joined("+", control="control"), where="x").encode()


def _completion(data: bytes, folder: Path) -> None:
    import os
    from unittest.mock import patch

    import click
    from click.shell_completion import BashComplete

    from pbench.bench.cli.main import cli

    line = "pbench " + _text(data).replace("\0", " ")
    given = {"COMP_WORDS": line, "COMP_CWORD": str(max(1, len(line.split()) - 1)), "_PBENCH_COMPLETE": "bash_complete"}
    with patch.dict(os.environ, {k: v.encode("utf-8", "replace").decode() for k, v in given.items()}):
        try:
            BashComplete(cli, {}, "pbench", "_PBENCH_COMPLETE").complete()
        except (click.ClickException, ValueError) as error:
            # `main` has no word for a shell in the middle of a line; ValueError is what shlex says of a quote without its second.
            assert isinstance(error, click.ClickException) or "quot" in str(error) or "escape" in str(error), error


def _history(data: bytes, folder: Path) -> None:
    from pbench.leaderboards.history import read_history

    read_history(_file(folder, "history.json", data))


def _escaped(data: bytes, folder: Path) -> None:
    from pbench.bench.cli.page_text import block, code, fenced, plain
    from pbench.leaderboards.site.script import script
    from pbench.leaderboards.text import escape

    text = _text(data)
    for made in (escape(text), plain(text), code(text)):
        assert "\n" not in made and all(c.isprintable() for c in made), made
    assert "<" not in escape(text) and "\x1b" not in fenced(text)
    assert "<" not in script("k", {text: text}) and script("k", text).isascii()
    block(text or "x")


TARGETS: dict[str, Target] = {
    "h5ad": Target(_h5ad, seeds.h5ads, native=True),
    "h5ad-edits": Target(_edited, lambda: [b"\0", b"\1\2\3\4", bytes(range(64)), bytes(range(255, 100, -1))]),
    "zarr": Target(_zarr, seeds.zarr_parts),
    "predictions-h5ad": Target(_predictions("p.h5ad"), seeds.h5ads, native=True),
    "predictions-csv": Target(_predictions("p.csv"), lambda: seeds.tables("csv")),
    "predictions-tsv": Target(_predictions("p.tsv"), lambda: seeds.tables("tsv")),
    "predictions-parquet": Target(_predictions("p.parquet"), lambda: seeds.tables("parquet")),
    "predictions-npz": Target(_predictions("p.npz"), seeds.archives),
    "features-csv": Target(_features("f.csv"), seeds.feature_texts),
    "features-parquet": Target(_features("f.parquet"), seeds.feature_parquets),
    "features-npz": Target(_features("f.npz"), seeds.feature_archives),
    "annotations": Target(_annotations, seeds.annotations),
    "manifest": Target(_manifest, seeds.manifests),
    "bundle": Target(_bundle, seeds.bundle_parts),
    "archived": Target(_archived, seeds.archives),
    "encoding": Target(
        _encoding, lambda: [seeds.npz(**{"report": __import__("numpy").ones(3), "code z": __import__("numpy").ones((3, 2))})]
    ),
    "record": Target(_record, seeds.cards),
    "record-rows": Target(_record_rows, seeds.rows),
    "raw-record": Target(_raw_record, lambda: [*seeds.cards(), *seeds.archives()]),
    "requests": Target(_requests, seeds.requests),
    "conditions": Target(_conditions, seeds.conditions),
    "completion": Target(_completion, lambda: [b"run --models ad", b"show pear", b"list ", b"run --metrics headl"]),
    "history": Target(
        _history, lambda: [b'{"format": 1, "releases": [{"version": "1", "numbers": [["d", "s", "m", "x", 1.0]]}]}']
    ),
    "escaped": Target(_escaped, lambda: [b"a|b`c`\n<script>", b"*_~[x](y)\\", b">>> x\n- a"]),
}

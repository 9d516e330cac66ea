"""Small made-up results and bundles on disk, without a model being run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from synthetic_records import Records, synthetic_records

from pbench.bench.contracts.condition import Condition
from pbench.bench.contracts.split import SplitManifest
from pbench.bench.engine.bundle_write import write_bundle
from pbench.bench.engine.plan import JobSpec
from pbench.bench.engine.store import Store
from pbench.bench.engine.tables import ROW_COLUMNS, as_table
from pbench.leaderboards.slugs import slug

MODELS = ("additive", "knn-pca", "ridge-pca", "scgen")


def small_records(*, boards=2, perturbations=8, codes=1, seed=0, seeds=2, models=MODELS) -> Records:
    """Records of two baselines and some models, with reference rows and adversaries."""
    return synthetic_records(
        len(models) + 2, boards, perturbations, seed, n_codes=codes, n_seeds=seeds, n_genes=0, names=list(models)
    )


def write_results(folder: Path, records: Records) -> Path:
    """Records as a folder of results of ``pbench run``."""
    store = Store(folder)
    manifests = {}
    by_job = dict(list(records.rows.groupby(["dataset", "split", "model", "fold", "seed"])))
    for card in records.cards:
        spec = dict(card["spec"])
        place = (spec["dataset"], spec["split"], spec["fold"])
        if place not in manifests:
            manifests[place] = SplitManifest(
                spec["dataset"], spec["data_id"], spec["split"], {}, spec["fold"], 1, {Condition(("GENE000",)): "test"}
            )
            store.save_manifest(manifests[place])
        spec = {f.name: spec.get(f.name, "0" * 16) for f in fields(JobSpec)} | {"split_id": manifests[place].id}
        given = {"metrics_failed": {}, "peak_memory_mb": 1.0} | dict(card) | {"spec": spec}
        rows = by_job.get((spec["dataset"], spec["split"], card["model"], spec["fold"], spec["seed"]))
        store.write(card["score_id"], given, None if card["status"] != "ok" else as_table(rows, ROW_COLUMNS))
    return folder


def bundle_all(results: Path, root: Path, name="first", models=("*",)) -> Path:
    """A bundle of each data set and split in a folder of results, where it belongs below a root."""
    for dataset, split in sorted({(c["spec"]["dataset"], c["spec"]["split"]) for c in Store(results).cards()}):
        home = root / "records" / slug(dataset) / slug(split) / name
        home.parent.mkdir(parents=True, exist_ok=True)
        write_bundle(results, home, dataset=dataset, split=split, models=models, predictions=False)
    return root


def change_values(results: Path, model: str, change: Callable[[Any], Any], later=1000.0) -> Path:
    """The same results in which a model was run again, `later` seconds after, and has other values."""
    store = Store(results)
    for card in store.cards():
        if card["model"] == model and card["status"] == "ok":
            rows = store.rows([card])
            rows["value"] = change(rows["value"])
            card = {**card, "started": card["started"] + later}
            store.write(card["score_id"], card, as_table(rows, ROW_COLUMNS))
    return results

"""One job, in a process of its own: assemble, ask, archive, score, record."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# pyarrow is imported by the server that job processes are forked from, so that none of them pays for it.
import pyarrow.parquet  # noqa: F401

from ..contracts import registry
from ..contracts.errors import TrainingFailed
from ..contracts.model import build
from ..contracts.resource import FeatureTable
from ..contracts.split import SplitManifest
from .answer import ask
from .assemble import Assembly
from .plan import JobSpec, PlannedModel
from .prepare import PreparedScreen, load_table
from .score import evaluate, failures, reads_spread, rows
from .store import OK, Store


@dataclass(frozen=True)
class Job:
    """A specification with where its inputs lie and where its results go."""

    spec: JobSpec
    score_id: str
    model: PlannedModel
    screen: Path
    manifest: Path
    cell_sums: Path | None
    resources: Mapping[str, Path | None]
    metrics: Sequence[str]
    store: Path
    plugins: Sequence[str]
    audit: Mapping[str, Any]
    cell_truth: Path | None = None
    refit: bool = False


def run_job(job: Job) -> dict[str, Any]:
    """Run a job and write its record; returns the run card."""
    began = time.time()
    start = time.perf_counter()
    load_plugins(job.plugins)
    screen = PreparedScreen(job.screen)
    assembly = Assembly(screen, SplitManifest.load(job.manifest), job.cell_sums)
    metrics = [registry.metrics.get(name) for name in job.metrics]
    model_class = registry.models.get(job.model.name)
    needs_cells = job.model.capabilities.needs_cells
    spread = reads_spread(metrics)
    # What is offered follows from what was asked, never from what an earlier run has left in the cache.
    offered = spread or needs_cells
    truth = assembly.truth(job.cell_truth, cells=offered)
    store = Store(job.store)
    answer = None if job.refit else store.prediction(job.spec.id, truth.conditions)
    if answer is not None and spread and (answer.has_cells or not (answer.cells_offered or needs_cells)):
        # Cells are not archived, and there may have been none to make them of: metrics that read them need the model again.
        answer = None
    rescored = answer is not None
    if answer is None:
        model = build(model_class, dict(job.model.params), name=job.model.name)
        tables = {name: _resource(screen, name, path) for name, path in job.resources.items()}
        data = assembly.training(tables, cells=needs_cells, controls=offered)
        try:
            answer = ask(model, data, truth, seed=job.spec.derived_seed, spread=spread)
        except TrainingFailed as error:
            if not error.checkpoint:
                raise
            raise TrainingFailed(f"{error} They lie in {store.save_checkpoint(job.spec.id, error.checkpoint)}.") from error
        store.save_prediction(job.spec.id, truth.conditions, screen.genes, answer)
    before = time.perf_counter()
    half = truth.against("half")
    scored_on_half = getattr(model_class, "scored_against", "all") == "half"
    against = half if scored_on_half else truth
    values = evaluate(metrics, against, answer)
    if scored_on_half:
        on_halves = values
    else:
        also = metrics if getattr(model_class, "calibrates", False) else [m for m in metrics if m.headline]
        on_halves = evaluate(also, half, answer)
    constants = {
        "model": job.model.label,
        "reference_row": job.model.reference_row,
        "dataset": job.spec.dataset,
        "split": job.spec.split,
        "fold": job.spec.fold,
        "seed": job.spec.seed,
    }
    table = rows(values, metrics, against, answer, constants, on_halves)
    seconds = dict(answer.seconds) | {"score": time.perf_counter() - before, "total": time.perf_counter() - start}
    card = base_card(job, began) | {
        "status": OK,
        "rescored": rescored,
        "seconds": {k: round(v, 4) for k, v in seconds.items()},
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "n_conditions": len(truth.conditions),
        "n_predicted": int((answer.absent == "").sum()),
        "n_fallback": int(answer.fallback.sum()),
        "absent": {c.key: str(a) for c, a in zip(truth.conditions, answer.absent, strict=True) if a},
        "metrics_failed": failures(values),
        "diagnostics": dict(answer.diagnostics),
    }
    store.write(job.score_id, card, table)
    return card


def base_card(job: Job, began: float) -> dict[str, Any]:
    """The part of a run card that is known before the job ran."""
    from importlib.metadata import version

    capabilities = job.model.capabilities
    return {
        "score_id": job.score_id,
        "job_id": job.spec.id,
        "spec": asdict(job.spec),
        "model": job.model.label,
        "origin": job.model.origin,
        "group": job.model.group,
        "reference_row": job.model.reference_row,
        "prior_knowledge": list(capabilities.prior_knowledge),
        "pretraining_overlap": capabilities.pretraining_overlap,
        "stochastic": capabilities.stochastic,
        "dataset_card": PreparedScreen(job.screen).meta["card"],
        "audit": dict(job.audit),
        "metrics": list(job.metrics),
        "pbench": version("pbench"),
        "machine": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "threads": os.environ.get("OMP_NUM_THREADS", ""),
        },
        "started": round(began, 3),
    }


def load_plugins(files: Sequence[str]) -> None:
    """Register plugin files in this process."""
    for file in files:
        registry.load_plugin_file(file)


def _resource(screen: PreparedScreen, name: str, path: Path | None) -> FeatureTable:
    table = screen.resource(name) if path is None else load_table(path)
    assert table is not None, name
    return table

"""One job, in a process of its own: assemble, ask, archive, score, record."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

# pyarrow is imported by the server that job processes are forked from, so that none of them pays for it.
import pyarrow.parquet  # noqa: F401

from ... import __version__ as pbench_version
from ..contracts import registry
from ..contracts.errors import TrainingFailed
from ..contracts.model import build
from ..contracts.resource import FeatureTable
from ..contracts.split import SplitManifest
from ..contracts.truth import Truth
from .answer import NOT_ASKED, Answer, ask
from .assemble import Assembly
from .encoding import HeldOut, claim_of
from .encodings import read_encoding, save_encoding
from .plan import JobSpec, PlannedModel
from .prepare import PreparedScreen, load_table
from .score import evaluate, failures, reads_spread, rows
from .store import OK, Store


@dataclass(frozen=True)
class Job:
    """A specification with where its inputs lie and where its results go.

    `memory_mb` is the bound on the private memory of a process that the user has set: cells that take more than a share of it
    stay on disk.
    """

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
    encode: bool = False
    turn: int = 0
    memory_mb: float | None = None


def run_job(job: Job) -> dict[str, Any]:
    """Run a job and write its record; returns the run card."""
    began = time.time()
    start = time.perf_counter()
    store = Store(job.store)
    if not job.refit and (done := store.card(job.score_id)) and finished(done) and done["audit"] == job.audit:
        # Another run of the same has finished it since this one was planned.
        return done
    load_plugins(job.plugins)
    screen = PreparedScreen(job.screen)
    bound = None if job.memory_mb is None else int(job.memory_mb * 2**20)
    assembly = Assembly(screen, SplitManifest.load(job.manifest), job.cell_sums, memory_bytes=bound)
    metrics = [registry.metrics.get(name) for name in job.metrics]
    model_class = registry.models.get(job.model.name)
    needs_cells = job.model.capabilities.needs_cells
    spread = reads_spread(metrics)
    # What is offered follows from what was asked, never from what an earlier run has left in the cache.
    offered = spread or needs_cells
    predict = any(not m.of_latents for m in metrics)
    encodes = job.encode and assembly.by_cell
    held_out = HeldOut(*assembly.held_out_cells()) if encodes else None
    truth = assembly.truth(job.cell_truth, cells=offered, ground=held_out.truth if held_out else None)
    answer = None if job.refit else archived(store, job.spec.id, truth, predict=predict, encode=encodes)
    if answer is not None and spread and (answer.has_cells or not (answer.cells_offered or needs_cells)):
        # Cells are not archived, and there may have been none to make them of: metrics that read them need the model again.
        answer = None
    rescored = answer is not None
    if answer is None:
        model = build(model_class, dict(job.model.params), name=job.model.name)
        tables = {name: _resource(screen, name, path) for name, path in job.resources.items()}
        data = assembly.training(tables, cells=needs_cells, controls=offered)
        try:
            seed = job.spec.derived_seed
            answer = ask(model, data, truth, seed=seed, spread=spread, predict=predict, held_out=held_out)
        except TrainingFailed as error:
            if not error.checkpoint:
                raise
            raise TrainingFailed(f"{error} They lie in {store.save_checkpoint(job.spec.id, error.checkpoint)}.") from error
        if predict:
            store.save_prediction(job.spec.id, truth.conditions, screen.genes, answer)
        if held_out is not None and answer.encoding is not None:
            save_encoding(store.folder, job.spec.id, answer.encoding, held_out.report)
    latents = held_out.beside(answer.encoding, claim_of(model_class)) if held_out and answer.encoding else None
    before = time.perf_counter()
    half = truth.against("half")
    scored_on_half = getattr(model_class, "scored_against", "all") == "half"
    against = half if scored_on_half else truth
    values = evaluate(metrics, against, answer, latents)
    if scored_on_half:
        on_halves = values
    else:
        calibrates = getattr(model_class, "calibrates", False)
        also = [m for m in metrics if (m.headline or calibrates) and not m.of_latents]
        on_halves = evaluate(also, half, answer)
    constants = {
        "model": job.model.label,
        "reference_row": job.model.reference_row,
        "dataset": job.spec.dataset,
        "split": job.spec.split,
        "fold": job.spec.fold,
        "seed": job.spec.seed,
    }
    table = rows(values, metrics, against, answer, constants, on_halves, latents.truth.names if latents else ())
    seconds = dict(answer.seconds) | {"score": time.perf_counter() - before, "total": time.perf_counter() - start}
    card = base_card(job, began) | {
        "status": OK,
        "rescored": rescored,
        "seconds": {k: round(v, 4) for k, v in seconds.items()},
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "encoded": answer.encoding is not None,
        "uses_condition_at_encode": answer.encoding is not None and answer.encoding.blind is not None,
        "claim": claim_of(model_class),
        "n_conditions": len(truth.conditions),
        "n_predicted": int((answer.absent == "").sum()),
        "n_fallback": int(answer.fallback.sum()),
        "absent": {c.key: str(a) for c, a in zip(truth.conditions, answer.absent, strict=True) if a},
        "metrics_failed": failures(values),
        "diagnostics": dict(answer.diagnostics),
    }
    store.write(job.score_id, card, table)
    return card


def finished(card: Mapping[str, Any]) -> bool:
    """Whether the job of a record need not run again: it ended well, and none of its metrics failed."""
    return card["status"] == OK and not card.get("metrics_failed")


def archived(store: Store, job_id: str, truth: Truth, *, predict: bool, encode: bool) -> Answer | None:
    """What an earlier run of the same job has kept, if it holds all that is asked for now."""
    encoding = read_encoding(store.folder, job_id) if encode else None
    if encode and encoding is None:
        return None
    if predict:
        answer = store.prediction(job_id, truth.conditions)
        return replace(answer, encoding=encoding) if answer is not None and encode else answer
    n = len(truth.conditions)
    nothing = np.full((n, len(truth.genes)), np.nan, dtype=np.float32)
    return Answer(nothing, np.zeros(n, bool), np.full(n, NOT_ASKED, object), {}, encoding=encoding) if encode else None


def base_card(job: Job, began: float) -> dict[str, Any]:
    """The part of a run card that is known before the job ran."""
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
        "predicts": any(not registry.metrics.get(name).of_latents for name in job.metrics),
        "pbench": pbench_version,
        "machine": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "threads": os.environ.get("OMP_NUM_THREADS", ""),
        },
        "started": round(began, 3),
        "turn": job.turn,
    }


def load_plugins(files: Sequence[str]) -> None:
    """Register plugin files in this process."""
    for file in files:
        registry.load_plugin_file(file)


def _resource(screen: PreparedScreen, name: str, path: Path | None) -> FeatureTable:
    table = screen.resource(name) if path is None else load_table(path)
    assert table is not None, name
    return table

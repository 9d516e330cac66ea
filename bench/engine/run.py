"""Run a matrix: stage the data, plan the jobs, do what is missing, and leave a record of every job."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from ..contracts import errors, registry
from ..contracts.metric import MetricInfo
from ..contracts.split import SplitManifest
from .apart import error_of, readers_memory
from .audit import audit, to_dict
from .encodings import agreements
from .execute import Outcome, execute
from .fingerprint import code_id
from .plan import JobSpec, PlannedModel, Request, scoring_id
from .progress_file import watched
from .resources import Resolved, resolve_resources
from .stage import DatasetRequest, Staged, StageRequest, stage
from .store import OK, Store
from .worker import Job, base_card, finished, run_job

#: Leakage rules about the model rather than the split: pretraining and side information.
MODEL_RULES = (10, 11)


@dataclass(frozen=True)
class Matrix:
    """What `run_matrix` is asked to do."""

    models: Sequence[Request]
    datasets: Sequence[DatasetRequest]
    splits: Sequence[Request | Path]
    seeds: Sequence[int]
    metrics: Sequence[str]
    out: Path
    preset: str = "standard"
    jobs: int = 1
    timeout: float | None = None
    memory_mb: float | None = None
    plugins: Sequence[str] = ()
    resources: Mapping[str, str] = field(default_factory=dict)
    overwrite: str = "missing"

    @property
    def encode(self) -> bool:
        """Whether any metric scores latent variables."""
        return any(registry.metrics.get(m).of_latents for m in self.metrics)

    @property
    def predict(self) -> bool:
        """Whether any metric scores predictions."""
        return any(not registry.metrics.get(m).of_latents for m in self.metrics)


class Reporter(Protocol):
    """Told what happens; the command line shows it."""

    def phase(self, text: str) -> None: ...
    def planned(self, total: int, done: int) -> None: ...
    def started(self, title: str) -> None: ...
    def finished(self, title: str, status: str, reason: str, seconds: float) -> None: ...


@dataclass(frozen=True)
class Summary:
    """What became of a matrix; `cards` are the run cards of all its jobs."""

    cards: list[dict[str, Any]]
    computed: int
    reused: int

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [c for c in self.cards if c["status"] not in (OK, "unavailable") or c.get("metrics_failed")]


def run_matrix(
    matrix: Matrix,
    reporter: Reporter,
    *,
    execute: Callable[..., Iterator[Outcome]] = execute,
    run_jobs: Callable[..., Iterator[Outcome]] | None = None,
) -> Summary:
    """Run every (model, data set, split, seed) that has no result yet.

    Parameters
    ----------
    execute
        How calls are made: `execute.execute` in processes of their own, or `execute.execute_here`.
    run_jobs
        How jobs are run, where they run elsewhere: an executor of `executors.executor`. Data are staged here in any case.

    Raises
    ------
    DataError, UsageError
        If data, splits or parameters are wrong, before any job runs.
    """
    limit_threads(matrix.jobs)
    store = Store(matrix.out)
    models = [PlannedModel.from_request(r, preset=matrix.preset) for r in matrix.models]
    if matrix.preset not in ("standard", "quick", "paper", *(p for m in models for p in m.presets)):
        presets = sorted({"standard", "quick", "paper"}.union(*(m.presets for m in models)))
        raise errors.UsageError(f"--preset {matrix.preset}: no chosen model has it. {errors.suggestion(matrix.preset, presets)}")
    metrics = [registry.metrics.get(m) for m in matrix.metrics]
    resolved = resolve_resources({r for m in models for r in m.capabilities.resources}, matrix.resources)
    staged = _stage_all(matrix, models, metrics, reporter, execute)
    jobs, cards = _plan(matrix, models, metrics, staged, resolved, store)
    lost = store.put_aside() if matrix.overwrite == "missing" else set()
    jobs = [replace(j, refit=True) if j.spec.id[:32] in lost else j for j in jobs]
    found = [] if matrix.overwrite == "always" else [c for j in jobs if not j.refit and (c := _reusable(j, store))]
    have = {c["score_id"] for c in found}
    todo = [j for j in jobs if j.score_id not in have] if matrix.overwrite != "never" else []
    cards += found
    reporter.planned(len(jobs), len(found))
    titles = [j.spec.title.replace(j.spec.model, j.model.label, 1) for j in todo]
    outcomes = (run_jobs or execute)(
        run_job,
        todo,
        workers=matrix.jobs,
        preload=slow_imports(models),
        timeout=matrix.timeout,
        memory_mb=matrix.memory_mb,
        on_start=lambda key: reporter.started(titles[key]),
    )
    try:
        for outcome in outcomes:
            card = outcome.value if outcome.status == OK else _failure(todo[outcome.key], outcome, store)
            cards.append(card)
            reporter.finished(titles[outcome.key], outcome.status, outcome.reason, outcome.seconds)
    finally:
        # Jobs are ended before what they were writing is cleared away.
        getattr(outcomes, "close", lambda: None)()
        store.sweep()
    store.check_kept(c["score_id"] for c in cards)
    store.consolidate()
    if matrix.encode:
        agreements(store.folder, cards)
    return Summary(cards, computed=len(todo), reused=len(found))


def _reusable(job: Job, store: Store) -> dict[str, Any] | None:
    """The card of a job that was done and in which no metric failed; its audit is that of today's rules."""
    card = store.card(job.score_id)
    if card is None or not finished(card):
        return None
    if card["audit"] != job.audit:
        card["audit"] = dict(job.audit)
        store.write(job.score_id, card)
    return card


def slow_imports(models: Sequence[PlannedModel]) -> list[str]:
    """Modules that jobs of these models would each import, in a fixed order; those of plugins are left to the jobs."""
    shared = {"numba", "pbench.bench.engine.warm", "scipy.stats", "scipy.spatial.distance"}
    own = {module for m in models if (module := registry.models.get(m.name).__module__).startswith("pbench.")}
    return sorted(shared.union(own, *(m.capabilities.imports for m in models)))


def limit_threads(jobs: int) -> None:
    """Share the cores among jobs, for the processes that are started from now on."""
    threads = str(max(1, (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) // jobs))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ.setdefault(name, threads)
    # Threads that wait for each other by spinning take the core from the one they wait for: on a machine that others use too,
    # training took fifteen times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _stage_all(
    matrix: Matrix,
    models: Sequence[PlannedModel],
    metrics: Sequence[MetricInfo],
    reporter: Reporter,
    execute: Callable[..., Iterator[Outcome]],
) -> list[Staged]:
    # Reference rows sample test cells; every other model says whether it reads cells.
    cells = matrix.encode or any(m.capabilities.needs_cells for m in models)
    cell_truth = any({"cells", "variance", "truth_cells", "de"} & {*m.needs, *m.reads} for m in metrics)
    requests = []
    for dataset in matrix.datasets:
        reporter.phase(f"reading {dataset.name}")
        data_id = dataset.dataset().data_id()
        requests.append(
            StageRequest(dataset, data_id, matrix.splits, cells, matrix.plugins, cell_truth, memory_mb=matrix.memory_mb)
        )
    staged: dict[int, Staged] = {}
    with TemporaryDirectory(prefix="pbench-") as folder:
        requests = [replace(request, progress=Path(folder) / str(k)) for k, request in enumerate(requests)]
        titles = [f"preparing {request.dataset.name}" for request in requests]
        tell = [lambda text, title=title: reporter.phase(f"{title}: {text}") for title in titles]
        with watched({Path(folder) / str(k): told for k, told in enumerate(tell)}):
            outcomes = execute(
                stage,
                requests,
                workers=matrix.jobs,
                preload=slow_imports(models),
                memory_mb=matrix.memory_mb or (readers_memory() if any(d.path for d in matrix.datasets) else None),
                on_start=lambda k: reporter.phase(titles[k]),
            )
            for outcome in outcomes:
                if outcome.status != OK:
                    asked = requests[outcome.key].dataset
                    what = f"data set '{asked.name}' ({asked.path or 'registered'}) could not be prepared"
                    raise error_of(outcome, what, blamed=("killed",))
                staged[outcome.key] = outcome.value
    return [staged[k] for k in range(len(requests))]


def _plan(
    matrix: Matrix,
    models: Sequence[PlannedModel],
    metrics: Sequence[Any],
    staged: Sequence[Staged],
    resolved: Mapping[str, Resolved],
    store: Store,
) -> tuple[list[Job], list[dict[str, Any]]]:
    """Jobs to do, and the cards of those that cannot be done for want of a resource."""
    from .prepare import PreparedScreen

    jobs: list[Job] = []
    unavailable: list[dict[str, Any]] = []
    turn = store.next_turn()
    engine = code_id("pbench.bench.engine.answer"), code_id("pbench.bench.engine.assemble")
    for data in staged:
        meta = PreparedScreen(data.screen).meta
        for split in data.splits:
            manifest = SplitManifest.load(split.manifest)
            store.save_manifest(manifest)
            for model in models:
                sources = {name: resolved[name].for_screen(meta["resources"]) for name in model.capabilities.resources}
                audited = _with_model(split.audit, manifest, model, sources)
                missing = [s.missing for s in sources.values() if s.missing] + _unable(matrix, model, meta["paired"])
                for seed in model.seeds(matrix.seeds):
                    spec = JobSpec(
                        model=model.name,
                        params=model.params,
                        model_code=model.code,
                        dataset=data.dataset,
                        data_id=data.data_id,
                        split=manifest.name,
                        split_id=manifest.id,
                        fold=manifest.fold,
                        seed=seed,
                        resources={name: source.identity for name, source in sources.items()},
                        environment=model.environment,
                        engine="+".join(e[:16] for e in engine),
                    )
                    job = Job(
                        spec=spec,
                        score_id=scoring_id(spec.id, metrics),
                        model=model,
                        screen=data.screen,
                        manifest=split.manifest,
                        cell_sums=split.cell_sums,
                        cell_truth=split.cell_truth,
                        resources={name: source.path for name, source in sources.items()},
                        metrics=tuple(matrix.metrics),
                        store=matrix.out,
                        plugins=tuple(matrix.plugins),
                        audit=audited,
                        refit=matrix.overwrite == "always",
                        encode=matrix.encode,
                        turn=turn,
                        memory_mb=matrix.memory_mb,
                    )
                    if missing:
                        card = base_card(job, time.time()) | {"status": "unavailable", "reason": missing[0]}
                        store.write(job.score_id, card)
                        unavailable.append(card)
                    else:
                        jobs.append(job)
    return jobs, unavailable


def _unable(matrix: Matrix, model: PlannedModel, paired: bool) -> list[str]:
    """Why a model cannot take part on a screen, whatever its split."""
    if model.capabilities.needs_pairs and not paired:
        return ["capability: needs units that were observed at several times, and these are snapshots"]
    if not matrix.predict and not hasattr(registry.models.get(model.name), "encode"):
        return ["capability: it has no encode, and only latent variables are asked for"]
    return []


def _with_model(
    split_audit: Mapping[str, Any], manifest: SplitManifest, model: PlannedModel, sources: Mapping[str, Any]
) -> dict[str, Any]:
    """The split's audit with the findings that depend on the model in place of their empty ones."""
    tables = {name: source.table for name, source in sources.items() if source.table is not None}
    own = to_dict(f for f in audit(manifest, None, capabilities=model.capabilities, resources=tables) if f.rule in MODEL_RULES)
    rest = [f for f in split_audit["findings"] if f["rule"] not in MODEL_RULES]
    worst = max((split_audit["status"], own["status"]), key=("pass", "warn", "fail").index)
    return {"status": worst, "findings": sorted(rest + own["findings"], key=lambda f: f["rule"])}


def _failure(job: Job, outcome: Outcome, store: Store) -> dict[str, Any]:
    card = base_card(job, time.time() - outcome.seconds) | {
        "status": outcome.status,
        # What a model raises may be as long as it likes; a card that holds all of it would be read as none.
        "reason": outcome.reason[: errors.LONGEST],
        "traceback": outcome.traceback,
        "seconds": {"total": round(outcome.seconds, 4)},
    }
    store.write(job.score_id, card)
    return card

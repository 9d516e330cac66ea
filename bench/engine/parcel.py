"""A job as it travels to another machine, and what comes back from there."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__ as pbench_version
from ..contracts import registry
from ..contracts.errors import PbenchError
from .counted import age
from .execute import Outcome, execute
from .fingerprint import COMPILED, code_id, environment
from .folders import write_atomically
from .goods import Goods, moved
from .record import OK, rows_path
from .store import Store
from .temporaries import is_temporary, sweep, temporary_beside

if TYPE_CHECKING:
    from .worker import Job

#: Variables that decide how many threads compute and how they wait, and so the last bits of a number and its time.
THREADS = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "PYTHONHASHSEED",
    "CUBLAS_WORKSPACE_CONFIG",
)
#: Folders of the store in which answers of earlier runs lie, by the id of the job.
ARCHIVES = ("predictions", "encodings")


@dataclass(frozen=True)
class Parcel:
    """A job with what it needs elsewhere.

    Parameters
    ----------
    function
        What is called with the job, found by its name.
    goods
        What the job reads, by its paths.
    archived
        Files of the results that it may read: name below the folder, and bytes.
    threads
        Values of `THREADS` where it was planned; those that are unset are absent.
    code
        What `code_of` said where it was planned.
    timeout, memory_mb, preload
        As for `execute`.
    """

    function: Callable[[Any], Any]
    job: Job
    goods: Mapping[Path, Goods]
    archived: Mapping[str, bytes]
    threads: Mapping[str, str]
    code: Mapping[str, str]
    timeout: float | None = None
    memory_mb: float | None = None
    preload: Sequence[str] = ()


@dataclass(frozen=True)
class Delivery:
    """What came of a parcel: an outcome with the files of its record, or why there is none.

    Parameters
    ----------
    lacking
        Paths of the job whose files the machine neither sees nor has been sent.
    trouble
        What is wrong with the machine; the job did not run, or may run elsewhere.
    """

    outcome: Outcome | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    lacking: tuple[Path, ...] = ()
    trouble: str = ""


def parcel_of(
    function: Callable[[Any], Any],
    job: Job,
    goods: Mapping[Path, Goods],
    *,
    timeout: float | None,
    memory_mb: float | None,
    preload: Sequence[str],
) -> Parcel:
    """Pack a job, with the answer and the record that the results hold of it already."""
    threads = {name: os.environ[name] for name in THREADS if name in os.environ}
    names = [*(f"{kind}/{job.spec.id[:32]}*" for kind in ARCHIVES), f"records/{job.score_id[:32]}*"]
    found = [] if job.refit else [p for name in names for p in job.store.glob(name)]
    archived = {p.relative_to(job.store).as_posix(): p.read_bytes() for p in found if p.is_file()}
    return Parcel(function, job, goods, archived, threads, code_of(job), timeout, memory_mb, preload)


def code_of(job: Job) -> dict[str, str]:
    """What this machine would compute a job with: code of the engine and of the model, and versions that change numbers.

    The code of an installed plugin is not looked at, for it would have to be imported; that of a plugin file travels with the job.
    """
    target = registry.models.entry(job.model.name).target if job.model.origin == "built in" else ""
    packages = tuple(sorted({*job.model.capabilities.packages, *COMPILED}))
    return {"pbench": pbench_version, **_versions(packages), "code": _code(target.partition(":")[0])}


@cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return environment(packages)


@cache
def _code(model: str) -> str:
    return "+".join(code_id(module)[:16] for module in ("pbench.bench.engine.worker", model) if module)


def opened(parcel: Parcel, *, store: Path, load: Callable[[Any], Any]) -> Delivery:
    """Run the job of a parcel on this machine, guarded as it is at home; nothing is raised.

    Parameters
    ----------
    store
        Where this machine keeps what was brought to it.
    load
        Gives what references in the goods stand for.
    """
    scratch = None
    try:
        if said := _different(parcel.code, code_of(parcel.job)):
            return Delivery(trouble=said)
        places = {path: goods.placed(store, load) for path, goods in parcel.goods.items()}
        if lacking := tuple(path for path, place in places.items() if place is None):
            return Delivery(lacking=lacking)
        # Of the jobs of this machine that were killed; the names say whose they were.
        sweep(store / "jobs")
        scratch = temporary_beside(store / "jobs" / "job", hidden=False)
        scratch.mkdir(parents=True)
        _write_all(scratch, parcel.archived)
        job = moved(replace(parcel.job, store=scratch), {p: place / p.name for p, place in places.items() if place is not None})
        outcome = _guarded(parcel, job)
        found = [p for p in sorted(scratch.rglob("*")) if p.is_file() and not is_temporary(p.name)]
        files = {p.relative_to(scratch).as_posix(): p.read_bytes() for p in found}
        changed = {name: data for name, data in files.items() if parcel.archived.get(name) != data}
        # Whoever reads it is told where things will lie, not where they lay.
        home = {name: getattr(outcome, name).replace(str(scratch), str(parcel.job.store)) for name in ("reason", "traceback")}
        return Delivery(replace(outcome, **home), changed)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with this machine is told to the one that sent the parcel
        text = str(error) if isinstance(error, PbenchError) else f"{type(error).__name__}: {error}"
        return Delivery(trouble=f"{platform.node()}: {text}")
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _different(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    differs = [name for name in there if there[name] != here.get(name)]
    if not differs:
        return ""
    name = differs[0]
    said = f"{name} {here.get(name, 'none')} where the run was started with {there[name]}"
    what = "other code of pbench or of the model" if name == "code" else said
    return f"{platform.node()} computes with {what}; install the same versions on all machines, or its numbers are other ones"


def _guarded(parcel: Parcel, job: Job) -> Outcome:
    """The outcome of the job in a process of its own, with the threads of the machine that it comes from."""
    own = {name: value for name, value in os.environ.items() if name in THREADS}
    # Which of the GPUs are this job's is decided anew for each job, and the server of its process was started for an earlier one.
    devices = {name: value for name, value in os.environ.items() if name.endswith("_VISIBLE_DEVICES")}
    try:
        _set_threads(parcel.threads)
        with _no_main():
            [outcome] = execute(
                _in_environment,
                [(parcel.function, job, parcel.threads, devices)],
                workers=1,
                timeout=parcel.timeout,
                memory_mb=parcel.memory_mb,
                preload=parcel.preload,
            )
        return outcome
    finally:
        _set_threads(own)


def _in_environment(call: tuple[Callable[[Any], Any], Any, Mapping[str, str], Mapping[str, str]]) -> Any:
    function, argument, threads, devices = call
    _set_threads(threads)
    os.environ.update(devices)
    return function(argument)


def _set_threads(wanted: Mapping[str, str]) -> None:
    for name in THREADS:
        os.environ.pop(name, None)
    os.environ.update(wanted)


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Hide the program that runs here, which each process of a job would otherwise import: that of Ray takes a second."""
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    try:
        for name in kept:
            setattr(main, name, None)
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        write_atomically(folder / name, lambda p, data=data: p.write_bytes(data))


def received(delivery: Delivery, job: Job) -> Outcome:
    """Put what came back among the results, cards last, and return the outcome.

    A whole record of the same scores that another run has written meanwhile stays, if it is newer.
    """
    outcome = delivery.outcome
    assert outcome is not None
    store = Store(job.store)
    card = job.store / "records" / f"{job.score_id[:32]}.json"
    earlier = store.card(job.score_id)
    if outcome.status == OK and earlier is not None and earlier["status"] == OK and age(earlier) > age(outcome.value):
        return replace(outcome, value=earlier)
    last = sorted(delivery.files, key=lambda name: (name.startswith("records/") and name.endswith(".json"), name))
    try:
        for name in last:
            _write_all(job.store, {name: delivery.files[name]})
    except PbenchError as error:
        return replace(outcome, status="failed", value=None, reason=str(error), exit_code=error.exit_code)
    if outcome.status == OK and earlier is not None:
        old, new = rows_path(card, earlier), rows_path(card, store.card(job.score_id) or earlier)
        if old is not None and old != new:
            old.unlink(missing_ok=True)
    return outcome

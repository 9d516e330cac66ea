"""Jobs on a SLURM cluster, submitted through submitit: an array for each kind of machine that cards ask for."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from ..contracts.errors import PbenchError, UsageError, suggestion
from .execute import Outcome
from .executors import Need
from .folders import cache_folder, write_atomically
from .goods import Supply
from .parcel import Delivery, Parcel, opened, parcel_of, received

#: Times that a job is submitted again after it ended without a word.
RETRIES = 2
#: Minutes that are asked for where neither the option time nor --timeout says anything, and that are added to a --timeout.
MINUTES, MARGIN = 240, 10
#: Seconds between two looks at what the queue has done.
POLL = 2.0
#: Jobs of an array; clusters take 1,000 unless they were configured otherwise.
ARRAY = 1000
#: States after which another attempt would end in the same way.
FINAL = ("TIMEOUT", "OUT_OF_MEMORY")


def _cluster(text: str) -> str:
    if text not in ("slurm", "local", "debug"):
        raise ValueError(suggestion(text, ("slurm", "local", "debug")).rstrip("."))
    return text


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise ValueError("give a whole number from 1 on")
    return int(text)


#: Options of ``--executor slurm:…`` and how their values are read; `cluster` is submitit's own name of what runs the jobs.
OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "partition": str,
    "account": str,
    "qos": str,
    "constraint": str,
    "exclude": str,
    "nodelist": str,
    "time": _count,
    "array": _count,
    "cluster": _cluster,
}


class SlurmExecutor:
    """Jobs as tasks of SLURM arrays, each in a guarded process of its own on the machine that it comes to.

    Parameters
    ----------
    folder
        Where submitit keeps what it sends and the logs, on a disk that all machines see; what has ended well is removed.
    options
        Values of `OPTIONS`.
    shared
        Whether machines may read inputs where they lie here, if they see the same folder; else they get a copy in `folder`.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any] | None = None, *, shared: bool = True) -> None:
        self.folder, self.options, self.shared = folder.absolute(), dict(options or {}), shared
        self.cluster: str = self.options.get("cluster", "slurm")

    def __enter__(self) -> Self:
        if self.cluster == "slurm" and (missing := [p for p in ("sbatch", "srun") if shutil.which(p) is None]):
            raise UsageError(
                f"--executor slurm: there is no {missing[0]} on this machine; run pbench where jobs are submitted, or leave out "
                "--executor to use the processes of this machine."
            )
        return self

    def __exit__(self, *raised: object) -> None:
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def __call__(
        self,
        function: Callable[[Any], Any],
        arguments: Sequence[Any],
        *,
        workers: int,
        timeout: float | None = None,
        memory_mb: float | None = None,
        preload: Sequence[str] = (),
        on_start: Callable[[int], None] = lambda key: None,
    ) -> Iterator[Outcome]:
        """As `execute`, for jobs; `workers` counts only where submitit runs them on this machine, else the queue decides."""
        if not arguments:
            return
        supply = Supply(arguments, shared=self.shared)
        folder = self.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:6]}"

        def parcel(key: int) -> Parcel:
            job = arguments[key]
            # A task runs one job: what others would import is not imported for it.
            return parcel_of(function, job, supply.goods(job), timeout=timeout, memory_mb=memory_mb, preload=())

        try:
            yield from _Queue(self, folder, arguments, workers, timeout, memory_mb, supply, parcel, on_start).outcomes()
        finally:
            supply.close()

    def submitter(self, folder: Path, need: Need, timeout: float | None) -> Any:
        """The executor of submitit for jobs of one kind."""
        import submitit

        minutes = self.options.get("time") or (MINUTES if timeout is None else math.ceil(timeout / 60) + MARGIN)
        found = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
        asked: dict[str, Any] = {"timeout_min": minutes, "cpus_per_task": math.ceil(need.cpus), "name": "pbench"}
        if need.gpus:
            asked["gpus_per_node"] = math.ceil(need.gpus)
        if need.memory_mb:
            asked["mem_gb"] = need.memory_mb / 1024
        if self.cluster == "slurm":
            asked["slurm_array_parallelism"] = self.options.get("array", ARRAY)
            named = ("partition", "account", "qos", "constraint", "exclude", "nodelist")
            asked |= {f"slurm_{name}": self.options[name] for name in named if name in self.options}
        found.update_parameters(**asked)
        return found


class _Queue:
    """The jobs of one call on their way through the queue."""

    def __init__(
        self,
        executor: SlurmExecutor,
        folder: Path,
        jobs: Sequence[Any],
        workers: int,
        timeout: float | None,
        memory_mb: float | None,
        supply: Supply,
        parcel: Callable[[int], Parcel],
        on_start: Callable[[int], None],
    ) -> None:
        self.executor, self.folder, self.jobs, self.timeout = executor, folder, jobs, timeout
        self.supply, self.parcel, self.on_start = supply, parcel, on_start
        self.queued = executor.cluster == "slurm"
        self.at_a_time = len(jobs) if self.queued else workers
        self.needs = [Need.of(job.model.capabilities, memory_mb, job.model.params) for job in jobs]
        self.waiting = deque(range(len(jobs)))
        self.sent: dict[int, Any] = {}
        self.started: set[int] = set()
        self.tries: Counter[int] = Counter()
        self.copied: set[Path] = set()
        self.had: dict[int, set[Path]] = {}
        self.lost: set[int] = set()

    def outcomes(self) -> Iterator[Outcome]:
        try:
            while self.waiting or self.sent:
                self._submit()
                before = len(self.sent)
                for key, task in list(self.sent.items()):
                    if not self.queued or task.paths.stdout.exists():
                        self._start(key)
                    if task.done():
                        del self.sent[key]
                        outcome = self._come_back(key, task)
                        self._tidy(task, keep_logs=key in self.lost)
                        if outcome is not None:
                            self._start(key)
                            yield outcome
                if len(self.sent) == before:
                    time.sleep(POLL if self.queued else 0.05)
        finally:
            for task in self.sent.values():
                with contextlib.suppress(Exception):
                    task.cancel(check=False)
            self._leave()

    def _submit(self) -> None:
        """Hand over what there is room for, together where the needs are the same."""
        chosen = [self.waiting.popleft() for _ in range(min(len(self.waiting), self.at_a_time - len(self.sent)))]
        for need in dict.fromkeys(self.needs[k] for k in chosen):
            alike = [k for k in chosen if self.needs[k] == need]
            for i in range(0, len(alike), ARRAY):
                keys = alike[i : i + ARRAY]
                submitter = self.executor.submitter(self.folder, need, self.timeout)
                try:
                    with submitter.batch() if self.queued else contextlib.nullcontext():
                        tasks = [submitter.submit(_open_there, self.parcel(k)) for k in keys]
                except Exception as error:
                    raise PbenchError(
                        f"--executor slurm: the jobs were not taken ({need}): {' '.join(str(error).split())[:300]}. See what the "
                        "cluster offers with: sinfo"
                    ) from error
                self.sent |= dict(zip(keys, tasks, strict=True))
                self.had |= {k: set(self.copied) for k in keys}

    def _start(self, key: int) -> None:
        if key not in self.started:
            self.started.add(key)
            self.on_start(key)

    def _come_back(self, key: int, task: Any) -> Outcome | None:
        """The outcome of a task that has ended; None if it was handed over again."""
        state, status = str(task.state), "killed"
        try:
            if not self.queued and hasattr(task, "_process") and not task.paths.result_pickle.exists():
                raise RuntimeError("its process ended without a result")
            delivery: Delivery = task.result()
        except Exception as error:  # noqa: BLE001 - submitit's, of the unpickled function, of a broken result
            reason = f"its task was lost (state {state}): {' '.join(str(error).split())[:200]}"
        else:
            if delivery.outcome is not None:
                return Outcome(**{**vars(received(delivery, self.jobs[key])), "key": key})
            if delivery.lacking and not self.had[key] & set(delivery.lacking):
                self._copy([p for p in delivery.lacking if p not in self.copied])
                self.waiting.appendleft(key)
                return None
            status, reason = "failed", delivery.trouble or f"its machine does not see {self.folder}"
        self.lost.add(key)
        self.tries[key] += 1
        if self.tries[key] > RETRIES or state.startswith(FINAL):
            more = " ask for more with the options of --executor slurm;" if state.startswith(FINAL) else ""
            return Outcome(key, status, reason=f"{reason};{more} logs lie in {self.folder}")
        self.waiting.appendleft(key)
        return None

    def _copy(self, lacking: Sequence[Path]) -> None:
        """Put goods where all machines see them."""
        goods = self.folder / "goods"
        text = uuid4().hex
        token = goods / "token"
        if token.exists():
            text = token.read_text()
        else:
            write_atomically(token, lambda p: p.write_text(text))
        for path in lacking:
            self.supply.of[path] = self.supply.of[path].copied(goods / uuid4().hex[:12], (token, text))
            self.copied.add(path)

    @staticmethod
    def _tidy(task: Any, *, keep_logs: bool) -> None:
        files = [task.paths.submitted_pickle, task.paths.result_pickle]
        for file in files + ([] if keep_logs else [task.paths.stdout, task.paths.stderr]):
            with contextlib.suppress(OSError):
                file.unlink()

    def _leave(self) -> None:
        """Remove all but the logs of what was lost."""
        shutil.rmtree(self.folder / "goods", ignore_errors=True)
        for file in (*self.folder.glob("*.pkl"), *self.folder.glob("*.sh"), *self.folder.glob("*.pkl_tmp")):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def _open_there(parcel: Parcel) -> Delivery:
    return opened(parcel, store=cache_folder() / "shipped", load=lambda reference: reference)

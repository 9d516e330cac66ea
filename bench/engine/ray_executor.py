"""Jobs as tasks of a Ray cluster, given out and taken back until every one has an outcome."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from ..contracts.errors import PbenchError
from .execute import Outcome
from .executors import Need
from .folders import cache_folder
from .goods import Supply
from .parcel import Delivery, Parcel, opened, parcel_of, received
from .ray_connection import RayConnection

#: Times that a job is given out again after its machine was lost.
RETRIES = 3
#: Seconds to wait for a machine that a job fits on, in case one joins.
PATIENCE = 60.0
#: Seconds that jobs are given to end when the run is broken off.
GOODBYE = 5.0
#: Part of the cluster that may be asked for at a time: what waits beyond 1 keeps machines busy, and tells an autoscaler.
DEMAND = 2.0


class RayExecutor:
    """Jobs as tasks of a Ray cluster, each in a guarded process of its own on the machine that it comes to.

    Parameters
    ----------
    address
        ``HOST:PORT`` or ``auto``; None starts a cluster of this machine.
    shared
        Whether machines may read inputs where they lie here, if they see the same folder.
    apart
        Whether each node keeps what is brought to it in a folder of its own, though another is on the same machine.
    """

    def __init__(self, address: str | None = None, *, shared: bool = True, apart: bool = False) -> None:
        self.connection, self.shared, self.apart = RayConnection(address), shared, apart

    def __enter__(self) -> Self:
        # Whether somebody answers is known before data are prepared; a cluster of this machine waits until there are jobs.
        if self.connection.address is not None:
            self.connection.open()
        return self

    def __exit__(self, *raised: object) -> None:
        self.connection.close()

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
        """As `execute`, for jobs; `workers` is the number of cores of a cluster that is started here, others say their own."""
        if not arguments:
            return
        needs = [Need.of(job.model.capabilities, memory_mb, job.model.params) for job in arguments]
        self.connection.open(cpus=max(workers, *(math.ceil(need.cpus) for need in needs)))
        supply = Supply(arguments, shared=self.shared)

        def parcel(key: int) -> Parcel:
            job = arguments[key]
            return parcel_of(function, job, supply.goods(job), timeout=timeout, memory_mb=memory_mb, preload=[*preload])

        try:
            yield from _Round(arguments, needs, supply, parcel, on_start, apart=self.apart).outcomes()
        finally:
            supply.close()


class _Round:
    """The jobs of one call on their way out and back."""

    def __init__(
        self,
        jobs: Sequence[Any],
        needs: Sequence[Need],
        supply: Supply,
        parcel: Callable[[int], Parcel],
        on_start: Callable[[int], None],
        *,
        apart: bool,
    ) -> None:
        import ray

        self.ray: Any = ray
        self.jobs, self.needs, self.supply, self.parcel, self.on_start = jobs, needs, supply, parcel, on_start
        self.task = ray.remote(max_retries=0, max_calls=0)(_open_there)
        self.apart = apart
        self.waiting = deque(range(len(jobs)))
        self.flying: dict[Any, int] = {}
        self.started: set[int] = set()
        self.tries: Counter[int] = Counter()
        self.homeless: dict[int, float] = {}
        self.looked = 0.0

    def outcomes(self) -> Iterator[Outcome]:
        try:
            while self.waiting or self.flying:
                self._look()
                yield from self._stranded()
                self._send()
                ready = self.ray.wait(list(self.flying), num_returns=1, timeout=1.0)[0] if self.flying else []
                if not self.flying and self.waiting:
                    time.sleep(0.2)
                for reference in ready:
                    key = self.flying.pop(reference)
                    outcome = self._come_back(key, reference)
                    del reference
                    if outcome is not None:
                        self._start(key)
                        yield outcome
        finally:
            for reference in self.flying:
                with contextlib.suppress(Exception):
                    self.ray.cancel(reference, force=True)
            if self.flying:
                with contextlib.suppress(Exception):
                    self.ray.wait(list(self.flying), num_returns=len(self.flying), timeout=GOODBYE)

    def _look(self) -> None:
        """Which machines there are, once a second."""
        if time.monotonic() - self.looked < 1.0:
            return
        self.looked = time.monotonic()
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        self.nodes = [Need(r.get("CPU", 0), r.get("GPU", 0), r.get("memory", 0) / 2**20) for r in alive]
        self.all = Need(*(sum(getattr(n, name) for n in self.nodes) for name in ("cpus", "gpus", "memory_mb")))
        for key in (*self.waiting, *self.flying.values()):
            if any(self.needs[key].share(node) <= 1 for node in self.nodes):
                self.homeless.pop(key, None)
            else:
                self.homeless.setdefault(key, self.looked)

    def _stranded(self) -> Iterator[Outcome]:
        """Jobs that no machine can take, after some patience."""
        for key, since in list(self.homeless.items()):
            if time.monotonic() - since > PATIENCE:
                del self.homeless[key]
                for reference in [r for r, k in self.flying.items() if k == key]:
                    self.ray.cancel(reference, force=True)
                    del self.flying[reference]
                if key in self.waiting:
                    self.waiting.remove(key)
                there = "; ".join(sorted({str(n) for n in self.nodes})) or "none"
                self._start(key)
                yield Outcome(
                    key,
                    "failed",
                    reason=f"no machine of the cluster has what it asks for ({self.needs[key]}); there is: {there}",
                )

    def _send(self) -> None:
        """Give out what the cluster has room for, and say of the oldest of them that they have started."""
        asked = sum(self.needs[k].share(self.all) for k in self.flying.values())
        for key in [k for k in self.waiting if k not in self.homeless]:
            share = self.needs[key].share(self.all)
            if self.flying and asked + share > DEMAND:
                break
            asked += share
            self.waiting.remove(key)
            need = self.needs[key]
            options = {"num_cpus": need.cpus, "num_gpus": need.gpus, "memory": int(need.memory_mb * 2**20) or None}
            self.flying[self.task.options(**options).remote(self.parcel(key), self.apart)] = key
        running = 0.0
        for key in self.flying.values():
            running += self.needs[key].share(self.all)
            if running > 1 + 1e-9:
                break
            self._start(key)

    def _start(self, key: int) -> None:
        if key not in self.started:
            self.started.add(key)
            self.on_start(key)

    def _come_back(self, key: int, reference: Any) -> Outcome | None:
        """The outcome of a task that has ended; None if it was given out again."""
        exceptions = self.ray.exceptions
        try:
            delivery: Delivery = self.ray.get(reference)
        except exceptions.RayTaskError as error:
            # The task itself raises nothing, so it could not be read there: mostly for want of the package.
            raise PbenchError(
                f"a machine of the cluster cannot run jobs: {str(error).strip().splitlines()[-1]}. Install pbench of the same version "
                "on all of its machines."
            ) from error
        except exceptions.RayError as error:
            status, reason = "killed", f"its machine or its worker was lost ({type(error).__name__})"
        else:
            if delivery.outcome is not None:
                outcome = received(delivery, self.jobs[key])
                return Outcome(**{**vars(outcome), "key": key})
            for path in delivery.lacking:
                if not self.supply.of[path].id:
                    self.supply.of[path] = self.supply.of[path].pack(self.ray.put)
            if delivery.lacking:
                self.waiting.appendleft(key)
                return None
            status, reason = "failed", delivery.trouble
        self.tries[key] += 1
        if self.tries[key] <= RETRIES:
            self.waiting.appendleft(key)
            return None
        return Outcome(key, status, reason=f"{reason}; given up after {RETRIES} more attempts")


def _open_there(parcel: Parcel, apart: bool) -> Delivery:
    import ray

    store = cache_folder() / "shipped"
    if apart:
        store /= ray.get_runtime_context().get_node_id()
    return opened(parcel, store=store, load=ray.get)

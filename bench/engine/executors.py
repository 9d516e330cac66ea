"""Where jobs run: processes of this machine, a Ray cluster, or SLURM."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..contracts.errors import MissingDependency, UsageError, suggestion
from ..contracts.model import Capabilities
from .execute import Outcome, execute

#: Makes calls and yields an `Outcome` as each ends; see `execute` for the arguments.
Executor = Callable[..., Iterator[Outcome]]
NAMES = ("local", "ray", "slurm")


@dataclass(frozen=True)
class Need:
    """What a job asks of a machine: cores, GPUs (also parts of one), and MB of 2^20 bytes (0: nothing said)."""

    cpus: float = 1
    gpus: float = 0
    memory_mb: float = 0

    @classmethod
    def of(cls, capabilities: Capabilities, memory_mb: float | None, params: Mapping[str, Any] | None = None) -> Need:
        """That of a model's card; where it names no memory, the bound that the user sets on each process.

        A model that is told to use a GPU (``NAME[device=cuda]``) asks for a whole one where its card names no part.
        """
        told = str((params or {}).get("device", "")).startswith("cuda")
        return cls(capabilities.cpus, capabilities.gpus or float(told), capabilities.memory_mb or memory_mb or 0)

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU"] + [f"{self.gpus:g} GPU"] * (self.gpus > 0)
        return ", ".join(parts + [f"{self.memory_mb:.0f} MB of memory"] * (self.memory_mb > 0))

    def share(self, of: Need) -> float:
        """The largest part of any resource of `of` that is asked for: above 1, it does not fit."""
        pairs = ((self.cpus, of.cpus), (self.gpus, of.gpus), (self.memory_mb, of.memory_mb))
        return max(asked / there if there else math.inf for asked, there in pairs if asked)


def executor(text: str, *, results: Path) -> AbstractContextManager[Executor]:
    """The executor that ``--executor`` names; entering it connects, leaving it disconnects.

    Parameters
    ----------
    text
        ``local``; ``ray`` (a cluster of this machine alone, started and stopped), ``ray:auto`` or ``ray:HOST:PORT`` (one that
        runs already); ``slurm``, with options ``slurm:partition=gpu,time=60``.
    results
        The results folder, where an executor keeps its own logs.

    Raises
    ------
    UsageError
        If there is no such executor, or an option of it does not exist.
    MissingDependency
        If its package is not installed.
    """
    name, _, rest = text.strip().partition(":")
    if name not in NAMES:
        raise UsageError(f"--executor {text}: there is no executor '{name}'. {suggestion(name, NAMES)}")
    if name == "local":
        if rest:
            raise UsageError(f"--executor {text}: local takes no options; the number of processes is set with --jobs.")
        return nullcontext(execute)
    package = {"ray": "ray", "slurm": "submitit"}[name]
    if find_spec(package) is None:
        raise MissingDependency(package, extra=name, purpose=f"--executor {name}")
    if name == "ray":
        from .ray_executor import RayExecutor

        return RayExecutor(_address(rest, text))
    from .slurm_executor import SlurmExecutor

    return SlurmExecutor(results / "slurm", _options(rest, text))


def _address(rest: str, text: str) -> str | None:
    host, _, port = rest.rpartition(":")
    if rest in ("", "auto"):
        return rest or None
    if not (host and port.isdigit() and 0 < int(port) < 65536) or "/" in rest:
        raise UsageError(
            f"--executor {text}: '{rest}' is no address of a cluster. Type ray (starts one here), ray:auto (one that runs on this "
            "machine) or ray:HOST:PORT (its head, whose port is 6379 unless it was chosen)."
        )
    return rest


def _options(rest: str, text: str) -> Mapping[str, Any]:
    from .slurm_executor import OPTIONS

    found: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in rest.split(","))):
        key, sep, value = (piece.strip() for piece in part.partition("="))
        if not sep or not value:
            raise UsageError(f"--executor {text}: '{part}' is not of the form option=value, such as partition=gpu.")
        if key not in OPTIONS:
            raise UsageError(f"--executor {text}: there is no option '{key}'. {suggestion(key, OPTIONS)}")
        try:
            found[key] = OPTIONS[key](value)
        except ValueError as error:
            raise UsageError(f"--executor {text}: {key}={value}: {error}.") from error
    return found

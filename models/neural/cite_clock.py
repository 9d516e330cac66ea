"""Which step of a chain a condition is at: sequences, snapshots at labelled times, or one end point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...bench.contracts.condition import Condition
from ...bench.contracts.errors import UsageError

if TYPE_CHECKING:
    from ...bench.contracts.training import TrainingData

REGIMES = ("auto", "endpoint", "timed", "paired")
#: Steps to an end point where nobody says how many.
STEPS = 3


@dataclass(frozen=True)
class Clock:
    """From hours to steps.

    Parameters
    ----------
    regime
        ``endpoint``, ``timed`` or ``paired``.
    hours
        Increasing times that are known; empty at an end point.
    at
        The step of each; between them steps are interpolated.
    steps
        T, the last step.
    """

    regime: str
    hours: tuple[float, ...]
    at: tuple[float, ...]
    steps: int

    @classmethod
    def of(cls, data: TrainingData, regime: str, steps: int | None) -> Clock:
        """What the data allow: sequences where units are seen more than once, times where there are several, else an end point.

        Sequences take one step from frame to frame. Labelled times lie evenly on 0 … T in their order, whatever hours lie
        between them: the first at 0 if it is hour 0, when nothing has happened yet, T being their number.

        Raises
        ------
        UsageError
            If the regime is unknown or asks for what the data lack, or there is no step.
        """
        if regime not in REGIMES:
            raise UsageError(f"regime={regime!r} is unknown; use one of {', '.join(REGIMES)}.")
        if steps is not None and steps < 1:
            raise UsageError(f"steps={steps} leaves no response; use 1 or more.")
        cells = data.cells
        times = sorted({c.time for c in data.perturbed.conditions if c.time is not None})
        if regime == "auto":
            regime = "paired" if cells.paired and cells.time is not None else "timed" if len(times) > 1 else "endpoint"
        if regime == "paired":
            if not cells.paired or cells.time is None:
                raise UsageError("regime=paired needs units that are seen at several known times; use regime=auto.")
            hours = np.unique(cells.time[np.isfinite(cells.time)]).tolist()
            return cls(regime, tuple(hours), tuple(map(float, range(len(hours)))), len(hours) - 1)
        if regime == "endpoint":
            return cls(regime, (), (), steps or STEPS)
        if not times:
            raise UsageError("regime=timed needs perturbations with times; use regime=auto.")
        hours = times if times[0] <= 0 else [0.0, *times]
        last = steps or max(len(hours) - 1, 1)
        return cls(regime, tuple(hours), tuple(np.linspace(0, last, len(hours)).tolist()) if len(hours) > 1 else (0.0,), last)

    def step(self, condition: Condition) -> float:
        """Steps after the reference state: 0 of a control, T where a condition has no time or the clock none."""
        if condition.is_control:
            return 0.0
        if not self.hours or condition.time is None:
            return float(self.steps)
        return float(np.interp(condition.time, self.hours, self.at))

    def covers(self, condition: Condition) -> bool:
        """Whether the time of a condition lies among those known, or needs not be."""
        if condition.is_control or not self.hours or condition.time is None:
            return True
        return self.hours[0] <= condition.time <= self.hours[-1]

"""What a run shows while it works: on a terminal a bar with what is running, elsewhere one line a job."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import click

from ..contracts.errors import one_line


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def phase(self, text: str) -> None: ...
    def planned(self, total: int, done: int) -> None: ...
    def started(self, title: str) -> None: ...
    def finished(self, title: str, status: str, reason: str, seconds: float) -> None: ...


class TimeLeft:
    """How long the jobs that are left will take, from those that have ended and from how many ran at a time.

    Parameters
    ----------
    clock
        Seconds, from any start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.planned(0)

    def planned(self, left: int) -> None:
        """`left` jobs will be run."""
        self.left, self.ended, self.seconds, self.at_a_time = left, 0, 0.0, 1
        self.running: dict[str, list[float]] = {}

    def started(self, title: str) -> None:
        self.running.setdefault(title, []).append(self.clock())
        self.at_a_time = max(self.at_a_time, sum(map(len, self.running.values())))

    def finished(self, title: str, seconds: float) -> None:
        if self.running.get(title):
            self.running[title].pop()
        self.left, self.ended, self.seconds = self.left - 1, self.ended + 1, self.seconds + seconds

    def estimate(self) -> float | None:
        """Seconds, or None where nothing has ended or nothing is left.

        Each job that is left takes the mean of those that have ended; of the running ones that part is taken off that has passed.
        """
        if not self.ended or self.left <= 0:
            return None
        mean, now = self.seconds / self.ended, self.clock()
        passed = sum(min(mean, now - began) for starts in self.running.values() for began in starts)
        return max(0.0, mean * self.left - passed) / min(self.at_a_time, self.left)


def rounded(seconds: float) -> str:
    """A time in the unit that a person would use.

    >>> rounded(4.2), rounded(170), rounded(6000), rounded(200000)
    ('5 s', '3 min', '1.7 h', '2.3 days')
    """
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5)):d} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


class Lines(Silent):
    """A line on standard error for each thing that ends, with the time that is left; for logs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = self.done = 0
        self.time = TimeLeft(clock)

    def phase(self, text: str) -> None:
        click.echo(one_line(text), err=True)

    def planned(self, total: int, done: int) -> None:
        self.total, self.done = total, done
        self.time.planned(total - done)
        click.echo(f"{total} jobs, {done} already done", err=True)

    def started(self, title: str) -> None:
        self.time.started(title)

    def finished(self, title: str, status: str, reason: str, seconds: float) -> None:
        self.done += 1
        self.time.finished(title, seconds)
        left = self.time.estimate()
        line = f"[{self.done}/{self.total}] {title} {seconds:.1f} s"
        line += "" if status == "ok" else f" {status.replace('_', ' ')}: {reason}"
        click.echo(one_line(line) + ("" if left is None else f" (about {rounded(left)} left)"), err=True)


class Bar(Silent):
    """A bar with the running jobs and the time left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
        from rich.text import Text

        estimated = self.time = TimeLeft(clock)

        class Left(ProgressColumn):
            """Drawn anew a few times a second, so that it counts down while jobs run."""

            def render(self, task: Task) -> Text:
                left = estimated.estimate()
                return Text("" if left is None else f"about {rounded(left)} left")

        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            Left(),
            console=self.console,
            transient=True,
        )
        self.running: list[str] = []
        self.task = self.progress.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def phase(self, text: str) -> None:
        self.progress.update(self.task, description=one_line(text))

    def planned(self, total: int, done: int) -> None:
        self.time.planned(total - done)
        self.progress.update(self.task, total=total, completed=done, description="")

    def started(self, title: str) -> None:
        self.running.append(title)
        self.time.started(title)
        self._describe()

    def finished(self, title: str, status: str, reason: str, seconds: float) -> None:
        self.running.remove(title)
        self.time.finished(title, seconds)
        self.progress.advance(self.task)
        if status != "ok":
            said = one_line(f"{status.replace('_', ' ')}: {title}: {reason}")
            self.console.print(said, markup=False, highlight=False)
        self._describe()

    def _describe(self) -> None:
        shown = ", ".join(t.partition(" on ")[0] for t in self.running[:3])
        self.progress.update(self.task, description=one_line(shown) + (" …" if len(self.running) > 3 else ""))


def make_reporter(*, quiet: bool) -> Silent:
    """A bar on a terminal, lines elsewhere, nothing when quiet."""
    if quiet:
        return Silent()
    # A dumb terminal (an editor's, a serial line) cannot draw over what it has shown.
    return Bar() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()

"""What a run shows while it works: on a terminal a bar with what is running, elsewhere one line a job."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

import click


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


class Lines(Silent):
    """A line on standard error for each thing that ends; for logs."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def phase(self, text: str) -> None:
        click.echo(text, err=True)

    def planned(self, total: int, done: int) -> None:
        self.total, self.done = total, done
        click.echo(f"{total} jobs, {done} already done", err=True)

    def finished(self, title: str, status: str, reason: str, seconds: float) -> None:
        self.done += 1
        tail = "" if status == "ok" else f" {status.replace('_', ' ')}: {reason}"
        click.echo(f"[{self.done}/{self.total}] {title} {seconds:.1f} s{tail}", err=True)


class Bar(Silent):
    """A bar with the running jobs and the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
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
        self.progress.update(self.task, description=text)

    def planned(self, total: int, done: int) -> None:
        self.progress.update(self.task, total=total, completed=done, description="")

    def started(self, title: str) -> None:
        self.running.append(title)
        self._describe()

    def finished(self, title: str, status: str, reason: str, seconds: float) -> None:
        self.running.remove(title)
        self.progress.advance(self.task)
        if status != "ok":
            self.console.print(f"{status.replace('_', ' ')}: {title}: {reason}", markup=False, highlight=False)
        self._describe()

    def _describe(self) -> None:
        shown = ", ".join(t.partition(" on ")[0] for t in self.running[:3])
        self.progress.update(self.task, description=shown + (" …" if len(self.running) > 3 else ""))


def make_reporter(*, quiet: bool) -> Silent:
    """A bar on a terminal, lines elsewhere, nothing when quiet."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()

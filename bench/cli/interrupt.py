"""Being asked to stop: by Ctrl-C, by ``kill``, by a terminal that goes away."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

#: Signals that ask a program to stop and that it may answer.
ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
#: Seconds after which an interruption that nothing is dealing with is raised again.
INSISTS = 0.1


class Interrupted(KeyboardInterrupt):
    """Somebody has asked to stop; `signum` says how."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """As shells count: 130 for Ctrl-C, 143 for ``kill``, 129 for a terminal that is gone."""
        return 128 + self.signum


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within, the first of `ASKING` raises `Interrupted`.

    From then on they are ignored: children are ended and what they were writing is cleared away, which takes a moment and must
    not be left half done. A signal that the caller has told to be ignored, as ``nohup`` does, stays so.

    An exception may be lost on its way: Python passes over it in a ``__del__`` and in a callback of a weak reference, libraries
    where they catch everything. So `Interrupted` is raised again until it has arrived here.
    """
    before = {}
    asked: int | None = None
    passed_over = sys.unraisablehook
    alarm: object = None

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal asked, alarm
        asked = signum
        for asking in before:
            signal.signal(asking, signal.SIG_IGN)
        sys.unraisablehook = quiet
        if hasattr(signal, "setitimer"):
            alarm = signal.signal(signal.SIGALRM, insist)
            signal.setitimer(signal.ITIMER_REAL, INSISTS, INSISTS)
        raise Interrupted(signum)

    def insist(signum: int, frame: FrameType | None) -> None:
        if asked is not None and not _under_way():
            raise Interrupted(asked)

    def quiet(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, Interrupted):
            passed_over(lost)

    try:
        for asking in ASKING:
            if signal.getsignal(asking) not in (signal.SIG_IGN, None):
                before[asking] = signal.signal(asking, stop)
    except ValueError:
        # Not the main thread: signals are somebody else's.
        before.clear()
    try:
        try:
            yield
        finally:
            # After an interruption they stay ignored: what is left is to say so and to end.
            if asked is None:
                for asking, handler in before.items():
                    signal.signal(asking, handler)
    finally:
        if asked is not None:
            sys.unraisablehook = passed_over
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, alarm)


def _under_way() -> bool:
    """Whether what runs now runs because of an interruption: a ``finally``, an ``except``, an ``__exit__``."""
    error, seen = sys.exception(), set()
    while error is not None and id(error) not in seen:
        if isinstance(error, Interrupted):
            return True
        seen.add(id(error))
        error = error.__context__
    return False

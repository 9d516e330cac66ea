"""Being asked to stop: by Ctrl-C, by ``kill``, by a terminal that goes away."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

#: Signals that ask a program to stop and that it may answer.
ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


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
    """Within, each of `ASKING` raises `Interrupted` once.

    From then on they are ignored: children are ended and what they were writing is cleared away, which takes a moment and must
    not be left half done. A signal that the caller has told to be ignored, as ``nohup`` does, stays so.
    """
    before = {}
    asked = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        for asking in before:
            signal.signal(asking, signal.SIG_IGN)
        raise Interrupted(signum)

    try:
        for asking in ASKING:
            if signal.getsignal(asking) not in (signal.SIG_IGN, None):
                before[asking] = signal.signal(asking, stop)
    except ValueError:
        # Not the main thread: signals are somebody else's.
        before.clear()
    try:
        yield
    finally:
        # After an interruption nothing is restored: what is left is to say so and to end.
        if not asked:
            for asking, handler in before.items():
                signal.signal(asking, handler)

"""How far a process is, for the process that waits for it: a line of text in a file."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

#: Seconds between two looks.
INTERVAL = 0.5


class ProgressFile:
    """Writes what it is told to a file, from time to time: often at first, and a few dozen times however long it takes.

    Parameters
    ----------
    path
        The file; None where nobody waits for it.
    clock
        Seconds, from any start.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self.clock = path, clock
        self.began, self.next = clock(), 0.0

    def __call__(self, text: str) -> None:
        """Note a text; nothing depends on whether that works."""
        passed = self.clock() - self.began
        if self.path is None or passed < self.next:
            return
        self.next = passed + max(2.0, passed / 10)
        with contextlib.suppress(OSError):
            temporary = self.path.with_name(f"{self.path.name}.tmp")
            temporary.write_text(text)
            os.replace(temporary, self.path)


@contextlib.contextmanager
def watched(files: Mapping[Path, Callable[[str], None]]) -> Iterator[None]:
    """Tell what appears in files while the body runs, each text once.

    Parameters
    ----------
    files
        Who is told of each; called from another thread.
    """
    done = threading.Event()

    def watch() -> None:
        seen: dict[Path, str] = {}
        while not done.wait(INTERVAL):
            for path, tell in files.items():
                with contextlib.suppress(OSError):
                    text = path.read_text()
                    if seen.get(path) != text:
                        seen[path] = text
                        tell(text)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

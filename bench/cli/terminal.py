"""Standard output and error, to which nothing that came from data can send what steers a terminal."""

from __future__ import annotations

import sys
from typing import Any

from ..contracts.errors import printable


class Steady:
    """A text stream that writes no control characters but line breaks and tabs.

    Parameters
    ----------
    stream
        Where the text goes. What draws a bar of progress writes there itself.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        #: By this name rich finds the stream behind one that stands in for it.
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        self._stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def steady() -> None:
    """Let the streams of this process be such."""
    sys.stdout, sys.stderr = Steady(sys.stdout), Steady(sys.stderr)

"""Calls that may hang, crash or fill the memory, in a process of their own that is held to limits."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

from pbench.bench.contracts.errors import PbenchError


def bounded(function: Callable[[], Any], *, seconds: float = 10, megabytes: float = 400) -> str:
    """The sentence with which a call refuses, in bounded time and with bounded memory beyond what is taken already.

    Fails where the call does anything but raise one of our errors on one line, or return, which gives an empty text.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reader)
            with open("/proc/self/status") as f:
                taken = next(int(line.split()[1]) for line in f if line.startswith("VmData:"))
            limit = taken * 1024 + int(megabytes * 2**20)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            try:
                function()
                said = "fine "
            except PbenchError as error:
                said = f"said {error}"
            except BaseException:  # noqa: BLE001 - reported to the test
                said = "raised " + traceback.format_exc()[-3000:]
            os.write(writer, said.encode("utf-8", "backslashreplace")[:60_000])
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], seconds)
    began = time.monotonic()
    if not ready:
        os.kill(child, signal.SIGKILL)
    said = os.read(reader, 65_536).decode() if ready else ""
    os.close(reader)
    _, status = os.waitpid(child, 0)
    assert ready, f"it took more than {seconds} s"
    assert time.monotonic() - began < seconds
    assert said, f"the process ended with status {status}"
    assert not said.startswith("raised "), said
    message = said.partition(" ")[2]
    assert "\n" not in message and len(message) < 1000 and message.isprintable(), message
    return message

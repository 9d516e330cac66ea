"""The way to a Ray cluster: one that runs already, or one of this machine that lasts as long as the run."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from ..contracts.errors import PbenchError, UsageError

#: Seconds to wait for the answer of an address.
DIAL = 5.0
#: How a client of HTTP/2, which Ray speaks, begins, and the kind of frame that a server begins with.
HELLO, SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"\4"


class RayConnection:
    """Joins a cluster and leaves it, or starts one and stops it. Where the program is connected already, it does neither.

    Parameters
    ----------
    address
        ``HOST:PORT`` or ``auto``; None starts a cluster of this machine.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address
        self._folder: Path | None = None
        self._connected = False

    def open(self, *, cpus: int = 1) -> None:
        """Connect, unless that is done.

        Parameters
        ----------
        cpus
            Cores of a cluster that is started.

        Raises
        ------
        UsageError
            If no cluster answers at the address.
        PbenchError
            If it cannot be joined.
        """
        if self._connected:
            return
        if self.address is not None:
            _dial(self.address)
        # Ray tells its makers of each start unless it is told not to, before it is imported.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        if ray.is_initialized():
            # Connected by the program that calls this, which also disconnects.
            return
        common: dict[str, Any] = {"log_to_driver": False, "configure_logging": True, "logging_level": logging.CRITICAL}
        if self.address is None:
            # Paths of sockets have room for 107 letters.
            self._folder = Path(tempfile.mkdtemp(prefix="pbench-ray-", dir=None if len(tempfile.gettempdir()) < 20 else "/tmp"))
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                _temp_dir=str(self._folder),
                _node_ip_address="127.0.0.1",
                **common,
            )
        else:
            try:
                ray.init(address=self.address, **common)
            except ConnectionError as error:
                raise UsageError(
                    f"--executor ray:{self.address}: no cluster runs here that could be joined. Start one with: ray start --head; or "
                    "type --executor ray, which starts one for this run."
                ) from error
            except Exception as error:
                raise PbenchError(
                    f"--executor ray:{self.address}: the cluster could not be joined: {' '.join(str(error).split())[:300]}"
                ) from error
        self._connected = True

    def close(self) -> None:
        """Leave a cluster that was joined; stop one that was started, and remove what it has left behind."""
        if self._connected:
            import ray

            ray.shutdown()
            self._connected = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _dial(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=DIAL) as line:
            line.settimeout(DIAL)
            line.sendall(HELLO)
            answer = line.recv(9)
        # What is no server of this kind would be asked again and again by Ray, for minutes.
        if answer[3:4] != SETTINGS and not os.environ.get("RAY_USE_TLS"):
            raise OSError("what answers is no Ray cluster")
    except OSError as error:
        raise UsageError(
            f"--executor ray:{address}: no cluster answers there ({error.strerror or error}). Start a cluster with: ray start "
            "--head; or type --executor ray, which starts one on this machine."
        ) from error

"""Fuzzes one target in this process: ``python tests/fuzz/atheris_fuzz.py TARGET SECONDS [FOLDER]``.

Coverage-guided with atheris where it is installed, at random elsewhere. The folder keeps the corpus, ``finds`` (inputs with what they
raised) and ``stats.json``. Memory is bounded; an input that takes longer than `SLOW` seconds is a find, and one that hangs ends the
process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
#: Megabytes that a reader may take beyond what the process has, and seconds: what is slow, and what hangs.
MEGABYTES, SLOW, HANGS = 1500, 5.0, 30


class Session:
    """One target, and what was found out about it."""

    def __init__(self, name: str, folder: Path) -> None:
        import targets

        self.target, self.run = targets.TARGETS[name], targets.run
        self.folder = folder
        self.stats = {"target": name, "executions": 0, "taken": 0, "finds": 0, "slowest": 0.0, "peak_mb": 0.0}
        self.known: set[str] = set()
        self.scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self.written = 0.0
        self.started = False
        for part in ("corpus", "finds"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def one(self, data: bytes) -> None:
        (self.folder / "last").write_bytes(data)
        began = time.perf_counter()
        try:
            self.stats["taken"] += self.run(self.target, data, self.scratch / "x")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - all of it is a find
            self.find(data, error)
        took = time.perf_counter() - began
        self.stats["executions"] += 1
        if took > self.stats["slowest"]:
            self.stats["slowest"] = round(took, 3)
            # What the first inputs import takes long.
            if took > SLOW and self.started:
                self.find(data, TimeoutError(f"it took {took:.1f} s"))
        if time.monotonic() - self.written > 1:
            self.write()

    def find(self, data: bytes, error: BaseException) -> None:
        """Keep an input, once for each place that raises."""
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if "/tests/fuzz/" not in f.filename][-1:] or frames[-1:]
        place = f"{type(error).__name__} " + " ".join(f"{Path(f.filename).name}:{f.lineno}" for f in ours)
        if place in self.known:
            return
        self.known.add(place)
        self.stats["finds"] += 1
        name = hashlib.sha256(data).hexdigest()[:16]
        (self.folder / "finds" / name).write_bytes(data)
        text = "".join(traceback.format_exception(error))
        (self.folder / "finds" / f"{name}.txt").write_text(f"{place}\n{text}", errors="backslashreplace")
        self.write()

    def write(self) -> None:
        self.written = time.monotonic()
        self.stats["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
        (self.folder / "stats.json").write_text(json.dumps(self.stats))


def bound_memory() -> None:
    """Let allocations fail beyond what the process has now and `MEGABYTES`."""
    with open("/proc/self/status") as f:
        taken = next(int(line.split()[1]) for line in f if line.startswith("VmData:"))
    limit = taken * 1024 + MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main(name: str, seconds: float, folder: Path) -> None:
    began = time.monotonic()
    try:
        import atheris
    except ImportError:
        atheris = None
    # Compiled functions cannot be instrumented. Readers import what they need when they are called first.
    watched = (
        atheris.instrument_imports(include=["pbench"], exclude=["pbench.bench.kernels"]) if atheris else contextlib.nullcontext()
    )
    with watched:
        import targets

        session = Session(name, folder)
        for i, seed in enumerate(targets.TARGETS[name].seeds()):
            (folder / "corpus" / f"seed{i}").write_bytes(seed)
            session.one(seed)
    # Whatever the readers import is there now.
    session.started, session.stats["slowest"] = True, 0.0
    bound_memory()
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    seconds = max(1.0, seconds - (time.monotonic() - began))
    if atheris is None:
        at_random(session, seconds)
        return
    options = (
        f"-timeout={HANGS:d}",
        "-rss_limit_mb=6000",
        f"-max_total_time={int(seconds)}",
        "-max_len=200000",
        "-print_final_stats=0",
    )
    extra = (f"-artifact_prefix={folder}/crash-", "-verbosity=0", "-close_fd_mask=1")
    atheris.Setup([sys.argv[0], *options, *extra, str(folder / "corpus")], session.one)
    atheris.Fuzz()


def at_random(session: Session, seconds: float) -> None:
    from mutation import mutated

    def hangs(*_: object) -> None:
        raise TimeoutError(f"it took more than {HANGS} s")

    rng, end = random.Random(0), time.monotonic() + seconds
    signal.signal(signal.SIGALRM, hangs)
    corpus = session.target.seeds()
    while time.monotonic() < end:
        signal.alarm(HANGS)
        session.one(mutated(rng.choice(corpus), rng))
        signal.alarm(0)
    session.write()


if __name__ == "__main__":
    given = sys.argv[1:]
    where = Path(given[2]) if len(given) > 2 else Path(tempfile.mkdtemp(prefix=f"fuzz-{given[0]}-"))
    with contextlib.suppress(KeyboardInterrupt):
        main(given[0], float(given[1]), where)
    print(where, file=sys.stderr)

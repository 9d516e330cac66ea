"""What jobs read, as other machines get it: used where it lies if they see the same folder, else brought to each of them once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..contracts import registry
from ..contracts.errors import DataError
from ..contracts.identity import content_id, file_sha256
from .folders import cache_folder, write_atomically, write_folder
from .score import reads_spread
from .temporaries import is_temporary

if TYPE_CHECKING:
    from .worker import Job

#: Bytes of a file that travel in one piece.
PIECE = 32 * 2**20


@dataclass(frozen=True)
class Goods:
    """Files below one folder that jobs read together.

    Parameters
    ----------
    folder
        The folder, as paths of jobs name it.
    files
        Name below the folder, bytes, and sha256 where that is known.
    at
        Where another machine may see the same folder; None: it is not to look.
    token
        A file and what stands in it: a machine that reads the same there sees the same disk. None: checksums are compared.
    id
        Identity of the content, once it is packed.
    packed
        What the machine's `load` gives the pieces for, once they are packed: name to the references of its pieces.
    """

    folder: Path
    files: tuple[tuple[str, int, str], ...]
    at: Path | None
    token: tuple[Path, str] | None = None
    id: str = ""
    packed: Any = None

    def seen(self) -> bool:
        """Whether this machine sees the same files at the same place."""
        if self.at is None:
            return False
        try:
            if any((self.at / name).stat().st_size != size for name, size, _ in self.files):
                return False
            if self.token:
                return self.token[0].read_text() == self.token[1]
            return all(file_sha256(self.at / name) == digest for name, _, digest in self.files)
        except OSError:
            return False

    def placed(self, store: Path, load: Callable[[Any], Any]) -> Path | None:
        """The folder in which the files lie on this machine, brought here if need be; None if they are not packed yet.

        Parameters
        ----------
        store
            Where this machine keeps what was brought to it, by content; several processes share it.
        load
            Gives what a reference stands for.

        Raises
        ------
        PbenchError
            If the disk is full.
        DataError
            If what arrives is not what was sent.
        """
        if self.seen():
            return self.at
        if not self.id:
            return None
        target = store / self.id[:32]
        if not target.exists():
            with locked(store / f"{self.id[:32]}.lock"):
                if not target.exists():
                    write_folder(target, lambda building: self._unpack(building, load))
        return target

    def _unpack(self, building: Path, load: Callable[[Any], Any]) -> None:
        pieces = load(self.packed)
        for name, _, digest in self.files:
            path, sha256 = building / name, hashlib.sha256()
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as f:
                for reference in pieces[name]:
                    data = load(reference)
                    sha256.update(data)
                    f.write(data)
            if sha256.hexdigest() != digest:
                raise DataError(f"{name} has arrived with other bytes than it was sent with; run again.")

    def pack(self, put: Callable[[Any], Any]) -> Goods:
        """The same with all content handed to `put`, piece by piece; it returns references."""
        pieces: dict[str, list[Any]] = {}
        listed = []
        for name, _, _ in self.files:
            sha256, size, pieces[name] = hashlib.sha256(), 0, []
            with open(self.folder / name, "rb") as f:
                while data := f.read(PIECE):
                    sha256.update(data)
                    size += len(data)
                    pieces[name].append(put(data))
            listed.append((name, size, sha256.hexdigest()))
        return replace(self, files=tuple(listed), id=content_id(listed), packed=put(pieces))

    def copied(self, to: Path, token: tuple[Path, str]) -> Goods:
        """The same copied into a folder that other machines see, which `token` shows."""
        for name, _, _ in self.files:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / name, to / name)
        return replace(self, at=to, token=token)


class Supply:
    """All that the jobs of a run read, on the machine that gives them out.

    Parameters
    ----------
    shared
        Whether other machines may look for the files where they lie here.
    """

    def __init__(self, jobs: Iterable[Job], *, shared: bool = True) -> None:
        jobs = list(jobs)
        self.shared = shared
        self.cache = cache_folder().absolute()
        self._token: tuple[Path, str] | None = None
        self.of: dict[Path, Goods] = {}
        # A screen is brought with its cells to all jobs of a run or to none: what is there must not depend on who came first.
        cells = {job.screen for job in jobs if reads_cells(job)}
        for job in jobs:
            for path in paths(job):
                if path not in self.of:
                    self.of[path] = self._goods(path, screen=path == job.screen, cells=path in cells)

    def _goods(self, path: Path, *, screen: bool, cells: bool) -> Goods:
        beside = path.parent.glob(f"{path.name}-*") if cells else ()
        roots = [path, *(p for p in sorted(beside) if not is_temporary(p.name))]
        # Of a screen's folder only its own files: the splits below it travel with the jobs on them.
        found = [p for root in roots for p in _files(root, deep=not screen)]
        inside = path.absolute().is_relative_to(self.cache)
        at = path.parent if self.shared else None
        return Goods(
            path.parent,
            tuple((p.relative_to(path.parent).as_posix(), p.stat().st_size, "" if inside else file_sha256(p)) for p in found),
            at,
            self.token if inside and self.shared else None,
        )

    @property
    def token(self) -> tuple[Path, str]:
        """A file in the cache that nobody else can know of."""
        if self._token is None:
            text = uuid4().hex
            path = self.cache / f".seen-{text[:12]}"
            write_atomically(path, lambda p: p.write_text(text))
            self._token = path, text
        return self._token

    def goods(self, job: Job) -> dict[Path, Goods]:
        """What a job reads, by its paths."""
        return {path: self.of[path] for path in paths(job)}

    def close(self) -> None:
        """Leave nothing behind."""
        if self._token is not None:
            with contextlib.suppress(OSError):
                self._token[0].unlink()
            self._token = None


def _files(root: Path, *, deep: bool) -> list[Path]:
    if root.is_file():
        return [root]
    return sorted(p for p in (root.rglob("*") if deep else root.glob("*")) if p.is_file() and not is_temporary(p.name))


def reads_cells(job: Job) -> bool:
    """Whether a job may read cells, beside sums over them."""
    spread = reads_spread([registry.metrics.get(name) for name in job.metrics])
    return spread or job.encode or job.cell_truth is not None or job.model.capabilities.needs_cells


def paths(job: Job) -> list[Path]:
    """Files and folders that a job names, but for that of the results."""
    found: list[Path] = []
    for field in fields(job):
        value = getattr(job, field.name)
        if field.name == "plugins":
            found += map(Path, value)
        elif field.name != "store":
            found += [v for v in (value.values() if isinstance(value, Mapping) else (value,)) if isinstance(v, Path)]
    return list(dict.fromkeys(found))


def moved(job: Job, to: Mapping[Path, Path]) -> Job:
    """The job with other paths."""
    changed: dict[str, Any] = {}
    for field in fields(job):
        value = getattr(job, field.name)
        if field.name == "plugins":
            changed["plugins"] = tuple(str(to[Path(p)]) for p in value)
        elif field.name != "store":
            if isinstance(value, Path):
                changed[field.name] = to[value]
            elif isinstance(value, Mapping) and any(isinstance(v, Path) for v in value.values()):
                changed[field.name] = {k: to[v] if isinstance(v, Path) else v for k, v in value.items()}
    return replace(job, **changed)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process of this machine holds the lock of that name, and hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield

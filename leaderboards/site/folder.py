"""The folder of a site: which files in it are ours, so that those of an earlier build go and nobody else's do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ...bench.contracts.errors import UsageError

MANIFEST = "site.json"
FORMAT = 1
#: Files that a manifest may name, so that a manifest of somebody else's making removes nothing but such files.
_OURS = re.compile(r"index\.html|(assets|data|data/board|data/model/[A-Za-z0-9.-]+)/[A-Za-z0-9._-]+")


class Folder:
    """A folder that a site is written to.

    Parameters
    ----------
    path
        It may be absent, empty, or hold a site of an earlier build.

    Raises
    ------
    UsageError
        It is a file, or holds files and no site.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise UsageError(f"'{path}' is a file. Give a folder for the site.")
        self._before = self._read()
        self._written: set[str] = set()

    def _read(self) -> set[str]:
        """Names of the files of an earlier build."""
        if not self.path.exists() or not any(self.path.iterdir()):
            return set()
        found = None
        if (manifest := self.path / MANIFEST).is_file():
            try:
                found = json.loads(manifest.read_text(encoding="utf-8"))
            except ValueError:
                found = None
        if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("files"), list):
            raise UsageError(
                f"'{self.path}' is not empty and holds no site that pbench wrote (there is no whole {MANIFEST} in it). "
                "Give another folder, or empty this one yourself."
            )
        return {
            name for name in found["files"] if isinstance(name, str) and _OURS.fullmatch(name) and ".." not in name.split("/")
        }

    def expect(self, names: Iterable[str]) -> None:
        """Say which files come, before any does: a build that breaks off leaves none that the next one does not know."""
        self._note(self._before | set(names))

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the site."""
        assert _OURS.fullmatch(name), name
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self._written.add(name)

    def close(self) -> None:
        """Remove what earlier builds wrote and this one did not, and the folders that this empties."""
        root = self.path.resolve()
        for name in sorted(self._before - self._written):
            stale = self.path / name
            if stale.parent.resolve() == root.joinpath(*name.split("/")[:-1]) and (stale.is_file() or stale.is_symlink()):
                stale.unlink()
                if stale.parent != self.path and not any(stale.parent.iterdir()):
                    stale.parent.rmdir()
        self._note(self._written)

    def _note(self, names: Iterable[str]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, "files": sorted(names)}, indent=0) + "\n"
        (self.path / MANIFEST).write_text(text, encoding="utf-8")

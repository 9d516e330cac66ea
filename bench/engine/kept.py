"""What the cache keeps is used only as it was written: the rest goes to the quarantine and is made again."""

from __future__ import annotations

from pathlib import Path

from .folders import defects, quarantine
from .sealed import Damaged, checked_archive, plain_bytes


def whole_or_quarantined(folder: Path) -> bool:
    """Whether a sealed folder is there as it was written; one that is not is quarantined."""
    if not folder.exists():
        return False
    if found := defects(folder):
        quarantine(folder, "; ".join(found))
    return not found


def whole_archive(path: Path) -> bool:
    """Whether an archive is there as it was written; one that is not, or has no checksum, is quarantined."""
    try:
        if checked_archive(plain_bytes(path)):
            return True
        quarantine(path, "has no checksum: it was not written to its end, or by an earlier version")
    except FileNotFoundError:
        pass
    except Damaged as error:
        quarantine(path, str(error))
    return False

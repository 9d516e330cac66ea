"""Identity by content: canonical JSON and its sha256."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space, equal for equal values; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_id(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: Path | str) -> str:
    """sha256 (hex) of a file's bytes, read in one pass."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def derived_seed(*parts: Any) -> int:
    """A 32-bit seed hashed from named parts, so that a new model or data set moves nobody else's seed."""
    return int(content_id([str(p) for p in parts])[:8], 16)

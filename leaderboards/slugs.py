"""Names of files and of addresses for names that come from data."""

from __future__ import annotations

import hashlib
import re

#: Characters of a slug that come from the name.
LONGEST = 60
#: Names that Windows keeps for devices, with or without an ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
#: Endings that are ours: of a slug with digits, and of files and addresses of boards of latent variables.
_OURS = re.compile(r".*-([0-9a-f]{12}|identification)")


def slug(name: str) -> str:
    """A file name for any name: lower-case letters, digits, dots and hyphens.

    A name that is made of nothing else stays as it is. Any other has its foreign characters replaced and twelve digits of
    its sha256 behind it, and so has one that would differ from another only in case, has two hyphens in a row (which part
    the halves of longer addresses), is very long, or ends as if one of our endings stood behind it already.

    >>> slug("norman-mini"), slug("additive+anchor"), slug("../../etc")
    ('norman-mini', 'additive-anchor-d1fe7a2b3029', 'etc-74ccf3c5b4c1')
    """
    plain = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9.-]", "-", name.lower()))
    plain = re.sub(r"\.{2,}", ".", plain)[:LONGEST].strip("-.")
    if plain == name and plain and not _DEVICES.fullmatch(plain) and not _OURS.fullmatch(plain):
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    safe = f"x-{plain}" if _DEVICES.fullmatch(plain) else plain or "x"
    return f"{safe}-{digest}"

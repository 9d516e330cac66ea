"""Loops that numba compiles, with the machine code kept in the user's cache folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
from numba import config, njit

# numba makes its settings while it is imported, so a type checker does not see them.
_settings: Any = config


def compiled(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`numba.njit` without the interpreter's lock, cached on disk.

    numba would write its cache beside the source. In an installed package those files are nobody's: pip leaves them behind
    when it uninstalls, and the folder that remains hides an editable installation that comes after. ``NUMBA_CACHE_DIR``
    is heeded where it is set.

    Parameters
    ----------
    options
        Of `numba.njit`, such as ``fastmath``.
    """
    if function is None:
        return lambda loop: compiled(loop, **options)
    given = _settings.CACHE_DIR
    # The place is chosen when a function is decorated; other packages keep theirs.
    _settings.CACHE_DIR = given or str(Path(platformdirs.user_cache_dir("pbench")) / "compiled")
    try:
        return njit(nogil=True, cache=True, **options)(function)
    finally:
        _settings.CACHE_DIR = given

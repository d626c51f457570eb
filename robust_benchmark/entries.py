"""The entry points of installed packages."""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any


def entry_points(group: str) -> metadata.EntryPoints:
    """Return the entry points of one group. The packages of the environment are read once."""
    return _all().select(group=group)


@functools.cache
def _all() -> Any:  # EntryPoints, which Python 3.11 wraps
    return metadata.entry_points()

"""Small valid files of other programs, of formats that this package reads and does not write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

EXAMPLES: dict[str, Callable[[Path], object]] = {}
"""Name of a format in the registry -> function that writes its files into an empty folder."""

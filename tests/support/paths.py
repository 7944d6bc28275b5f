"""Folders of the tests and the repository."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
CASES = TESTS / "data" / "cases"
"""Inputs of reported cases."""
ROOT = TESTS.parent
"""Repository, or folder of an unpacked source distribution."""

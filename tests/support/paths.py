"""Folders of the tests and the repository."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
CASES = TESTS / "data" / "cases"
"""Inputs of reported cases."""
JOURNALS = TESTS / "data" / "journals"
"""Journals written by earlier versions, and the maps that these versions showed."""
ROOT = TESTS.parent
"""Repository, or folder of an unpacked source distribution."""

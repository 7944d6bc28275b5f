"""Small real disk for tests: a tmpfs of 256 KiB, where mounting is allowed."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE_BYTES = 256 * 1024


def mounted(tmp_path: Path, size_bytes: int = SIZE_BYTES) -> Iterator[Path]:
    """Yield a folder on its own file system of this size; skip the test if it cannot be mounted."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs Linux: a small file system is mounted")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    try:
        result = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the mount command")
    if result.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {result.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the remaining space of a file system."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(512))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return filler

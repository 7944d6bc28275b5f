"""Memory that a run returns to the system."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from napari_sampath.predict.whole_slide.heap import return_freed_arrays


def resident_kb() -> int:
    (line,) = (
        row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("RssAnon:")
    )
    return int(line.split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_arrays_are_returned_though_others_are_kept() -> None:
    np.ones(2**24, np.uint8)  # When it is freed, glibc would keep smaller arrays from now on.
    return_freed_arrays()
    arrays = [np.ones(2**22, np.uint8) for _ in range(16)]
    before = resident_kb()
    del arrays[::2]
    assert before - resident_kb() > 7 * 2**12

"""Memory that a run returns to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_sampath.predict.whole_slide import heap

# A new process, whose heap has no free memory that arrays could use. It reads the file itself, because the package
# imports PyTorch.
PROGRAM = f"""
from pathlib import Path
from runpy import run_path
import numpy as np
return_freed_arrays = run_path({heap.__file__!r})["return_freed_arrays"]

def resident_kb():
    (line,) = (row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("RssAnon:"))
    return int(line.split()[1])

np.ones(2**24, np.uint8)  # When it is freed, glibc would keep smaller arrays from now on.
{{call}}
arrays = [np.ones(2**22, np.uint8) for _ in range(16)]
before = resident_kb()
del arrays[::2]
print(before - resident_kb())
"""


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_arrays_are_returned_though_others_are_kept() -> None:
    def freed_kb(call: str) -> int:
        command = [sys.executable, "-c", PROGRAM.format(call=call)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert freed_kb("return_freed_arrays()") > 7 * 2**12
    # Seldom the system places something behind the heap, and glibc maps the arrays one by one.
    assert any(freed_kb("") < 7 * 2**12 for _ in range(5)), "the setting would not be needed"

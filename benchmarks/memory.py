"""Peak memory of the current process."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_bytes() -> int:
    """Return the largest resident set of this process so far, in bytes.

    On Linux `ru_maxrss` starts at the peak of the parent process (`execve` inherits it), so a large parent hides the
    memory of a child; VmHWM counts only this program.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (row for row in status.read_text(encoding="ascii").splitlines() if row.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

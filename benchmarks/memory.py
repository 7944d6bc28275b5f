"""How much memory a process has had at most."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_bytes() -> int:
    """Return the largest resident set of this process so far, in bytes.

    On Linux `ru_maxrss` begins with what the process that started this one had (it is carried over by `execve`), so a
    large parent hides all that a child takes; the kernel's own mark for this program does not.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (one for one in status.read_text(encoding="ascii").splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kept if sys.platform == "darwin" else kept * 1024

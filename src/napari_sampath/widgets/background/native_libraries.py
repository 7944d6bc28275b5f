"""Keeps native libraries in one process out of each other's way."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)


def import_triton_apart() -> None:
    """Import triton, if torch will, so that it uses its own LLVM and not that of the OpenGL driver.

    Mesa loads its drivers for all to see, and with the software and AMD ones LLVM; triton (3.7, exports its
    own LLVM too), which torch and torchvision import, then calls into Mesa's: a segmentation fault when
    torch is imported after a window is open. TensorFlow has met the same (tensorflow#124205). Bound deeply,
    triton finds its own first.

    Call this before the first import of torch in a program with a window; the second time it costs nothing.
    """
    if "triton" in sys.modules or not hasattr(os, "RTLD_DEEPBIND"):
        return
    if importlib.util.find_spec("triton") is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        importlib.import_module("triton")
    except ImportError as error:
        logger.info("triton cannot be imported, torch will do without it: %s", error)
    finally:
        sys.setdlopenflags(flags)


@contextlib.contextmanager
def one_numba_thread() -> Iterator[None]:
    """Have what this thread computes with Numba compute in it alone.

    Napari maps ids to colours with Numba where it is installed. With several threads each small map waits for another
    one to wake, up to 6 ms for 200 x 200 px that take 0.8; and as libgomp counts more threads than cores from then on,
    PyTorch's own sleep at each barrier, so that a prompt takes half as long again.
    """
    numba = sys.modules.get("numba")
    if numba is None:
        yield
        return
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)

"""Guards against conflicts between native libraries in one process."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator

logger = logging.getLogger(__name__)


def import_triton_apart() -> None:
    """Import triton with its symbols bound to its own LLVM; call before the first import of torch with a window open.

    Mesa loads its OpenGL drivers, and with the software and AMD drivers LLVM, with global symbols. triton (3.7), which
    torch and torchvision import, exports an LLVM of its own and would call Mesa's: a segmentation fault. TensorFlow
    had the same conflict (tensorflow#124205). RTLD_DEEPBIND makes triton find its own symbols first; the flags of the
    process are restored after the import.
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
        logger.info("triton cannot be imported; torch works without it: %s", error)
    finally:
        sys.setdlopenflags(flags)


@contextlib.contextmanager
def one_numba_thread() -> Iterator[None]:
    """Run this thread's Numba code on one thread; other threads, and this one afterwards, keep their setting.

    napari maps label ids to colours with Numba if it is installed. With several threads a map of 200 x 200 px waits up
    to 6 ms for another thread instead of taking 0.8 ms, and because libgomp then counts more threads than cores,
    PyTorch's threads sleep at each barrier and a prompt takes half as long again.
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

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


def import_triton_isolated() -> None:
    """Import triton so that it uses its own copy of LLVM; call this before the first import of torch in the GUI.

    Mesa loads its OpenGL drivers with global symbols; the software and AMD drivers include LLVM. triton (3.7), which
    torch and torchvision import, exports its own copy of LLVM but would call Mesa's functions, which ends in a
    segmentation fault. TensorFlow had the same conflict (tensorflow#124205). RTLD_DEEPBIND makes triton find its own
    symbols first; the flags of the process are restored after the import.
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
    """Limit the Numba code of the current thread to one thread, and restore the setting afterwards.

    napari maps label ids to colours with Numba if it is installed. With several Numba threads, a map of 200 x 200 px
    takes up to 6 ms instead of 0.8 ms, because the threads wait for each other. libgomp then also counts more threads
    than cores, so that PyTorch's threads sleep at each barrier and a prompt takes 1.5 times as long.
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

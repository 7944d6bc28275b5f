"""Keeps two compilers in one process from crashing each other."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys

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

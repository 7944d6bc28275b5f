"""Import of a package that runs only when one of its names is used, for a process that is ours alone.

With it, the networks of segment_anything are imported without its predictor, which imports torchvision and thereby the
compiler of PyTorch: that takes longer than everything else that a prompt needs. In napari's process other plugins use
the package, so it is imported as usual there.
"""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_running = threading.RLock()


class UnrunPackage(ModuleType):
    """A package whose `__init__` has not run yet; its modules can be imported."""

    def __getattr__(self, name: str) -> Any:
        with _running:
            if type(self) is UnrunPackage and not name.startswith("__") and not self.__dict__.get("__runs__"):
                self.__dict__["__runs__"] = True
                try:
                    self.__dict__["__spec__"].loader.exec_module(self)
                    self.__class__ = ModuleType  # type: ignore[assignment]
                finally:
                    del self.__dict__["__runs__"]
        return ModuleType.__getattribute__(self, name)


def put_off(name: str) -> None:
    """Put an installed package into `sys.modules` without running it; nothing is done if it is there already."""
    spec = None if name in sys.modules else find_spec(name)
    if spec is not None:
        module = module_from_spec(spec)
        module.__class__ = UnrunPackage
        sys.modules[name] = module

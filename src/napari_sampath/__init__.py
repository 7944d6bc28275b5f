"""napari-sampath: annotate pathology images with SAM prompts and trained heads.

The public names are listed in `__init__.pyi` and loaded on first use: importing the package loads neither torch nor Qt.
"""

from typing import Any

import lazy_loader

_load, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]


def __getattr__(name: str) -> Any:
    return _version() if name == "__version__" else _load(name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    """Return the version of the installed package, which is made from the tags of the repository."""
    from importlib import metadata  # takes longer to import than this package

    try:
        return metadata.version("napari-sampath")
    except metadata.PackageNotFoundError:  # the source is on the path, but not installed
        return "0+unknown"

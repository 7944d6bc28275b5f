"""napari-sampath: annotate pathology images with SAM prompts and trained heads.

The public names are listed in `__init__.pyi` and loaded on first use: importing the package loads neither torch nor Qt.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]


def __dir__() -> list[str]:
    return sorted(__all__)

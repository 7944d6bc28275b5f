"""Masks from features and prompts, and segmentation with trained heads.

The public names are listed in `__init__.pyi` and loaded on first use: masks are enlarged without torch, which takes
seconds to import.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Reading of image files as arrays: TIFF with tifffile, other formats with Pillow, arrays of NumPy.

All files go through `read_raster` (images, as displayed) or `read_labels` (label maps, with the stored values). Both
limit the work to what the size of the image needs, and open no other file or program.
"""

from .label_map import HOW_TO_EXPORT, lossy_problem, read_labels
from .orientation import turn_back
from .pillow_file import from_pillow
from .pixel_size import Scale, mpp_of_tiff
from .raster import MAX_PIXELS, Raster, check_pixels
from .reading import read_both, read_orientation, read_raster, read_size

__all__ = [
    "HOW_TO_EXPORT",
    "MAX_PIXELS",
    "Raster",
    "Scale",
    "check_pixels",
    "from_pillow",
    "lossy_problem",
    "mpp_of_tiff",
    "read_both",
    "read_labels",
    "read_orientation",
    "read_raster",
    "read_size",
    "turn_back",
]

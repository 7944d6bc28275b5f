"""Reading arrays of Zarr 2 and 3 in bounded time and memory, with a fixed list of codecs.

The zarr package loads codecs by the names in a file, allocates what the file declares and follows links. It also
decompresses a chunk without a limit: reading an array of 64 x 64 values with a chunk of 389 kB that expands to 400 MB
took 770 MB. Arrays of unknown origin are therefore read by this module; the zarr package only writes exports.
"""

from .array import DamagedChunkError, ZarrArray, ZarrMap
from .metadata import ArrayInfo, array_info
from .nodes import Node, is_zarr

__all__ = ["ArrayInfo", "DamagedChunkError", "Node", "ZarrArray", "ZarrMap", "array_info", "is_zarr"]

"""Depth of each pixel in its object, the target of heads that separate touching objects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ...arrays import IntArray


def object_depth(instances: IntArray) -> npt.NDArray[np.float32]:
    """Compute the distance of each pixel to the outline of its object, in relation to its maximum in the object.

    Args:
        instances: (H, W) number of the object at each pixel, 0 or less for none.

    Returns:
        (H, W) float32, 0 outside of objects, above 0 and at most 1 inside. At the edges of the image, objects are
        treated as if they ended there.
    """
    depth = np.zeros(instances.shape, dtype=np.float32)
    for number, window in enumerate(ndimage.find_objects(np.maximum(instances, 0)), start=1):
        if window is not None:
            inside = np.pad(instances[window] == number, 1)
            distance = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
            np.maximum(depth[window], distance / distance.max(), out=depth[window])
    return depth

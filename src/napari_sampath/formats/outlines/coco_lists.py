"""The lists of a COCO file for the training reader."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...arrays import LocalMask
from ...errors import DatasetError
from .. import rings
from ..foreign import parse_ring
from ..run_lengths import decode_coco


@dataclass(frozen=True, slots=True)
class CocoContent:
    """The lists of a COCO file, with annotations grouped by image."""

    images: Sequence[Mapping[str, Any]]
    categories: Mapping[int, Mapping[str, Any]]
    """Category id -> category."""
    annotations: Mapping[Any, Sequence[dict[str, Any]]]
    """Image id -> its annotations; empty for an image without any."""

    @classmethod
    def of(cls, content: Any) -> CocoContent:
        """Group the parsed JSON of a COCO file.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: If it does not have the layout of COCO.
        """
        categories = {int(category["id"]): category for category in content["categories"]}
        annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for entry in content["annotations"]:
            annotations[entry["image_id"]].append(entry)
        return cls(list(content["images"]), categories, annotations)


def decode_segmentation(segmentation: Any, hw: tuple[int, int]) -> LocalMask:
    """Decode the "segmentation" of an annotation: polygons, run lengths, or run lengths compressed to a string.

    Raises:
        DatasetError: If the run lengths are those of an image of another size.
        LookupError, TypeError, ValueError, AttributeError: If it has none of these layouts.
    """
    if isinstance(segmentation, list):
        return rings.fill([[parse_ring(ring)] for ring in segmentation], hw)
    counts = segmentation["counts"]
    if tuple(segmentation.get("size", hw)) != hw:
        raise DatasetError(f"its size {segmentation['size']} is not the image's {list(hw)}")
    return decode_coco(counts, hw)

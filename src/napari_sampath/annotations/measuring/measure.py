"""Tables of measurements: one row per object, and one row per class and image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...arrays import ClassInfo
from ...errors import ImageError
from ...formats import LabelledObject, Labels, Objects
from ...jobs import Job, Progress, run
from ..masks.masks import Box
from .columns import CLASS_COLUMNS, OBJECT_COLUMNS
from .shapes import colour_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...arrays import BoolArray
    from ..model.document import Document

Row: TypeAlias = dict[str, Any]
"""Name of a column -> value; None where the value is unknown."""

_OBJECT = ClassInfo(1, "object", (0, 158, 115))


@dataclass(frozen=True, slots=True)
class Measurements:
    """The measurements of one image."""

    objects: tuple[Row, ...]
    """One row per object, with the columns of `columns.OBJECT_COLUMNS`."""
    classes: tuple[Row, ...]
    """One row per class, with the columns of `columns.CLASS_COLUMNS`."""


def measure(
    objects: Any,
    image: Any = None,
    mpp: float | None = None,
    verified: BoolArray | None = None,
    name: str = "",
) -> Measurements:
    """Measure the objects of an image.

    Args:
        objects: An instance map (H, W) of integers, 0 for background; or `formats.Objects`, such as `import_objects`
            returns.
        image: (H, W, 3) uint8 RGB, or an array-like that is read crop by crop; no colours are measured if left out.
        mpp: Micrometres per pixel; lengths in micrometres are left out if it is unknown.
        verified: (H, W) bool, the verified area.
        name: Name of the image.

    Raises:
        ImageError: If the sizes differ, or `mpp` is not positive.
    """
    return run(measure_job(_as_objects(objects), image, mpp, _area_reader(verified), name))


def measure_job(
    objects: Objects,
    image: Any = None,
    mpp: float | None = None,
    verified: Callable[[Box], BoolArray] | None = None,
    name: str = "",
) -> Job[Measurements]:
    """Make a job that measures objects; memory does not grow with the image.

    Args:
        objects: The objects of the image.
        image: As for `measure`.
        mpp: As for `measure`.
        verified: Function that returns which pixels of a box are verified; None if unknown.
        name: Name of the image.

    Raises:
        ImageError: If the sizes differ, or `mpp` is not positive.
    """
    if mpp is not None and not 0 < mpp < np.inf:
        raise ImageError(f"The pixel size is {mpp:g} um; give a positive number of micrometres per pixel.")
    if image is not None and tuple(image.shape[:2]) != objects.hw:
        raise ImageError(
            f"The image has {tuple(image.shape[:2])} pixels, but its objects belong to an image of {objects.hw} "
            "(rows, columns); give the image of these objects."
        )
    names = {info.id: info.name for info in objects.classes}
    rows: list[Row] = []
    for done, obj in enumerate(objects.items):
        if done % 64 == 0:
            yield Progress(done, len(objects.items), "Measuring", "objects")
        if obj.mask.bitmap.any():
            rows.append(_object_row(obj, names, image, mpp, name))
    yield Progress(len(objects.items), len(objects.items), "Measuring", "objects")
    area = None if verified is None else _area_px(objects.hw, verified)
    classes = [_class_row(info.name, rows, objects.hw, mpp, name, area, verified) for info in objects.classes]
    return Measurements(tuple(rows), tuple(classes))


def objects_of(document: Document) -> Objects:
    """Return the objects of a document, with the details that the table shows."""
    items = tuple(
        LabelledObject(
            obj.id,
            obj.class_id,
            document.pixels(obj.id),
            {"source": obj.source, "reviewed": obj.trust == 1},
        )
        for obj in document.objects.values()
        if obj.area_px
    )
    return Objects(document.hw, tuple(document.classes), items)


def _object_row(obj: LabelledObject, names: dict[int, str], image: Any, mpp: float | None, name: str) -> Row:
    values: Row = dict.fromkeys(OBJECT_COLUMNS)
    values |= {"image": name, "id": obj.number, "class": names.get(obj.class_id, str(obj.class_id))}
    values["source"] = obj.details.get("source")
    reviewed = obj.details.get("reviewed")
    values["reviewed"] = None if reviewed is None else "yes" if reviewed else "no"
    values |= shape_of(obj.mask)
    values["area_px"] = int(values["area_px"])
    if mpp is not None:
        values["area_um2"] = values["area_px"] * mpp**2
        for length in ("perimeter", "feret_max", "feret_min"):
            values[f"{length}_um"] = values[f"{length}_px"] * mpp
    if image is not None:
        values |= colour_of(obj.mask, image)
    return values


def _class_row(
    class_name: str,
    rows: Sequence[Row],
    hw: tuple[int, int],
    mpp: float | None,
    name: str,
    verified_px: int | None,
    verified: Callable[[Box], BoolArray] | None,
) -> Row:
    own = [row for row in rows if row["class"] == class_name]
    values: Row = dict.fromkeys(CLASS_COLUMNS)
    area, image_px = sum(row["area_px"] for row in own), hw[0] * hw[1]
    values |= {"image": name, "class": class_name, "objects": len(own), "area_px": area}
    values["share_of_image"] = area / image_px
    if verified is not None:
        centres = [(int(row["centroid_y_px"]), int(row["centroid_x_px"])) for row in own]
        inside = sum(bool(verified((r, c, r + 1, c + 1)).any()) for r, c in centres)
        values |= {"verified_px": verified_px, "verified_objects": inside}
    if mpp is not None:
        pixel_mm2 = (mpp / 1000) ** 2
        values |= {"area_um2": area * mpp**2, "image_mm2": image_px * pixel_mm2}
        values["density_per_mm2"] = len(own) / values["image_mm2"]
        if verified_px is not None:
            values["verified_mm2"] = verified_px * pixel_mm2
            if verified_px:
                values["verified_density_per_mm2"] = values["verified_objects"] / values["verified_mm2"]
    return values


def _area_px(hw: tuple[int, int], verified: Callable[[Box], BoolArray], block_px: int = 1024) -> int:
    """Count the verified pixels block by block."""
    return sum(
        int(verified((r, c, min(r + block_px, hw[0]), min(c + block_px, hw[1]))).sum())
        for r in range(0, hw[0], block_px)
        for c in range(0, hw[1], block_px)
    )


def _as_objects(objects: Any) -> Objects:
    if isinstance(objects, Objects):
        return objects
    numbers = np.asarray(objects)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iub":
        raise ImageError(
            f"The instance map has shape {numbers.shape} and type {numbers.dtype}; give (H, W) integers, 0 for "
            "background."
        )
    class_map = (numbers > 0).astype(np.uint8)
    return Objects.of(Labels(class_map, numbers.astype(np.int32), (_OBJECT,)))


def _area_reader(verified: BoolArray | None) -> Callable[[Box], BoolArray] | None:
    if verified is None:
        return None
    area = verified

    def read(box: Box) -> BoolArray:
        return area[box[0] : box[2], box[1] : box[3]]

    return read

"""The maps of one image of a dataset: checks, encoding and reading."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import ClassInfo
from ...errors import DatasetError, DuplicateNameError
from ...files import convert, read_json
from ...rasters import read_labels, read_raster, read_size
from ..labels import check_unique, used_ids
from ..maps.pixels import PNG_IDS, write_palette, write_png
from .manifest import MANIFEST, DatasetImage

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...arrays import BoolArray, IntArray, UInt8Array
    from ..snapshot import Snapshot


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class DatasetItem:
    """One image of a dataset with its labels and provenance."""

    pixels: UInt8Array
    """(H, W, 3) uint8 RGB."""
    labels: UInt8Array
    """(H, W) uint8, class id of each pixel, 0 for none."""
    instances: IntArray | None
    """(H, W) uint16, object number of each pixel, 0 for none; None if objects are not separated."""
    annotated: BoolArray
    """(H, W) bool, True in the verified area."""
    provenance: Mapping[str, Any]
    """JSON values about the origin of the labels."""


def check_classes(classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
    """Check that the ids and names of a class list are unique and in range, and return it as a tuple.

    Raises:
        DatasetError: If an id or a colour is out of range.
        DuplicateNameError: If two classes share an id, or a name (ignoring capitals and spaces).
    """
    check_unique(classes, "The class list")
    by_key = {info.key: info for info in classes}
    for info in classes:
        if by_key[info.key] is not info:
            raise DuplicateNameError(
                f"The class list has '{info.name}' and '{by_key[info.key].name}', which differ only in capitals "
                "or spaces; rename one."
            )
    for info in classes:
        if not 0 <= info.id <= 255 or not all(0 <= part <= 255 for part in info.color):
            raise DatasetError(
                f"The class '{info.name}' has id {info.id} and colour {info.color}; "
                "ids and colours range from 0 to 255: choose other values."
            )
    return tuple(classes)


def check_maps(snapshot: Snapshot) -> dict[str, npt.NDArray[Any]]:
    """Check the arrays of one image for consistency; return kind -> map, without "instances" if there are none.

    Raises:
        DatasetError: If a shape, a type or a value is not allowed.
    """
    name = snapshot.name
    maps = {"images": np.asarray(snapshot.image), "labels": np.asarray(snapshot.class_map)}
    hw = maps["labels"].shape
    maps["annotated"] = np.ones(hw, bool) if snapshot.verified is None else np.asarray(snapshot.verified)
    if snapshot.instance_map is not None:
        maps["instances"] = np.asarray(snapshot.instance_map)
    if maps["images"].dtype != np.uint8 or maps["images"].ndim != 3 or maps["images"].shape[2] != 3:
        raise DatasetError(
            f"The pixels of '{name}' have shape {maps['images'].shape} and type {maps['images'].dtype}; give RGB, "
            "(H, W, 3) uint8."
        )
    hw = maps["images"].shape[:2]
    for kind, types, highest in (
        ("labels", "bui", 255),
        ("instances", "bui", PNG_IDS),
        ("annotated", "b", 1),
    ):
        values = maps.get(kind)
        if values is None:
            continue
        if values.shape != hw or values.dtype.kind not in types:
            raise DatasetError(
                f"The {kind} of '{name}' have shape {values.shape} and type {values.dtype}, its pixels {hw}; give "
                f"{'bool' if types == 'b' else 'whole numbers'} of that shape."
            )
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if low < 0 or high > highest:
            raise DatasetError(
                f"The {kind} of '{name}' have values from {low} to {high}, but they must be from 0 to {highest}; "
                "renumber them."
            )
    maps["labels"] = maps["labels"].astype(np.uint8)
    return maps


def check_ids(name: str, class_map: UInt8Array, classes: Sequence[ClassInfo]) -> None:
    """Raise a `DatasetError` if a value other than 0 in a class map (H, W) is the id of no class."""
    ids = {info.id for info in classes}
    unknown = [value for value in used_ids(class_map) if value not in ids]
    if unknown:
        raise DatasetError(
            f"The labels of '{name}' hold {unknown[0]}, which is the id of no class (ids: "
            f"{', '.join(map(str, sorted(ids))) or 'none'}); add a class with this id."
        )


def merge_classes(
    present: tuple[ClassInfo, ...], labels: UInt8Array, classes: Sequence[ClassInfo] | None
) -> tuple[tuple[ClassInfo, ...], UInt8Array]:
    """Add another class list to that of a dataset, and translate its ids by class name.

    Names are compared ignoring capitals, and the dataset keeps its spelling. New classes keep their ids if possible.

    Args:
        present: The classes of the dataset.
        labels: (H, W) ids of `classes`.
        classes: The other list; None if it is that of the dataset. A class with id 0 stays 0.

    Returns:
        The classes of the dataset with the new ones, and the labels (H, W) with their ids.

    Raises:
        DatasetError: If an id belongs to no class, or no id is left for a new one.
    """
    if classes is None:
        return present, labels
    check_ids("the image", labels, check_classes(classes))
    # Datasets of earlier versions may contain two spellings of a class: use the first.
    ids = {info.key: info.id for info in reversed(present)}
    table = np.zeros(256, dtype=np.uint8)
    added: list[ClassInfo] = []
    for info in classes:
        if info.key not in ids and info.id:
            taken = {cls.id for cls in (*present, *added)}
            free = next((i for i in (info.id, *range(1, 256)) if i not in taken), None)
            if free is None:
                raise DatasetError(
                    f"The dataset has {len(taken)} classes; no id from 1 to 255 is left for '{info.name}': merge some."
                )
            ids[info.key] = free
            added.append(dataclasses.replace(info, id=free))
        table[info.id] = ids.get(info.key, 0)
    return (*present, *added), table[labels]


def encode_map(kind: str, values: npt.NDArray[Any], classes: Sequence[ClassInfo]) -> bytes:
    """Encode one map of an image as PNG: labels with the colours of the classes, instances with 16 bits."""
    stream = io.BytesIO()
    if kind == "labels":
        write_palette(stream, values, classes)
    else:
        write_png(stream, values.astype(np.uint16) if kind == "instances" else values)
    return stream.getvalue()


def encode_maps(
    maps: Mapping[str, npt.NDArray[Any]], classes: Sequence[ClassInfo], provenance: Mapping[str, Any]
) -> dict[str, bytes]:
    """Encode the files of an image; return kind -> content."""
    content = {kind: encode_map(kind, values, classes) for kind, values in maps.items()}
    try:
        text = json.dumps(dict(provenance), indent=2, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"The provenance holds a value that JSON cannot store ({error}); give texts and numbers."
        ) from error
    content["provenance"] = (text + "\n").encode("utf-8", "surrogatepass")
    return content


def read_map(path: Path, hw: tuple[int, int]) -> npt.NDArray[Any]:
    """Read one map: (H, W, 3) from the folder "images", (H, W) from others.

    Raises:
        DatasetError: If the file is missing or not of size `hw`.
        ImageError: If the file is damaged.
    """
    if not path.is_file():
        raise DatasetError(
            f"'{path}' is listed in {MANIFEST} but missing; restore it or save the image again."
        )
    shape = read_size(path)
    if shape != hw:
        raise DatasetError(f"'{path}' has shape {shape}, and {MANIFEST} says {hw}; save the image again.")
    return read_raster(path).values if path.parent.name == "images" else read_labels(path, hw).values


def read_item(entry: DatasetImage, path_of: Callable[[str], Path]) -> DatasetItem:
    """Read the files of an image.

    Args:
        entry: The image.
        path_of: Returns the path of the file of a kind.

    Raises:
        DatasetError: If a file is missing, damaged, or of another size than in `dataset.json`.
        ImageError: If a map is damaged.
    """
    maps = {
        kind: read_map(path_of(kind), entry.hw)
        for kind in ("images", "labels", "annotated", *(["instances"] if entry.instances else []))
    }
    try:
        provenance = convert(read_json(path_of("provenance")), dict[str, Any])
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"'{path_of('provenance')}' cannot be read ({error}); restore it, or save the image again."
        ) from error
    return DatasetItem(
        maps["images"], maps["labels"], maps.get("instances"), maps["annotated"].astype(bool), provenance
    )

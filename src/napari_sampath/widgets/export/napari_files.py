"""Readers and writers of annotation files for napari's File menu."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...annotations.model.classes import FIRST_CLASS, next_color
from ...arrays import ClassInfo
from ...errors import ImageError, UnknownNameError
from ...formats import import_labels
from ...formats.maps.result_map import ResultMap
from ...formats.maps.slide_result import SlideResult, is_result
from ...formats.registry import find_format
from ...formats.snapshot import Snapshot
from ...formats.source import Source
from ...formats.writing import export_labels
from ...images.slides.view_cache import ViewCache
from ...rasters.zarr_arrays import is_zarr
from ..canvas.appearance import class_colors
from ..canvas.slide_layer import keep_next_painted, read_slide

LayerData = tuple[Any, dict[str, Any], str]
MAX_CLASSES = 255
MAX_LAYER_PX = 2**28
"""Largest map that is read into memory as a layer."""
LABELS_ONLY = {"labels", "zarr.json"}
"""Content of the folder of an OME-Zarr that has labels and no image."""
CLASS_COLUMN = "class"
"""Column of a layer's features that names the class of each object."""


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return napari's reader of annotation files; None if a file has none of the formats that can be imported.

    Args:
        path: Path of a file, or paths of several.
    """
    paths = [path] if isinstance(path, str) else path
    try:
        for each in paths:
            find_format(Source(Path(each)))
    except (ImageError, UnknownNameError):
        return None
    return _read


def _read(path: str | list[str]) -> list[LayerData]:
    paths = [Path(each) for each in ([path] if isinstance(path, str) else path)]
    return [
        layer for each in paths for layer in (read_zarr(each) if is_zarr(each) else read_annotations(each))
    ]


def read_zarr(path: Path) -> list[LayerData]:
    """Read the result on a slide, or the image of an OME-Zarr folder, if it has one, and its labels, if it has some.

    Raises:
        SampathError: If it has none of them, or its labels cannot be read.
    """
    if is_result(path):
        return [read_result(path)]
    layers, image = [], None
    try:
        layers = read_slide(str(path))
    except ImageError:
        if not (path / "labels").is_dir():
            raise
    if layers:
        levels, options, _ = layers[0]
        image = levels[0].shape[:2], {key: options[key] for key in ("scale", "units") if key in options}
    return [*layers, *(read_annotations(path, image) if (path / "labels").is_dir() else [])]


def read_result(path: Path) -> LayerData:
    """Read the class map of a result on a slide as a layer over the slide; it may be unfinished."""
    result = SlideResult.load(path)
    cache = ViewCache(ResultMap(result, "classes"), min_levels=2)
    side = result.mpp or result.factor
    # A pixel of the result lies in the middle of the level-0 pixels that it stands for.
    shift = (side - side / result.factor) / 2
    options: dict[str, Any] = {
        "name": f"{path.name.removesuffix('.ome.zarr')} classes",
        "multiscale": True,
        "opacity": 0.45,
        "colormap": class_colors([info for info in result.classes_of_head if info.id > 0]),
        "scale": (side, side),
        "translate": (shift, shift),
    }
    if result.mpp is not None:
        options["units"] = ("um", "um")
    keep_next_painted([cache])
    return list(cache.levels), options, "labels"


def read_annotations(
    path: Path, image: tuple[tuple[int, int], dict[str, Any]] | None = None
) -> list[LayerData]:
    """Read an annotation file as two Labels layers: the classes, and the objects with their classes as features.

    Args:
        path: The file or folder.
        image: Size (H, W) in pixels and options of the layers; by default size and place of the first image of the
            viewer. Without an image, the layers end at the last object.

    Raises:
        SampathError: If the file cannot be read, or if a map is too large for a layer.
    """
    hw, place = image or _image_of_viewer()
    labels = import_labels(path, hw=hw)
    height, width = labels.class_map.shape
    if height * width > MAX_LAYER_PX:
        raise ImageError(
            f"The labels of '{path}' have {height} x {width} px, but a layer may have {MAX_LAYER_PX:,}; open the slide "
            "with SamPath, and import them in the Export tab."
        )
    classes, objects = np.asarray(labels.class_map), np.asarray(labels.instance_map)
    names = {info.id: info.name for info in labels.classes}
    numbers, first = np.unique(objects, return_index=True)
    class_names = [names.get(int(value), "") for value in classes.ravel()[first]]
    features = {"index": numbers, CLASS_COLUMN: np.array(class_names, dtype=object)}
    return [
        (
            classes,
            {"name": f"{path.stem} classes", "colormap": class_colors(labels.classes), **place},
            "labels",
        ),
        (objects, {"name": f"{path.stem} objects", "features": features, **place}, "labels"),
    ]


def _image_of_viewer() -> tuple[tuple[int, int] | None, dict[str, Any]]:
    """Return the size (H, W) of the first image of the viewer in pixels, and where it is; None and {} without one."""
    import napari
    from napari.layers import Image

    viewer = napari.current_viewer()
    images = [] if viewer is None else [layer for layer in viewer.layers if isinstance(layer, Image)]
    if not images or images[0].ndim != 2:
        return None, {}
    image = images[0]
    data = image.data[0] if image.multiscale else image.data
    place = {"scale": tuple(image.scale), "translate": tuple(image.translate), "units": image.units}
    return (int(data.shape[0]), int(data.shape[1])), place


def write_geojson(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a Labels layer as GeoJSON for QuPath; see `write_objects`."""
    return write_objects(Path(path), data, attributes, "geojson")


def write_coco(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a Labels layer as COCO with run lengths; see `write_objects`."""
    return write_objects(Path(path), data, attributes, "coco")


def write_ome_zarr(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a Labels layer as labels in OME-Zarr; see `write_objects`."""
    return write_objects(Path(path), data, attributes, "ome-zarr")


def write_objects(path: Path, data: Any, attributes: Mapping[str, Any], format_name: str) -> list[str]:
    """Write each number of a Labels layer as one object.

    Args:
        path: File to write, or folder of an OME-Zarr with nothing but labels; it is replaced.
        data: (H, W) integers, 0 for the background.
        attributes: Attributes of the layer; the column "class" of its features names the classes of the objects.
        format_name: Name of a format.

    Returns:
        The path.

    Raises:
        ImageError: If the layer is not two-dimensional, or has negative numbers, or if `path` is a folder with other
            content than labels.
        StorageError: If the file cannot be written.
    """
    objects = np.asarray(data)
    if objects.ndim != 2 or (objects.size and objects.min() < 0):
        raise ImageError(
            f"The layer has the shape {objects.shape}, and its smallest number is {objects.min(initial=0)}; choose a "
            "two-dimensional layer without negative numbers."
        )
    entries = path.iterdir() if path.is_dir() else ()
    others = {entry.name for entry in entries if not entry.name.startswith(".")} - LABELS_ONLY
    if others:
        raise ImageError(
            f"'{path}' is a folder with other content than labels, such as '{min(others)}', which would be lost; "
            "choose another name."
        )
    numbers, places = np.unique(objects, return_inverse=True)
    names = _class_names(attributes.get("features"), numbers.tolist())
    used = sorted(set(names) - {""})
    if len(used) > MAX_CLASSES:
        raise ImageError(
            f"The column '{CLASS_COLUMN}' of the layer's features names {len(used)} classes; at most {MAX_CLASSES} are "
            "possible: merge some."
        )
    classes: list[ClassInfo] = []
    for number, name in enumerate(used, 1):
        classes.append(ClassInfo(number, name, next_color(info.color for info in classes)))
    ids = np.array([used.index(name) + 1 if name else 0 for name in names], np.uint8)
    class_map = ids[places.reshape(objects.shape)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".sampath-") as folder:
        snapshot = Snapshot("labels", None, class_map, objects.astype(np.int32), classes=classes)
        written = export_labels(folder, snapshot, [format_name])[0]
        if path.is_dir():
            path.rename(Path(folder, "replaced"))
        written.replace(path)
    return [str(path)]


def _class_names(features: Any, numbers: Sequence[int]) -> list[str]:
    """Return the class of each object number; "object" where the features of the layer name none, "" for 0."""
    named: dict[int, str] = {}
    if features is not None and CLASS_COLUMN in features and "index" in features:
        named = dict(zip(features["index"].tolist(), features[CLASS_COLUMN].astype(str), strict=True))
    return [(named.get(number) or FIRST_CLASS.name) if number else "" for number in numbers]

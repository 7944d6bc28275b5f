"""Files that an export writes for one image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from . import manifest
from .labels import DETAILS, FORMATS, KINDS, OUTLINES, RASTERS, WHOLE, Labels, file_name
from .maps import omezarr, pixels
from .objects import Objects
from .outlines import coco_writing, geojson

if TYPE_CHECKING:
    from ..files import Write, WriteFolder


@dataclass(frozen=True, slots=True)
class Output:
    """One file or folder of an export."""

    path: str
    """Path in the folder of the export."""
    kind: str
    """Key in the "files" of `classes.json`."""
    write: Write | None = None
    """Function that writes the file."""
    write_folder: WriteFolder | None = None
    """Function that writes the folder, if it is one."""


def outputs(labels: Labels, highest: int, name: str, stem: str, formats: list[str]) -> list[Output]:
    """List the files of one image; nothing is written, and objects are traced when the first outline is written.

    Args:
        labels: The label maps.
        highest: Highest object number.
        name: Name of the image, to write into files.
        stem: Start of all file names.
        formats: Some of `FORMATS`.
    """
    files = []
    for format_name in formats:
        if format_name in RASTERS:
            both = pixels.writers(format_name, labels.class_map, labels.instance_map, highest, labels.classes)
            files += [
                Output(file_name(stem, kind, FORMATS[format_name]), kind, write)
                for kind, write in zip(KINDS, both, strict=True)
            ]
    if labels.details and files:
        content = manifest.dump_details(labels.details)
        files.append(Output(file_name(stem, DETAILS, "json"), DETAILS, lambda stream: stream.write(content)))
    traced: list[Objects] = []
    for format_name in formats:
        path = file_name(stem, WHOLE, FORMATS[format_name])
        if format_name in OUTLINES:
            write = partial(_write_outlines, format_name=format_name, labels=labels, name=name, traced=traced)
            files.append(Output(path, WHOLE, write))
        elif format_name == "ome-zarr":
            files.append(Output(path, WHOLE, write_folder=partial(omezarr.write, labels=labels)))
    return files


def _write_outlines(stream: Any, format_name: str, labels: Labels, name: str, traced: list[Objects]) -> None:
    if not traced:
        traced.append(Objects.of(labels))
    if format_name == "geojson":
        stream.write(geojson.dump(traced[0], name))
    else:
        stream.write(coco_writing.dump(traced[0], name, polygons=format_name == "coco-polygons"))

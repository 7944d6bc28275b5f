"""Small valid files of other programs, of formats that this package reads and does not write."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_SQUARE = [[2.0, 2.5], [12.0, 2.5], [12.0, 9.0], [2.0, 9.0]]
_TRIANGLE = [[14.2, 3.4], [20.7, 4.1], [16.3, 12.9]]
_HEIGHT, _WIDTH = 64, 80
REFUSED = "refused"
"""Start of the names of files that are refused as they are."""


def _png(values: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format="PNG")
    return stream.getvalue()


def _x_anylabeling(folder: Path) -> None:
    mask = base64.b64encode(_png(np.full((4, 5), 255, np.uint8))).decode()
    shapes = [
        {"label": "a", "shape_type": "polygon", "points": _TRIANGLE, "group_id": 1, "score": 0.5},
        {"label": "a", "shape_type": "rectangle", "points": _SQUARE, "group_id": None, "attributes": {}},
        {"label": "b", "shape_type": "circle", "points": [[9, 9], [9, 12]], "flags": {}},
        {"label": "b", "shape_type": "mask", "points": [[3, 3], [7, 6]], "mask": mask},
        {"label": "b", "shape_type": "point", "points": [[3, 3]]},
    ]
    content = {"version": "2.4.4", "shapes": shapes, "imagePath": "a.png", "imageData": None}
    content |= {"imageHeight": _HEIGHT, "imageWidth": _WIDTH}
    (folder / "labelme.json").write_text(json.dumps(content))


def _isat(folder: Path) -> None:
    info = {"description": "ISAT", "name": "a.png", "width": _WIDTH, "height": _HEIGHT, "depth": 3}
    objects = [
        {"category": "a", "group": 1, "layer": 1.0, "segmentation": _SQUARE, "iscrowd": False},
        {"category": "__background__", "group": 2, "layer": 2.0, "segmentation": [[4, 4], [8, 4], [8, 7]]},
        {"category": "a", "group": 1, "layer": 1.0, "segmentation": _TRIANGLE, "note": ""},
    ]
    (folder / "isat.json").write_text(json.dumps({"info": info, "objects": objects}))


def _via(folder: Path) -> None:
    areas = [
        {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 7]},
        {"name": "ellipse", "cx": 12, "cy": 8, "rx": 4, "ry": 3, "theta": 0.5},
        {"name": "rect", "x": 14, "y": 9, "width": 5, "height": 4},
    ]
    regions = [{"shape_attributes": area, "region_attributes": {"type": "a"}} for area in areas]
    entry = {"filename": "a.png", "size": 9, "regions": regions}
    (folder / "via.json").write_text(json.dumps({"_via_img_metadata": {"a.png9": entry}}))


def _cvat(folder: Path) -> None:
    points = ";".join(f"{x},{y}" for x, y in _TRIANGLE)
    content = f"""<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task><labels>
    <label><name>a</name><color>#fa3253</color></label></labels></task></meta>
    <image id="0" name="a.png" width="{_WIDTH}" height="{_HEIGHT}">
    <polygon label="a" points="{points}" z_order="1" group_id="2"/>
    <box label="a" xtl="1" ytl="1" xbr="9" ybr="5" rotation="30"/>
    <ellipse label="b" cx="9" cy="9" rx="3" ry="4"/>
    <mask label="a" rle="3, 9, 8" left="2" top="10" width="5" height="4" z_order="0"/></image></annotations>"""
    (folder / "annotations.xml").write_text(content)
    with zipfile.ZipFile(folder / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", content)


def _asap(folder: Path) -> None:
    coordinates = "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate(_TRIANGLE))
    (folder / "asap.xml").write_text(
        '<?xml version="1.0"?><ASAP_Annotations><Annotations>'
        '<Annotation Name="1" Type="Polygon" PartOfGroup="a" Color="#F4FA58">'
        f"<Coordinates>{coordinates}</Coordinates></Annotation></Annotations>"
        '<AnnotationGroups><Group Name="a" PartOfGroup="None" Color="#64FE2E"/></AnnotationGroups></ASAP_Annotations>'
    )


def _imagescope(folder: Path) -> None:
    regions = "".join(
        f'<Region Id="{number}" Type="{kind}" NegativeROA="{kind // 2}"><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
        + "</Vertices></Region>"
        for number, (kind, points) in enumerate(((0, _SQUARE), (0, _TRIANGLE), (2, [[4, 4], [8, 7]])))
    )
    (folder / "imagescope.xml").write_text(
        '<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name="a" LineColor="65280">'
        f"<Regions>{regions}</Regions></Annotation></Annotations>"
    )


def _cvat_masks(folder: Path) -> None:
    values = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
    values[2:9, 2:12] = (250, 50, 83)
    files = {"labelmap.txt": b"background:0,0,0::\na:250,50,83::\n"}
    files |= {f"{name}/a.png": _png(values) for name in ("SegmentationClass", "SegmentationObject")}
    with zipfile.ZipFile(folder / "masks.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            file = folder / "masks" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def _geojson(folder: Path) -> None:
    geometry = {"type": "Polygon", "coordinates": [[*_TRIANGLE, _TRIANGLE[0]]]}
    properties = {"objectType": "cell", "classification": {"name": "gland", "color": [1, 2, 3]}}
    features = [
        {
            "type": "Feature",
            "id": "x",
            "geometry": geometry,
            "nucleusGeometry": geometry,
            "properties": properties,
        }
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features * 2})
    (folder / "qupath.geojson.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(folder / "qupath.zip", "w") as archive:
        archive.writestr("qupath.geojson", text)


def _npy(folder: Path) -> None:
    masks = np.zeros((64, 80), np.uint16)
    masks[5:20, 6:30] = 3
    np.save(folder / "map.npy", masks)
    np.save(folder / f"{REFUSED}_seg.npy", {"masks": masks, "outlines": masks}, allow_pickle=True)
    (folder / f"{REFUSED}-cut.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 8) + b"{'descr'")


EXAMPLES: dict[str, Callable[[Path], object]] = {
    "x-anylabeling": _x_anylabeling,
    "isat": _isat,
    "via": _via,
    "cvat": _cvat,
    "cvat-masks": _cvat_masks,
    "asap": _asap,
    "imagescope": _imagescope,
    "geojson": _geojson,
    "image": _npy,
}
"""Name of a format -> function that writes its files into an empty folder."""

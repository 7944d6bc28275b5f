"""Annotation files of other programs, as their documentation describes them, and expected masks."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image

HW = (40, 60)
TRIANGLE = [(10.2, 5.4), (30.7, 8.1), (15.3, 25.9)]


def inside(ring: Sequence[Sequence[float]], hw: tuple[int, int] = HW) -> npt.NDArray[np.bool_]:
    """The pixels whose centres lie inside a ring of (x, y) from pixel edges, according to shapely."""
    y, x = np.mgrid[: hw[0], : hw[1]] + 0.5
    return np.asarray(shapely.contains_xy(shapely.Polygon(ring), x, y))


def box(x0: float, y0: float, x1: float, y1: float) -> npt.NDArray[np.bool_]:
    return inside([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def disc(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> npt.NDArray[np.bool_]:
    rows, cols = np.mgrid[: HW[0], : HW[1]] + 0.5
    turn = np.exp(-1j * np.radians(degrees)) * ((cols - x) + 1j * (rows - y))
    return np.asarray((turn.real / rx) ** 2 + (turn.imag / ry) ** 2 < 1)


def png64(bitmap: npt.NDArray[np.bool_]) -> str:
    stream = io.BytesIO()
    Image.fromarray((bitmap * 255).astype(np.uint8)).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def labelme(shapes: list[dict[str, Any]], hw: tuple[int, int] = HW, **members: Any) -> bytes:
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            {"group_id": None, "description": "", "flags": {}, "mask": None, **shape} for shape in shapes
        ],
        "imagePath": "tissue.png",
        "imageData": None,
        "imageHeight": hw[0],
        "imageWidth": hw[1],
        **members,
    }
    return json.dumps(content).encode()


def isat(objects: list[dict[str, Any]], hw: tuple[int, int] = HW) -> bytes:
    info = {"description": "ISAT", "folder": "", "name": "tissue.png", "width": hw[1], "height": hw[0]}
    defaults = {"group": 0, "area": 1.0, "layer": 1.0, "bbox": [], "iscrowd": False, "note": ""}
    content = {"info": {**info, "depth": 3, "note": ""}, "objects": [{**defaults, **obj} for obj in objects]}
    return json.dumps(content, indent=4).encode()


def cvat(images: str, labels: str = "") -> bytes:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>4</id><name>nuclei</name><mode>annotation</mode><labels>{labels}</labels></task></meta>
  {images}
</annotations>
""".encode()


def cvat_image(shapes: str, name: str = "tissue.png", hw: tuple[int, int] = HW) -> str:
    return f'<image id="0" name="{name}" width="{hw[1]}" height="{hw[0]}">{shapes}</image>'


def asap(annotations: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], groups: str = "") -> bytes:
    """Annotations are (type, group, points)."""
    text = "".join(
        f'<Annotation Name="Annotation {index}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58"><Coordinates>'
        + "".join(
            # In reverse, because the attribute "Order" counts.
            f'<Coordinate Order="{order}" X="{x}" Y="{y}" />'
            for order, (x, y) in reversed(list(enumerate(points)))
        )
        + "</Coordinates></Annotation>"
        for index, (kind, group, points) in enumerate(annotations)
    )
    return (
        '<?xml version="1.0"?>\n<ASAP_Annotations>\n<Annotations>'
        f"{text}</Annotations><AnnotationGroups>{groups}</AnnotationGroups></ASAP_Annotations>\n"
    ).encode()


def imagescope(layers: Sequence[tuple[str, Sequence[tuple[str, Sequence[tuple[float, float]]]]]]) -> bytes:
    """Layers are (attributes, regions); regions are (attributes, points)."""
    text = "".join(
        f'<Annotation {attributes}><Attributes><Attribute Name="Description" Id="0" Value=""/></Attributes>'
        "<Regions><RegionAttributeHeaders/>"
        + "".join(
            f'<Region Zoom="0.5" {region}><Attributes/><Vertices>'
            + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
            + "</Vertices></Region>"
            for region, points in regions
        )
        + "</Regions><Plots/></Annotation>"
        for attributes, regions in layers
    )
    return f'<Annotations MicronsPerPixel="0.252100">{text}</Annotations>'.encode()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path

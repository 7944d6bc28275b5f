"""Hostile COCO and GeoJSON files end in a sentence, in time and memory that the image bounds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sampath.errors import SampathError
from napari_sampath.formats import import_objects


def coco(segmentation: Any, height: Any = 64, width: Any = 80, **changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a", "height": height, "width": width}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation, **changes}],
    }


def feature(ring: Any, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }


TALL = {"size": [2**31 - 1, 2], "counts": [5, 2**32 - 2 - 5]}
RING = [[1, 1], [9, 1], [9, 9]]


@pytest.mark.parametrize(
    "content",
    [
        coco({"size": [64, 80], "counts": "o" * 10_000_000}),
        coco({"size": [64, 80], "counts": [2**62, 2**62, 2**62, 2**62 + 5120]}),
        coco({"size": [64, 80], "counts": [2**63, 5120]}),
        coco(TALL, height=2**31 - 1, width=2),
        coco({"size": [-64, 80], "counts": [5]}),
        coco({"size": [64, 80], "counts": [1.5, "x", None]}),
        coco([[1e300, 1, 2, 1, 2, 2]]),
        coco([[10**30, 1, 2, 1, 2, 2]]),
        coco(RING, height=1e999),
        feature([[0, 0], [1e308, 0], [0, 1e308]]),
        feature([[0, 0], [30_000, 0], [30_000, 30_000], [0, 30_000]]),
        feature(RING, measurements={"Score": 10**400}),
        {"type": "FeatureCollection", "features": 5},
        {"type": "FeatureCollection", "features": [5, None, []]},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": {"a": 1}}},
    ],
)
def test_hostile_content_is_refused_quickly(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    start = time.process_time()
    with pytest.raises(SampathError) as caught:
        import_objects(path)
    assert time.process_time() - start < 10
    assert len(str(caught.value)) < 1100
    assert "\n" not in str(caught.value)


def test_many_corners_and_many_large_objects_cost_bounded_work(tmp_path: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, 100_000)
    circle = np.stack([500 + 400 * np.cos(angles), 500 + 400 * np.sin(angles)], axis=1)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(feature(circle.tolist())))
    start = time.process_time()
    (obj,) = import_objects(path, hw=(1000, 1000)).items
    assert time.process_time() - start < 10
    assert abs(obj.mask.area_px - np.pi * 400**2) < 2000
    square = [[0, 0], [1000, 0], [1000, 1000], [0, 1000]]
    path.write_text(json.dumps([feature(square)] * 2000))
    start = time.process_time()
    with pytest.raises(SampathError, match="cover more than"):
        import_objects(path, hw=(1000, 1000))
    assert time.process_time() - start < 20


def test_more_objects_than_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    outside = [[100, 100], [120, 100], [120, 120]]  # Objects beside the image, as in a file of a whole slide.
    path.write_text(json.dumps([*[feature(RING)] * 256, *[feature(outside)] * 500]))
    assert len(import_objects(path, hw=(16, 16)).items) == 1
    path.write_text(json.dumps([feature(RING)] * 257))
    with pytest.raises(SampathError, match=r"has more objects than the image has pixels \(256\); check that"):
        import_objects(path, hw=(16, 16))

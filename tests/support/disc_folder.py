"""Dataset folder of discs."""

from __future__ import annotations

import csv
import json

from PIL import Image

from napari_sampath.arrays import ClassInfo
from support.models.patches import disc_image

CLASSES = (ClassInfo(0, "background", (0, 0, 0)), ClassInfo(1, "disc", (255, 0, 0)))


def write_folder(folder, count=10, groups=5, hw=(96, 96), classes=True, index=True):
    """Write images of discs as a dataset folder: images/, labels/, index.csv, classes.json."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    rows = []
    for number in range(count):
        pixels, labels = disc_image(number, hw)
        Image.fromarray(pixels).save(folder / "images" / f"p{number}.png")
        Image.fromarray(labels).save(folder / "labels" / f"p{number}.png")
        rows.append({"name": f"p{number}", "group": f"case{number % groups}"})
    if index:
        with (folder / "index.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["name", "group"])
            writer.writeheader()
            writer.writerows(rows)
    if classes:
        listed = [{"id": c.id, "name": c.name, "color": c.color} for c in CLASSES]
        (folder / "classes.json").write_text(json.dumps({"classes": listed}))
    return folder

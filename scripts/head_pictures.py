"""Write the picture of each shipped head: a result on a validation image of the data it was trained on.

    python scripts/head_pictures.py ../shared/data

The pictures are 128 x 128 px PNG files beside the bundles and are shown on the cards of the Auto-segment tab.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from napari_sampath import load_head, segment
from napari_sampath.heads import list_bundles
from napari_sampath.images import read

FOLDERS = {"gland": "ebhi_glands", "nucleus": "bbbc038_nuclei", "tumour": "bcss_tumor"}
SIDE_PX = 128
CROP_PX = 256


def picture(head: str, folder: Path) -> Image.Image:
    """Return the result of a head on the validation image in which about half of the pixels belong to its class."""
    with (folder / "index.csv").open(newline="") as stream:
        names = [row["name"] for row in csv.DictReader(stream) if row["split"] == "val"]
    loaded, best = load_head(head), None
    for name in names[:: max(1, len(names) // 12)]:
        pixels = read(next((folder / "images").glob(f"{Path(name).stem}.*"))).pixels[:CROP_PX, :CROP_PX]
        labels = np.asarray(segment(pixels, loaded).labels)
        distance = abs(float((labels > 0).mean()) - 0.4)
        if best is None or distance < best[0]:
            best = distance, pixels, labels
    if best is None:
        raise SystemExit(f"'{folder}' has no validation images.")
    _, pixels, labels = best
    shown = pixels.astype(np.float32)
    for info in loaded.classes:
        inside = labels == info.id
        edge = inside & ~ndimage.binary_erosion(inside)
        if info.id > 0:
            shown[inside] = 0.7 * shown[inside] + 0.3 * np.array(info.color)
            shown[edge] = info.color
    side = min(shown.shape[:2])
    image = Image.fromarray(shown[:side, :side].astype(np.uint8)).resize(
        (SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS
    )
    return image.quantize(128)


def main() -> None:
    """Write all pictures."""
    data = Path(sys.argv[1])
    bundles = Path(load_head(list_bundles()[0]).source).parent
    for head in list_bundles():
        picture(head, data / FOLDERS[head.partition("-")[0]]).save(bundles / f"{head}.png", optimize=True)


if __name__ == "__main__":
    main()

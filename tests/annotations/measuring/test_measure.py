"""Measurements of known shapes and colours."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import napari_sampath as ns
from napari_sampath.annotations.measuring.columns import CLASS_COLUMNS, OBJECT_COLUMNS
from napari_sampath.annotations.measuring.shapes import feret_diameters, stain_densities
from napari_sampath.arrays import ClassInfo
from napari_sampath.cli import main
from napari_sampath.errors import ImageError
from napari_sampath.formats import DatasetFolder, Snapshot


def canvas(hw: tuple[int, int] = (200, 300)) -> np.ndarray:
    return np.zeros(hw, dtype=np.int32)


def disc(hw: tuple[int, int], row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: hw[0], : hw[1]]
    return (rows + 0.5 - row) ** 2 + (cols + 0.5 - col) ** 2 <= radius**2


def test_a_rectangle() -> None:
    ids = canvas()
    ids[20:30, 40:64] = 7
    (row,) = ns.measure(ids).objects
    assert row["id"] == 7
    assert row["area_px"] == 240
    assert (row["centroid_x_px"], row["centroid_y_px"]) == (52, 25)
    assert row["feret_max_px"] == pytest.approx(26)
    assert row["feret_min_px"] == pytest.approx(10)
    assert row["area_um2"] is None
    assert row["mean_red"] is None


@pytest.mark.parametrize("radius", [12, 30, 60])
def test_a_disc(radius: int) -> None:
    ids = disc((200, 300), 100, 150, radius).astype(np.int32)
    (row,) = ns.measure(ids, mpp=0.5).objects
    assert row["area_px"] == pytest.approx(math.pi * radius**2, rel=0.02)
    assert row["area_um2"] == pytest.approx(row["area_px"] / 4)
    assert row["perimeter_px"] == pytest.approx(2 * math.pi * radius, rel=0.05)
    assert row["perimeter_um"] == pytest.approx(row["perimeter_px"] / 2)
    assert row["circularity"] > 0.93
    assert row["feret_max_px"] == pytest.approx(2 * radius, abs=1.5)
    assert row["feret_min_um"] == pytest.approx(radius, abs=0.75)
    assert (row["centroid_x_px"], row["centroid_y_px"]) == pytest.approx((150, 100), abs=0.01)


def test_an_ellipse_is_less_circular_than_a_disc_and_a_ring_has_two_outlines() -> None:
    rows, cols = np.mgrid[:200, :300]
    ellipse = ((rows - 100) / 20) ** 2 + ((cols - 150) / 80) ** 2 <= 1
    (flat,) = ns.measure(ellipse.astype(np.int32)).objects
    assert 0.4 < flat["circularity"] < 0.75
    ring = disc((200, 300), 100, 150, 60) & ~disc((200, 300), 100, 150, 30)
    (hollow,) = ns.measure(ring.astype(np.int32)).objects
    assert hollow["perimeter_px"] == pytest.approx(2 * math.pi * 90, rel=0.05)


def test_a_single_pixel_and_an_object_at_the_edge() -> None:
    ids = canvas()
    ids[0, 0] = 1
    ids[190:200, 290:300] = 2
    pixel, corner = ns.measure(ids).objects
    assert pixel["area_px"] == 1
    assert pixel["feret_min_px"] == pytest.approx(1)
    assert pixel["feret_max_px"] == pytest.approx(math.sqrt(2))
    assert (corner["centroid_x_px"], corner["centroid_y_px"]) == (295, 195)


def test_a_slanted_bar_has_the_width_of_the_bar() -> None:
    rows, cols = np.mgrid[:200, :200]
    across, along = (rows - cols) / math.sqrt(2), (rows + cols - 200) / math.sqrt(2)
    bar = (abs(across) <= 10) & (abs(along) <= 60)
    largest, smallest = feret_diameters(bar)
    assert smallest == pytest.approx(20, abs=2)
    assert largest == pytest.approx(math.hypot(20, 120), abs=3)


def test_the_colour_is_that_of_the_object_alone() -> None:
    ids = canvas()
    ids[50:60, 50:60] = 1
    image = np.full((*ids.shape, 3), 240, dtype=np.uint8)
    image[50:60, 50:60] = (120, 60, 150)
    (row,) = ns.measure(ids, image).objects
    assert [row[f"mean_{name}"] for name in ("red", "green", "blue")] == [120, 60, 150]


@pytest.mark.parametrize(("stain", "column"), [(0, "od_haematoxylin"), (1, "od_eosin")])
def test_optical_densities_separate_pure_stains(stain: int, column: str) -> None:
    from skimage.color import rgb_from_hed

    densities = np.zeros(3)
    densities[stain] = 0.6
    rgb = 255 * 10 ** -(densities @ rgb_from_hed)
    np.testing.assert_allclose(stain_densities(rgb[None])[0], densities, atol=1e-6)
    ids = canvas()
    ids[50:60, 50:60] = 1
    image = np.broadcast_to(rgb.round().astype(np.uint8), (*ids.shape, 3))
    (row,) = ns.measure(ids, image).objects
    assert row[column] == pytest.approx(0.6, abs=0.02)
    other = {"od_haematoxylin", "od_eosin"} - {column}
    assert row[other.pop()] == pytest.approx(0, abs=0.02)


def test_counts_and_densities() -> None:
    ids = canvas((1000, 1000))
    for number in range(4):
        ids[100:110, 100 + 50 * number : 110 + 50 * number] = number + 1
    verified = np.zeros(ids.shape, dtype=bool)
    verified[:, :180] = True
    (row,) = ns.measure(ids, mpp=1.0, verified=verified, name="tile").classes
    assert row["image"] == "tile"
    assert row["objects"] == 4
    assert row["density_per_mm2"] == pytest.approx(4)
    assert row["verified_px"] == 180_000
    assert row["verified_objects"] == 2
    assert row["verified_density_per_mm2"] == pytest.approx(2 / 0.18)


def test_only_crops_of_the_image_are_read() -> None:
    class Crops:
        shape = (100_000, 100_000, 3)
        largest = 0

        def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
            height, width = (part.stop - part.start for part in index)
            self.largest = max(self.largest, height * width)
            return np.full((height, width, 3), 100, dtype=np.uint8)

    from napari_sampath.arrays import LocalMask
    from napari_sampath.formats import LabelledObject, Objects

    mask = LocalMask(70_000, 80_000, np.ones((20, 30), dtype=bool))
    objects = Objects((100_000, 100_000), (ClassInfo(1, "cell", (1, 2, 3)),), (LabelledObject(1, 1, mask),))
    image = Crops()
    (row,) = ns.measure(objects, image).objects
    assert image.largest == 600
    assert row["mean_red"] == 100
    assert row["centroid_x_px"] == 80_015


@pytest.mark.parametrize("mpp", [0, -1, math.inf, math.nan])
def test_bad_input_is_refused(mpp: float) -> None:
    with pytest.raises(ImageError, match="pixel size"):
        ns.measure(canvas(), mpp=mpp)
    with pytest.raises(ImageError, match="give the image of these objects"):
        ns.measure(canvas(), np.zeros((3, 3, 3), dtype=np.uint8))
    with pytest.raises(ImageError, match="integers"):
        ns.measure(np.zeros((3, 3)))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_command_measures_a_label_file(tmp_path: Path) -> None:
    ids = canvas((64, 80)).astype(np.uint16)
    ids[10:20, 10:30] = 3
    Image.fromarray(ids).save(tmp_path / "ids.png")
    image = np.full((64, 80, 3), 90, dtype=np.uint8)
    image[0] = 200
    Image.fromarray(image).save(tmp_path / "tile.png")
    out, classes = tmp_path / "objects.csv", tmp_path / "classes.csv"
    command = ["measure", str(tmp_path / "tile.png"), "--labels", str(tmp_path / "ids.png"), "--mpp", "0.5"]
    assert main([*command, "-o", str(out), "--classes", str(classes), "--quiet"]) == 0
    (row,) = read(out)
    assert list(row) == list(OBJECT_COLUMNS)
    assert row["area_px"] == "200"
    assert float(row["area_um2"]) == 50
    assert row["mean_red"] == "90"
    (density,) = read(classes)
    assert list(density) == list(CLASS_COLUMNS)
    assert density["objects"] == "1"


def test_the_command_measures_a_dataset(tmp_path: Path) -> None:
    folder = DatasetFolder.create(tmp_path / "data", (ClassInfo(1, "gland", (1, 2, 3)),))
    for number in (1, 2):
        labels = np.zeros((64, 80), dtype=np.uint8)
        labels[5 : 5 + 10 * number, 5:15] = 1
        image = np.full((64, 80, 3), number, dtype=np.uint8)
        folder.save_image(Snapshot(f"tile {number}", image, labels, labels.astype(np.uint16)))
    out = tmp_path / "objects.csv"
    assert main(["measure", str(folder.path), "-o", str(out), "--quiet"]) == 0
    assert [(row["image"], row["class"], row["area_px"]) for row in read(out)] == [
        ("tile 1", "gland", "100"),
        ("tile 2", "gland", "200"),
    ]


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    image[0] = 200
    Image.fromarray(image).save(tmp_path / "tile.png")
    assert main(["measure", str(tmp_path / "tile.png"), "-o", str(tmp_path / "objects.csv")]) == 1
    assert "has not been annotated" in capsys.readouterr().err
    assert not (tmp_path / "objects.csv").exists()


def test_the_documentation_lists_every_column() -> None:
    page = (Path(__file__).parents[3] / "docs" / "measurements.md").read_text(encoding="utf-8")
    for name, meaning in {**OBJECT_COLUMNS, **CLASS_COLUMNS}.items():
        assert f"| `{name}` | {meaning} |" in page

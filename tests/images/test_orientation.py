"""The orientation tag of EXIF and TIFF, for images and label maps together."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from napari_sampath.cli import main
from napari_sampath.errors import ImageError
from napari_sampath.images import read
from napari_sampath.rasters import read_labels, read_size
from napari_sampath.session import Session
from support.sample_images import RGB, SMOOTH

TAG = 274
LABELS = (RGB[..., 0] > 200).astype(np.uint8) * (1 + RGB[..., 1] % 4)


def displayed(values: np.ndarray, tag: int) -> np.ndarray:
    """Return what Pillow displays."""
    image = Image.fromarray(values)
    image.getexif()[TAG] = tag
    return np.asarray(ImageOps.exif_transpose(image))


def save(path: Path, values: np.ndarray, tag: int) -> None:
    if path.suffix == ".tif":
        tags = [(TAG, "H", 1, tag, True)]
        kind = "rgb" if values.ndim == 3 else "minisblack"
        tifffile.imwrite(path, values, photometric=kind, extratags=tags, metadata=None)
        return
    exif = Image.Exif()
    exif[TAG] = tag
    Image.fromarray(values).save(path, exif=exif, **({"quality": 95} if path.suffix == ".jpg" else {}))


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_images_are_turned_for_display(tmp_path: Path, suffix: str, tag: int) -> None:
    path = tmp_path / f"a.{suffix}"
    values = SMOOTH if suffix == "jpg" else RGB
    save(path, values, tag)
    loaded = read(path)
    expected = displayed(values, tag)
    assert loaded.pixels.shape == expected.shape == (*read_size(path), 3)
    assert np.abs(loaded.pixels.astype(int) - expected).mean() < (5 if suffix == "jpg" else 1e-9)
    assert loaded.orientation == tag
    assert (f"orientation tag {tag}" in (loaded.note or "")) == (tag > 1)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_label_maps_are_turned_by_their_own_tag(tmp_path: Path, suffix: str, tag: int) -> None:
    path = tmp_path / f"a.{suffix}"
    save(path, LABELS, tag)
    expected = displayed(LABELS, tag)
    np.testing.assert_array_equal(read_labels(path, expected.shape).values, expected)
    np.testing.assert_array_equal(read_labels(path).values, expected)


@pytest.mark.parametrize("tag", [5, 6, 7, 8])
def test_labels_drawn_on_the_image_before_turning_are_turned_with_it(tmp_path: Path, tag: int) -> None:
    save(tmp_path / "image.jpg", SMOOTH, tag)
    save(tmp_path / "stored.png", LABELS, 1)
    save(tmp_path / "shown.png", displayed(LABELS, tag), 1)
    image = read(tmp_path / "image.jpg")
    hw = image.pixels.shape[:2]
    for name in ("stored.png", "shown.png"):
        labels = read_labels(tmp_path / name, hw, image.orientation)
        np.testing.assert_array_equal(labels.values, displayed(LABELS, tag))
    with pytest.raises(ImageError, match=r"is 60 x 40 px, but its image is 40 x 60 px"):
        read_labels(tmp_path / "stored.png", hw)


def test_a_damaged_or_impossible_tag_is_ignored(tmp_path: Path) -> None:
    for tag in (0, 9, 255):
        save(tmp_path / "a.png", RGB, tag)
        np.testing.assert_array_equal(read(tmp_path / "a.png").pixels, RGB)
    Image.fromarray(RGB).save(tmp_path / "b.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read(tmp_path / "b.png").pixels, RGB)


@pytest.mark.parametrize("tag", [1, 3, 6, 8])
def test_labels_are_imported_into_a_turned_image(tmp_path: Path, tag: int) -> None:
    save(tmp_path / "image.png", RGB, tag)
    stored = np.zeros(RGB.shape[:2], np.uint8)
    stored[4:15, 6:30] = 1
    shown = displayed(stored, tag)
    names = ["shown.png", "stored.png"] if tag >= 5 else ["shown.png"]
    for name, values in zip(names, (shown, stored), strict=False):
        save(tmp_path / name, values, 1)
        journal = tmp_path / f"{name}.jsonl"
        words = ["import", tmp_path / name, tmp_path / "image.png", "--journal", journal, "--quiet"]
        assert main([str(word) for word in words]) == 0
        with contextlib.closing(
            Session(read(tmp_path / "image.png").pixels, "image", journal=journal)
        ) as session:
            assert len(session.document.objects) == 1
            np.testing.assert_array_equal(np.asarray(session.document.instance_map[:]) > 0, shown > 0)

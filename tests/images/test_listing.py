from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import ImageError
from napari_sampath.formats import Snapshot, export_labels
from napari_sampath.images import list_images
from napari_sampath.images.listing import HIDDEN, LISTED, NAMED_AS_LABELS, NOT_FILES
from support.sample_images import RGB


def save(folder: Path, *names: str) -> None:
    for name in names:
        if name.endswith(".zarr"):
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(b"x")


def names(folder: Path, **options: bool) -> list[str]:
    return [path.name for path in list_images(folder, **options).paths]


def test_endings_count_in_any_case_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    save(tmp_path, "b.PNG", "a.Tif", "c.jpeg", "._a.png", ".hidden.png", "notes.txt", "s.svs", "z.ome.zarr")
    assert names(tmp_path) == ["a.Tif", "b.PNG", "c.jpeg"]
    assert names(tmp_path, slides=True) == ["a.Tif", "b.PNG", "c.jpeg", "s.svs", "z.ome.zarr"]
    listing = list_images(tmp_path)
    assert listing.left_out == {HIDDEN: ("._a.png", ".hidden.png")}
    assert listing.note is None


@pytest.mark.parametrize(
    "name",
    [
        "a_mask.png",
        "a_masks.tif",
        "a_cp_masks.png",
        "a-mask.PNG",
        "a_labels.tif",
        "a.labels.tif",
        "a_label.png",
        "a-labelled.png",
        "a_classes.png",
        "a_instances.tif",
        "a_mask_2.png",
        "other_mask.png",
        "masks.tif",
    ],
)
def test_masks_and_label_maps_are_left_out(tmp_path: Path, name: str) -> None:
    save(tmp_path, "a.png", "unmasked.png", "mask ring trial.png", name)
    listing = list_images(tmp_path)
    assert [path.name for path in listing.paths] == ["a.png", "mask ring trial.png", "unmasked.png"]
    assert listing.left_out == {NAMED_AS_LABELS: (name,)}
    assert listing.note == f"1 file was left out: 1 named as masks or label maps ({name})."


def test_less_clear_names_are_left_out_only_beside_their_image(tmp_path: Path) -> None:
    save(tmp_path, "a.png", "a_seg.png", "a_gt.tif", "mask_a.png", "a_Simple Segmentation.tif")
    save(tmp_path, "b_seg.png", "tumour_objects.jpg", "gt_7.png")
    assert names(tmp_path) == ["a.png", "b_seg.png", "gt_7.png", "tumour_objects.jpg"]


def test_exports_beside_the_images_are_left_out(tmp_path: Path) -> None:
    """Case 20: exports of three images into their own folder."""
    labels = np.zeros(RGB.shape[:2], np.uint8)
    labels[5:20, 5:20] = 1
    for number in range(3):
        Image.fromarray(RGB).save(tmp_path / f"case{number}.png")
        classes = (ClassInfo(1, "tumour", (255, 0, 0)),)
        snapshot = Snapshot(f"case{number}", None, labels, labels.astype(np.int32), classes=classes)
        export_labels(tmp_path, snapshot, ("png", "tiff", "ome-zarr"))
    assert len(list(tmp_path.glob("*.tif"))) == 6
    assert names(tmp_path, slides=True) == ["case0.png", "case1.png", "case2.png"]
    content = json.loads((tmp_path / "classes.json").read_text())
    content["images"]["case0"]["files"]["classes"].append("surprise.png")
    (tmp_path / "classes.json").write_text(json.dumps(content))
    save(tmp_path, "surprise.png")
    listing = list_images(tmp_path)
    assert len(listing.paths) == 3
    assert "surprise.png" in listing.left_out[LISTED]


@pytest.mark.parametrize(
    "content", ["[", "[]", '{"images": 3}', '{"images": {"a": {"files": {"classes": 3}}}}']
)
def test_a_damaged_class_file_is_ignored(tmp_path: Path, content: str) -> None:
    save(tmp_path, "a.png", "a_classes.png")
    (tmp_path / "classes.json").write_text(content)
    assert names(tmp_path) == ["a.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_pipes_folders_and_broken_links_are_left_out(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    listing = list_images(tmp_path)
    assert [path.name for path in listing.paths] == ["a.png"]
    assert listing.left_out == {NOT_FILES: ("broken.png", "folder.png", "pipe.png")}


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="There is no folder"):
        list_images(tmp_path / "gone")


def test_files_named_as_label_maps_of_no_image_are_said(tmp_path: Path) -> None:
    save(
        tmp_path,
        "a.png",
        "a_mask.png",
        "a_cp_masks.tif",
        "a_seg.png",
        "b.ome.tif",
        "b_labels.tif",
        "._x_mask.png",
    )
    assert list_images(tmp_path).doubt is None
    save(tmp_path, "H24_classes.png", "tissue_instances.tif")
    listing = list_images(tmp_path)
    assert listing.doubtful == ("H24_classes.png", "tissue_instances.tif")
    assert "2 files named as label maps of no image (H24_classes.png, tissue_instances.tif)" in str(
        listing.doubt
    )

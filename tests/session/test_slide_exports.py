"""Export of a slide without holding its maps: what other programs read is what the document holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import shapely.geometry
import tifffile
import zarr

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.errors import ImageError
from napari_sampath.formats import import_objects
from napari_sampath.images.slides import ArraySlide, open_slide
from napari_sampath.jobs import run
from napari_sampath.session import Project, Session
from napari_sampath.session.files.slide_windows import windows_of
from napari_sampath.session.project.samples import ProjectSamples, place_in_image

HW = (9000, 8501)
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))
DISC = np.hypot(*(np.mgrid[:301, :301] - 150)) < 150


@pytest.fixture
def session() -> Session:
    pixels = np.broadcast_to(np.array((200, 150, 180), np.uint8), (*HW, 3))
    session = Session(ArraySlide([pixels], "biopsy", 0.25), "biopsy", None, CLASSES)
    ring = DISC.copy()
    ring[100:200, 100:200] = False
    session.paint_mask(LocalMask(1000, 7000, ring), 1)
    session.paint_mask(LocalMask(1600, 320, ring, 16), 2)
    # It reaches beyond the corner of the slide.
    session.paint_mask(LocalMask(8704, 8192, np.ones((20, 20), bool), 64), 1)
    return session


def test_the_rings_of_a_geojson_are_valid_and_enclose_the_pixels(session: Session, tmp_path: Path) -> None:
    session.files.export(tmp_path, ("geojson",))
    content = json.loads((tmp_path / "biopsy_objects.geojson").read_text())
    assert (content["sampath"]["height"], content["sampath"]["width"]) == HW
    rows = {f"{row.class_name} {row.id}": row for row in session.objects.rows()}
    assert len(rows) == len(content["features"]) == 3
    for feature in content["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        row = rows[feature["properties"]["name"]]
        assert shape.is_valid
        assert shape.area == row.area_px
        left, top, right, bottom = shape.bounds
        assert 0 <= left < right <= HW[1]
        assert 0 <= top < bottom <= HW[0]
    areas = {
        obj.number: obj.mask.area_px for obj in import_objects(tmp_path / "biopsy_objects.geojson").items
    }
    assert areas == {row.id: row.area_px for row in rows.values()}


def test_label_pyramids_are_read_by_tifffile_openslide_and_zarr(session: Session, tmp_path: Path) -> None:
    session.files.export(tmp_path, ("tiff", "ome-zarr"))
    document = session.document
    for kind, values in (("classes", document.class_map), ("instances", document.instance_map)):
        with tifffile.TiffFile(tmp_path / f"biopsy_{kind}.tif") as file:
            levels = file.series[0].levels
            assert [level.shape for level in levels] == [tuple(-(-s // 2**k) for s in HW) for k in range(5)]
            assert all(level.keyframe.is_tiled for level in levels)
            for k in (2, 4):
                np.testing.assert_array_equal(levels[k].asarray(), values.read((0, 0, *HW), 2**k))
        array: Any = zarr.open_array(tmp_path / f"biopsy_objects.ome.zarr/labels/{kind}/0", mode="r")
        for r0, c0 in ((900, 6900), (6000, 4000), (8700, 8100)):
            part = values.window((r0, c0, min(r0 + 400, HW[0]), min(c0 + 400, HW[1])))
            np.testing.assert_array_equal(array[r0 : r0 + 400, c0 : c0 + 400], part)
    with openslide.OpenSlide(tmp_path / "biopsy_classes.tif") as slide:
        assert slide.level_count == 5
        region = np.asarray(slide.read_region((1000, 2000), 0, (700, 600)))[..., 0]
        np.testing.assert_array_equal(region, document.class_map.window((2000, 1000, 2600, 1700)))
    with open_slide(tmp_path / "biopsy_classes.tif") as slide:
        assert len(slide.levels) == 5
        np.testing.assert_array_equal(slide[8800:, 8300:, 0], document.class_map.window((8800, 8300, *HW)))


def test_an_object_that_a_format_cannot_hold_is_named(session: Session, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"object 2 of 'biopsy' is 4784 x 4784 px .* export it as geojson"):
        session.files.export(tmp_path, ("labelme",))
    assert not list(tmp_path.glob("*labelme*"))


def test_verified_windows_of_a_slide_become_training_samples_of_one_case(tmp_path: Path) -> None:
    hw = (5000, 4500)
    rows, cols = np.mgrid[: hw[0], : hw[1]]
    pixels = np.stack([rows // 20 % 256, cols // 20 % 256, (rows + cols) // 40 % 256], axis=-1).astype(
        np.uint8
    )
    slide = ArraySlide([pixels], "biopsy", 0.25)
    project = Project.create(tmp_path / "project", classes=CLASSES)
    project.add(slide.digest, hw, "biopsy", _file(tmp_path), mpp=0.25)
    session = Session(slide, "biopsy", None, CLASSES)
    session.files.mpp = 0.25
    samples = ProjectSamples(project)

    def save() -> dict[str, int]:
        """Save, and return the revision of each sample."""
        samples.mark_changed(session)
        job = samples.save_job()
        if job is not None:
            run(job)
        project.reload()
        return {name: image.revision for name, image in project.dataset.images.items()}

    assert save() == {}
    session.paint_mask(LocalMask(1000, 2000, np.ones((600, 700), bool)), 2)
    session.area.mark((4200, 100, 4300, 200))
    # A sample has 1,024 px at 0.5 um, the scale of objective 20x, so that a window has 2,048 px.
    first = {"biopsy @0,0": 1, "biopsy @0,2048": 1, "biopsy @4096,0": 1}
    assert save() == first
    assert project.missing == ()
    place = place_in_image(project, "biopsy @0,2048", (10, 20, 30, 40))
    assert place == (project.image("biopsy"), (20, 2088, 60, 2128))
    assert place_in_image(project, "another @0,2048", (10, 20, 30, 40)) is None
    for row, col in ((0, 0), (0, 2048), (4096, 0)):
        item = project.dataset.read(f"biopsy @{row},{col}")
        assert project.dataset.images[f"biopsy @{row},{col}"].mpp == 0.5
        box = (row, col, min(row + 2048, hw[0]), min(col + 2048, hw[1]))
        assert np.array_equal(item.pixels, slide.read(box, 2))
        window = np.s_[row + 1 : box[2] : 2, col + 1 : box[3] : 2]
        assert np.array_equal(item.labels, np.asarray(session.document.class_map)[window])
        assert np.array_equal(item.annotated, session.area.mask()[window])
    project.set_split("biopsy", "val")
    assert {project.dataset.split_of(name) for name in first} == {"val"}
    assert project.split_of(project.image("biopsy")) == "val"

    session.paint_mask(LocalMask(10, 10, np.ones((50, 50), bool)), 1)  # Changes one window.
    assert save() == {**first, "biopsy @0,0": 2}
    session.area.mark((4200, 100, 4300, 200), False)  # Nothing is verified in the last window any more.
    del first["biopsy @4096,0"]
    assert save() == {**first, "biopsy @0,0": 2}
    project.rename_image(slide.digest, "case 7")
    assert set(save()) == {"case 7 @0,0", "case 7 @0,2048"}
    assert project.missing == ()
    project.set_training(slide.digest, False)
    assert save() == {}


def _file(folder: Path) -> Path:
    file = folder / "biopsy.tif"
    file.write_bytes(b"the pixels are in memory")
    return file


def test_an_image_whose_name_is_like_that_of_a_window_is_no_window() -> None:
    assert windows_of("case", ("case @0,2048", "case @20", "case @1,2,3", "case 7 @0,0")) == ("case @0,2048",)


@pytest.mark.parametrize("change", ["rename", "leave", "remove"])
def test_an_image_changed_while_its_windows_are_saved_leaves_no_sample_behind(
    tmp_path: Path, change: str
) -> None:
    hw = (2500, 2300)
    slide = ArraySlide([np.broadcast_to(np.array((200, 150, 180), np.uint8), (*hw, 3))], "biopsy", 0.5)
    project = Project.create(tmp_path / "project", classes=CLASSES)
    project.add(slide.digest, hw, "biopsy", _file(tmp_path), mpp=0.5)
    session = Session(slide, "biopsy", None, CLASSES)
    session.area.mark((1000, 1000, 1100, 1100))  # In four windows
    samples = ProjectSamples(project)
    samples.mark_changed(session)
    job = samples.save_job()
    assert job is not None
    while not project.dataset.images:
        next(job)
    if change == "rename":
        project.rename_image(slide.digest, "case 7")
    elif change == "leave":
        project.set_training(slide.digest, False)
    else:
        project.remove(slide.digest)
    run(job)
    names = {f"case 7 @{row},{col}" for row in (0, 1024) for col in (0, 1024)}
    assert set(project.dataset.images) == (names if change == "rename" else set())
    assert project.missing == ()

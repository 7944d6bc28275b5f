"""napari's File menu reads and writes annotation files, and still opens ordinary images without asking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from benchmarks.gui_driver import wait_until
from napari.layers import Layer
from npe2 import PluginManager, PluginManifest
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import ImageError
from napari_sampath.formats import import_labels
from napari_sampath.formats.maps import slide_result
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.widgets.export import napari_files
from napari_sampath.widgets.export.napari_files import (
    get_reader,
    read_zarr,
    write_coco,
    write_geojson,
    write_ome_zarr,
)
from support.slide_files import WRITERS as SLIDE_WRITERS

WRITERS = {".geojson": write_geojson, ".json": write_coco, ".ome.zarr": write_ome_zarr}
MAP = np.zeros((60, 80), np.int32)
MAP[5:20, 10:30] = 1
MAP[30:50, 40:70] = 7
FEATURES = pd.DataFrame({"index": [0, 1, 7], "class": ["", "gland", "tumour"]})


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_labels_layer_is_written_and_imported_with_its_classes(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"layer{suffix}"
    for _ in range(2):  # the second time replaces the first
        assert WRITERS[suffix](str(path), MAP, {"name": "x", "features": FEATURES}) == [str(path)]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    labels = import_labels(path, hw=MAP.shape)
    names = {info.id: info.name for info in labels.classes}
    assert names[int(labels.class_map[10, 20])] == "gland"
    assert names[int(labels.class_map[40, 50])] == "tumour"
    np.testing.assert_array_equal(np.asarray(labels.instance_map) > 0, MAP > 0)
    assert len(np.unique(labels.instance_map)) == 3


def test_an_image_is_not_replaced_by_labels(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.zarr"
    zarr.open_group(str(path), mode="w").create_array("0", data=MAP)
    with pytest.raises(ImageError, match="such as '0', which would be lost"):
        write_ome_zarr(str(path), MAP, {})
    assert (path / "0").is_dir()


def test_a_layer_without_classes_is_written_as_objects(tmp_path: Path) -> None:
    write_geojson(str(tmp_path / "a.geojson"), MAP, {})
    labels = import_labels(tmp_path / "a.geojson", hw=MAP.shape)
    assert {info.name for info in labels.classes} == {"object"}
    assert len(np.unique(labels.instance_map)) == 3


def test_a_result_on_a_slide_is_a_layer_also_while_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide_result, "BLOCK_PX", 64)
    monkeypatch.setattr(slide_result, "CHUNK_PX", 4)
    classes = (ClassInfo(0, "background", (0, 0, 0)), ClassInfo(7, "gland", (9, 8, 7)))
    path, values = tmp_path / "biopsy.ome.zarr", (MAP == 7).astype(np.uint8) * 7
    result, _ = SlideResult.open(path, MAP.shape, 1.0, 4.0, classes, {})
    first, second = result.blocks
    result.write(first, values[:, :64], np.zeros((60, 64), np.uint8))
    reader = get_reader(str(path))
    assert reader is not None
    ((levels, options, kind),) = reader(str(path))
    cache = levels[0].cache
    wait_until(lambda: not cache.waiting, 60, "the first block")
    np.testing.assert_array_equal(levels[0][:, :64], values[:, :64])
    assert not np.asarray(levels[0][:, 64:]).any()
    result.write(second, values[:, 64:], np.zeros((60, 16), np.uint8))
    cache.forget((0, 0, *MAP.shape))
    wait_until(lambda: not cache.waiting, 60, "the second block")
    layer = Layer.create(levels, options, kind)
    np.testing.assert_array_equal(np.asarray(layer.data[0]), values)
    assert (kind, layer.name) == ("labels", "biopsy classes")
    # Four pixels of the slide of 0.25 µm are one of the result.
    assert layer.data_to_world((0, 0)) == pytest.approx((0.375, 0.375))
    assert layer.data_to_world((1, 1)) == pytest.approx((1.375, 1.375))
    cache.close()


def test_high_numbers_and_many_classes(tmp_path: Path) -> None:
    data = np.array([[0, 2**31 - 1]], np.int64)
    write_geojson(
        str(tmp_path / "a.geojson"), data, {"features": pd.DataFrame({"index": [2**31 - 1], "class": ["x"]})}
    )
    assert {info.name for info in import_labels(tmp_path / "a.geojson").classes} == {"x"}
    many = np.arange(300)[None]
    features = pd.DataFrame({"index": many[0], "class": [f"class {number}" for number in many[0]]})
    with pytest.raises(ImageError, match="at most 255"):
        write_geojson(str(tmp_path / "b.geojson"), many, {"features": features})


@pytest.mark.parametrize("data", [np.zeros((2, 3, 4), int), np.full((3, 4), -1)])
def test_other_layers_are_refused(data: Any, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="two-dimensional layer"):
        write_coco(str(tmp_path / "a.json"), data, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", WRITERS)
def test_reading_gives_classes_and_objects_with_features(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](str(path), MAP, {"features": FEATURES})
    read = get_reader(str(path))
    assert read is not None
    (classes, _, kind), (objects, attributes, _) = read(str(path))
    assert kind == "labels"
    assert classes[10, 20] != classes[40, 50] != 0
    table = pd.DataFrame(attributes["features"]).set_index("index")
    assert table.loc[int(objects[10, 20]), "class"] == "gland"
    assert table.loc[int(objects[40, 50]), "class"] == "tumour"


def test_ome_zarr_with_an_image_gives_image_and_labels(tmp_path: Path) -> None:
    path = SLIDE_WRITERS["zarr 0.5"](tmp_path, [np.full((60, 80, 3), 200, np.uint8)])
    assert [kind for _, _, kind in read_zarr(path)] == ["image"]
    write_ome_zarr(str(tmp_path / "labels.ome.zarr"), MAP, {"features": FEATURES})
    (tmp_path / "labels.ome.zarr" / "labels").rename(path / "labels")
    (levels, options, _), _, (objects, attributes, kind) = read_zarr(path)
    assert kind == "labels"
    assert levels[0].shape[:2] == objects.shape == MAP.shape
    assert attributes.get("scale") == options.get("scale")
    np.testing.assert_array_equal(objects > 0, MAP > 0)


def test_ome_zarr_that_cannot_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr.open_group(str(tmp_path / "empty.ome.zarr"), mode="w")
    with pytest.raises(ImageError, match="empty"):
        read_zarr(tmp_path / "empty.ome.zarr")
    write_ome_zarr(str(tmp_path / "large.ome.zarr"), MAP, {})
    monkeypatch.setattr(napari_files, "MAX_LAYER_PX", MAP.size - 1)
    with pytest.raises(ImageError, match="60 x 80 px"):
        read_zarr(tmp_path / "large.ome.zarr")


@pytest.mark.parametrize("text", ["{}", "[1, 2]", "no json", '{"type": "Unknown"}'])
def test_other_json_files_are_left_to_other_readers(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    assert get_reader(str(tmp_path / "a.json")) is None


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.tiff", "a.npy", "a.zarr", "a.bmp"])
def test_ordinary_images_have_no_second_reader(name: str) -> None:
    manager = PluginManager()
    # npe2 0.10 takes napari 0.10 for an old version, for which it registers the installed plugins itself.
    if not any(manifest.name == "napari-sampath" for manifest in manager.iter_manifests()):
        manager.register(PluginManifest.from_distribution("napari-sampath"))
    readers = [reader.plugin_name for reader in manager.iter_compatible_readers([name])]
    assert "napari-sampath" not in readers


@pytest.mark.gui
def test_file_menu_of_a_real_viewer(viewer: Any, tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 80, 3), 200, np.uint8)).save(tmp_path / "tissue.png")
    (image,) = viewer.open(str(tmp_path / "tissue.png"))
    image.scale = (0.5, 0.5)
    layer = viewer.add_labels(MAP, features=FEATURES, name="mine")
    path = tmp_path / "mine.geojson"
    assert layer.save(str(path), plugin="napari-sampath") == [str(path)]
    classes, objects = viewer.open(str(path), plugin="napari-sampath")
    assert objects.data.shape == (60, 80)
    np.testing.assert_allclose(objects.scale, (0.5, 0.5))
    np.testing.assert_array_equal(objects.data > 0, MAP > 0)
    assert set(np.unique(classes.data)) == {0, 1, 2}


@pytest.mark.gui
@pytest.mark.parametrize(
    ("menu", "command", "name"),
    [
        ("napari/layers/annotate", "annotate", "Annotate"),
        ("napari/layers/segment", "segment", "Auto-segment"),
        ("napari/layers/measure", "objects", "Objects"),
        ("napari/file/io_utilities", "export", "Export"),
    ],
)
def test_menus_of_napari_lead_to_the_docks(viewer: Any, menu: str, command: str, name: str) -> None:
    from napari._app_model import get_app_model

    assert viewer
    items = get_app_model().menus.get_menu(menu)
    ids = {getattr(getattr(item, "command", None), "id", "") for item in items}
    # napari 0.6 names the items after the docks.
    prefixes = f"napari-sampath.{command}", f"napari-sampath:{name}"
    assert any(identifier.startswith(prefixes) for identifier in ids), ids

"""Files of the real world through `sampath import` and `export`: nothing disappears or changes without a word."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sampath.cli import main
from napari_sampath.errors import PromptError
from napari_sampath.formats import ReadOptions, import_labels
from napari_sampath.session import Session
from support.models.discs import DiscModel

if TYPE_CHECKING:
    import numpy.typing as npt

HW = (64, 80)
PIXELS = np.random.default_rng(0).integers(0, 255, (*HW, 3), np.uint8)


def square(x: float, y: float, side: float, **properties: Any) -> dict[str, Any]:
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }


def annotation(x: int, y: int, side: int, **changes: Any) -> dict[str, Any]:
    polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
    return {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [polygon], **changes}


def coco(annotations: list[Any], categories: dict[Any, str] | None = None, **image: Any) -> dict[str, Any]:
    images = [{"id": 1, "file_name": "tissue.png", "height": HW[0], "width": HW[1], **image}]
    listed = [{"id": key, "name": name} for key, name in (categories or {1: "gland"}).items()]
    return {"images": images, "categories": listed, "annotations": annotations}


class Workplace:
    """A folder with an image, whose annotations are in one journal."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.image, self.journal = folder / "tissue.png", folder / "j.jsonl"
        Image.fromarray(PIXELS).save(self.image)

    def write(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, np.ndarray):
            tifffile.imwrite(path, content) if name.endswith("tif") else Image.fromarray(content).save(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    def load(self, path: Path, *flags: str) -> tuple[int, str]:
        """Import a file; return the number of objects and the notes."""
        words = ["import", str(path), str(self.image), "--journal", str(self.journal), "--json", *flags]
        code = main(words)
        captured = self.capsys.readouterr()
        assert code == 0, captured.err
        result = json.loads(captured.out)
        assert "".join(f"sampath: {note}\n" for note in result["notes"]) == captured.err
        return result["annotations"], " ".join(result["notes"])

    def refused(self, path: Path, *flags: str) -> str:
        assert main(["import", str(path), str(self.image), "--journal", str(self.journal), *flags]) == 1
        captured = self.capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    def objects(self) -> dict[int, tuple[str, int, int]]:
        """Return object id -> (class name, class number, area)."""
        session = Session(PIXELS, "tissue", journal=self.journal)
        try:
            return {
                obj.id: (session.classes.by_id(obj.class_id).name, obj.class_id, obj.area_px)
                for obj in session.document.objects.values()
            }
        finally:
            session.close()


@pytest.fixture
def place(tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
    return Workplace(tmp_path, capsys)


def two_squares() -> npt.NDArray[np.bool_]:
    mask = np.zeros(HW, bool)
    mask[5:15, 5:15], mask[30:50, 40:60] = True, True
    return mask


def test_a_bool_tiff_has_its_objects(place: Workplace) -> None:
    count, _ = place.load(place.write("m.tif", two_squares()))
    assert count == 2
    assert sorted(place.objects().values()) == [("class 1", 1, 100), ("class 1", 1, 400)]


@pytest.mark.parametrize("order", [1, -1])
def test_the_smaller_object_is_on_top_unless_told_otherwise(place: Workplace, order: int) -> None:
    features = [square(30, 30, 10, classification="nucleus"), square(10, 10, 50, classification="tumour")][
        ::order
    ]
    path = place.write("q.geojson", {"type": "FeatureCollection", "features": features})
    count, notes = place.load(path)
    assert count == 2
    assert notes == "1 object overlapped by others: the smaller one is on top."
    assert {(name, area) for name, _, area in place.objects().values()} == {
        ("nucleus", 100),
        ("tumour", 2400),
    }
    place.journal.unlink()
    count, notes = place.load(path, "--overlap", "file-order")
    assert count == (1 if order == 1 else 2)
    assert ("1 object that others cover completely" in notes) == (order == 1)
    assert "in the order of the file" in notes


def test_objects_outside_the_image_are_counted_and_can_be_shifted(place: Workplace) -> None:
    features = [square(10, 10, 5), square(110, 20, 5), square(75, 0, 10), square(30.1, 30.1, 0.2)]
    path = place.write("q.geojson", features)
    count, notes = place.load(path)
    assert count == 2
    assert notes == (
        "Left out: 1 object outside the image, 1 object smaller than a pixel. "
        "1 object cut off at the edge of the image."
    )
    far = place.write("far.geojson", [square(1000, 2000, 10), square(1020, 2020, 10)])
    sentence = place.refused(far)
    assert "has 2 annotations, but none can be imported (2 outside the image); give the offset" in sentence
    place.journal.unlink()
    count, notes = place.load(far, "--offset", "-990", "-1990")
    assert (count, notes) == (2, "")


def test_a_file_of_another_size_is_refused_or_scaled(place: Workplace) -> None:
    path = place.write("a.json", coco([annotation(40, 20, 60)], height=128, width=160))
    sentence = place.refused(path)
    assert "is 160 x 128 px, but the image is 80 x 64 px (width x height)" in sentence
    assert "--scale fit or --offset X Y" in sentence
    place.load(path, "--scale", "fit")
    assert list(place.objects().values()) == [("gland", 1, 900)]
    place.journal.unlink()
    place.load(path, "--offset", "-40", "-20")
    assert list(place.objects().values()) == [("gland", 1, 60 * 60)]
    label_map = np.zeros((128, 160), np.uint8)
    label_map[20:80, 40:100] = 3
    map_path = place.write("m.png", label_map)
    assert "is 160 x 128 px, but the image is 80 x 64 px" in place.refused(map_path)
    place.journal.unlink()
    place.load(map_path, "--scale", "0.5")
    assert list(place.objects().values()) == [("class 3", 3, 900)]
    turned = place.write("turned.json", coco([annotation(4, 2, 6)], height=80, width=64))
    assert "other proportions" in place.refused(turned, "--scale", "fit")


def test_class_numbers_stay_the_same_for_all_images_of_a_folder(place: Workplace) -> None:
    for name, values in {"a": (2,), "b": (1, 2), "c": (1, 2, 3)}.items():
        label_map = np.zeros(HW, np.uint8)
        for value in values:
            label_map[10 * value : 10 * value + 8, 10:30] = value
        path = place.write(f"labels/{name}.png", label_map)
        place.journal = place.folder / f"{name}.jsonl"
        place.load(path)
        assert {number for _, number, _ in place.objects().values()} == set(values)
        formats = "png,tiff,coco,coco-polygons,geojson,ome-zarr"
        assert main(["export", str(place.journal), "-o", str(place.folder / name), "--formats", formats]) == 0
        place.capsys.readouterr()
        for file in (place.folder / name).iterdir():
            if file.suffix not in (".json", ".lock") or file.name.endswith("coco.json"):
                np.testing.assert_array_equal(import_labels(file).class_map, label_map, str(file))


def test_names_beside_a_label_map_are_honoured(place: Workplace) -> None:
    label_map = np.zeros(HW, np.uint8)
    label_map[5:15, 5:15], label_map[20:30, 20:30] = 4, 2
    listed = [
        {"id": number, "name": name, "color": [1, 2, number]} for name, number in (("fat", 4), ("stroma", 2))
    ]
    place.write("labels/classes.json", {"classes": listed})
    count, notes = place.load(place.write("labels/a.png", label_map))
    assert count == 2
    assert "names of the classes were read from classes.json" in notes
    assert set(place.objects().values()) == {("fat", 4, 100), ("stroma", 2, 100)}


def test_a_class_of_the_image_keeps_its_number_and_changes_are_said(place: Workplace) -> None:
    place.load(place.write("a.json", coco([annotation(1, 1, 5, category_id=3)], {3: "Gland"})))
    entries = [annotation(20, 20, 5), annotation(40, 40, 5, category_id=3)]
    _, notes = place.load(place.write("b.json", coco(entries, {1: "gland", 3: "fat"})))
    assert notes == "2 classes have another number than in the file: 'gland' (1 -> 3), 'fat' (3 -> 1)."
    assert {(name, number) for name, number, _ in place.objects().values()} == {("Gland", 3), ("fat", 1)}


@pytest.mark.parametrize("ids", [(0, 1), (1, 300), ("1", "2"), (1.0, 2.0), ("a", "b")])
def test_coco_ids_are_the_business_of_the_file(place: Workplace, ids: tuple[Any, Any]) -> None:
    entries = [annotation(1, 1, 5, category_id=ids[0]), annotation(20, 1, 5, category_id=ids[1])]
    content = coco(entries, {ids[0]: "gland", ids[1]: "fat"})
    content["images"][0]["id"] = "1"
    count, notes = place.load(place.write("a.json", b"\xef\xbb\xbf" + json.dumps(content).encode()))
    assert count == 2
    assert {name for name, _, _ in place.objects().values()} == {"gland", "fat"}
    assert ("another number" in notes) == (ids in ((0, 1), (1, 300)))


def test_annotations_that_belong_to_no_image_are_an_error_or_counted(place: Workplace) -> None:
    path = place.write("a.json", coco([annotation(1, 1, 5, image_id=7)]))
    assert (
        "has 1 annotation, but none whose image_id is the id of the image 'tissue.png' (1)"
        in place.refused(path)
    )
    mixed = place.write("b.json", coco([annotation(1, 1, 5), annotation(1, 1, 5, image_id=7), 5]))
    count, notes = place.load(mixed)
    assert count == 1
    assert "1 annotation of images that are not listed" in notes
    assert "1 entry of another kind than annotations" in notes


def test_annotations_without_an_outline_are_left_out_and_said(place: Workplace) -> None:
    entries = [annotation(1, 1, 5), annotation(1, 1, 5, segmentation=None), {"image_id": 1, "category_id": 1}]
    entries.append(annotation(1, 1, 5, segmentation=[], bbox=[1, 2, 3, 4]))
    count, notes = place.load(place.write("a.json", coco(entries)))
    assert count == 1
    assert notes == (
        "Left out: 2 annotations without an outline, 1 area without an outline or marked to be ignored."
    )


def test_an_image_of_several_is_chosen_by_its_name(place: Workplace) -> None:
    content = coco([annotation(1, 1, 5), annotation(20, 20, 10, image_id=2)], file_name="train\\other.png")
    content["images"].append({"id": 2, "file_name": "train\\tissue.png", "height": HW[0], "width": HW[1]})
    path = place.write("a.json", content)
    assert place.load(path)[0] == 1
    assert [area for _, _, area in place.objects().values()] == [100]
    place.journal.unlink()
    place.load(path, "--image-name", "other.png")
    assert [area for _, _, area in place.objects().values()] == [25]
    content["images"].pop()
    content["images"].append({"id": 3, "file_name": "third.png", "height": HW[0], "width": HW[1]})
    assert "There is no image 'tissue' in" in place.refused(place.write("b.json", content))


def test_results_and_crowds_are_read(place: Workplace) -> None:
    runs = {"size": list(HW), "counts": [64, 5, 64 * 80 - 69]}
    results = [
        {"image_id": 5, "category_id": 3, "segmentation": runs, "score": 0.5},
        {"image_id": 5, "category_id": 0, "segmentation": [[20, 20, 30, 20, 30, 30, 20, 30]], "score": 0.9},
        {"image_id": 5, "category_id": 0, "bbox": [1, 2, 3, 4], "score": 0.9},
    ]
    count, notes = place.load(place.write("results.json", results))
    assert count == 2
    assert "1 area without an outline" in notes
    assert {(name, area) for name, _, area in place.objects().values()} == {("class 3", 5), ("class 0", 100)}
    place.journal.unlink()
    assert (
        place.load(place.write("a.json", coco([annotation(1, 1, 5, segmentation=runs, iscrowd=1)])))[0] == 1
    )


def test_values_are_classes_or_objects_as_told(place: Workplace) -> None:
    areas = np.zeros(HW, np.int32)
    for number in range(6):
        areas[5 + 8 * number : 10 + 8 * number, 10:20] = number + 1
    classes = (areas > 0) * (1 + (areas % 2))
    count, notes = place.load(place.write("classes.tif", classes.astype(np.int32)))
    assert (count, notes) == (6, "2 values were read as 2 classes.")
    objects = place.write("objects.png", areas.astype(np.uint8))
    place.journal.unlink()
    assert place.load(objects) == (6, "6 values were read as 6 objects of one class.")
    place.journal.unlink()
    assert place.load(objects, "--as", "classes") == (6, "6 values were read as 6 classes.")
    assert {number for _, number, _ in place.objects().values()} == set(range(1, 7))


def test_a_smoothed_mask_is_refused_with_the_remedy(place: Workplace) -> None:
    mask = Image.fromarray(two_squares().astype(np.uint8) * 255).resize((50, 33), Image.Resampling.BICUBIC)
    path = place.write("m.png", np.asarray(mask.resize((HW[1], HW[0]), Image.Resampling.BICUBIC)))
    sentence = place.refused(path)
    assert "like a mask that was resized with smoothing" in sentence
    assert "--threshold 128" in sentence
    assert place.load(path, "--threshold", "128")[0] == 2
    small, large = sorted(area for _, _, area in place.objects().values())
    assert abs(small - 100) < 60
    assert abs(large - 400) < 60


def test_geojson_in_gzip_and_zip_and_nuclei(place: Workplace) -> None:
    cell = square(10, 10, 20, objectType="cell")
    cell["nucleusGeometry"] = square(15, 15, 8)["geometry"]
    plain = json.dumps({"type": "FeatureCollection", "features": [cell]}).encode()
    packed = place.write("q.geojson.gz", gzip.compress(plain))
    with zipfile.ZipFile(place.folder / "q.zip", "w") as archive:
        archive.writestr("q.geojson", plain)
    for path in (packed, place.folder / "q.zip"):
        assert place.load(path)[0] == 1
        assert [area for _, _, area in place.objects().values()] == [400]
        place.journal.unlink()
    _, notes = place.load(packed, "--geometry", "nucleus")
    assert notes == "The outline of the nucleus was read for 1 of 1 object."
    assert [area for _, _, area in place.objects().values()] == [64]


def marked(*positions: Any, name: str = "nucleus") -> dict[str, Any]:
    geometry = {"type": "MultiPoint", "coordinates": positions}
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": name}}}


def test_points_are_prompts(place: Workplace) -> None:
    points = [marked([20, 30], [60.5, 20.5]), marked([40, 50], name="lymphocyte")]
    points[1]["geometry"] = {"type": "GeometryCollection", "geometries": [points[1]["geometry"]]}
    shapes = [{"shape_type": "point", "label": label, "points": [[20.0, 30.0]]} for label in ("a", "b")]
    labelme = {"shapes": shapes, "imagePath": "tissue.png", "imageHeight": HW[0], "imageWidth": HW[1]}
    paths = [
        place.write("points.geojson", [*points, marked([99, 5]), square(2, 2, 60, classification="tumour")]),
        place.write("points.json", labelme),
        place.write("only.geojson", points),
    ]
    assert "--points prompts" in place.refused(paths[2])
    assert "4 points without an area" in place.load(paths[0])[1]
    assert [name for name, _, _ in place.objects().values()] == ["tumour"]

    place.journal.unlink()
    session = Session(PIXELS, "tissue", DiscModel(), journal=place.journal)  # type: ignore[arg-type]
    notes: list[str] = []
    session.files.import_labels(paths[0], ReadOptions(points="prompts"), notes)
    session.close()
    assert "Left out: 1 point outside the image." in notes
    assert "3 of 3 points became objects, outlined by discs; review them." in notes
    names = {name for name, _, _ in place.objects().values()}
    assert names == {"nucleus", "lymphocyte", "tumour"}
    session = Session(PIXELS, "tissue", DiscModel(), journal=place.journal)  # type: ignore[arg-type]
    objects = list(session.document.objects.values())
    assert [obj.trust > 0 for obj in objects] == [True, False, False, False]
    assert {obj.model for obj in objects} == {None, "discs"}
    for x, y, name in ((19, 29, "nucleus"), (60, 20, "nucleus"), (40, 50, "lymphocyte")):
        assert session.classes.by_id(int(session.document.class_map[y, x])).name == name
    assert [obj.prompts["points"] for obj in objects if obj.prompts] == [
        [[60.0, 20.0]],
        [[19.5, 29.5]],
        [[39.5, 49.5]],
    ]
    session.objects.delete([obj.id for obj in objects])

    notes.clear()  # Two points on the same pixel: the second object covers the first.
    session.files.import_labels(paths[1], ReadOptions(points="prompts"), notes)
    assert len(session.document.objects) == 1
    assert "1 in the object of another point" in " ".join(notes)
    session.model = None
    with pytest.raises(PromptError, match="choose a model"):
        session.files.import_labels(paths[2], ReadOptions(points="prompts"))
    session.close()


def test_points_are_prompts_on_the_command_line(place: Workplace) -> None:
    path = place.write("points.geojson", [marked([40, 30])])
    words = ["import", str(path), str(place.image), "--journal", str(place.journal), "--points", "prompts"]
    assert main([*words, "--json"]) == 0
    content = json.loads(place.capsys.readouterr().out)
    assert content["annotations"] == 1
    assert "1 of 1 point became objects, outlined by sampath-tiny; review them." in content["notes"]


def test_a_file_without_objects_and_an_unknown_file_are_errors(place: Workplace) -> None:
    assert "has no objects" in place.refused(place.write("a.png", np.zeros(HW, np.uint8)))
    assert "has no objects" in place.refused(place.write("a.json", coco([])))
    assert "tried: " in place.refused(place.write("a.docx", b"PK\x05\x06 something"))
    assert "tried: " in place.refused(place.write("b.json", {"a": 1}))


def test_overwritten_objects_are_said(place: Workplace) -> None:
    path = place.write("q.geojson", [square(10, 10, 20)])
    place.load(path)
    assert "1 object of the image was overwritten" in place.load(path)[1]


def test_coco_files_name_the_image_file(place: Workplace) -> None:
    assert main(["import", str(place.write("q.geojson", [square(10, 10, 20)])), str(place.image)]) == 0
    assert main(["export", str(place.image), "-o", str(place.folder / "out"), "--formats", "coco"]) == 0
    content = json.loads((place.folder / "out" / "tissue_objects.coco.json").read_text())
    assert content["images"][0]["file_name"] == "tissue.png"

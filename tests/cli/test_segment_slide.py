"""`sampath segment` and `sampath slide info` on slides, with a shipped head."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from shapely.geometry import box, shape

from napari_sampath.arrays import LocalMask
from napari_sampath.cli import main
from napari_sampath.cli.commands.segmentation import loading
from napari_sampath.cli.commands.segmentation.slide import read_tissue
from napari_sampath.cli.subcommand import load
from napari_sampath.errors import ImageError
from napari_sampath.formats.maps.slide_objects import objects_of
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.images.slides import open_slide
from napari_sampath.images.slides.tissue import Tissue, save_tissue
from napari_sampath.predict import segment
from napari_sampath.predict.instances.settings import InstanceSettings
from napari_sampath.predict.instances.split_touching import split_class_map
from napari_sampath.session import Session, journal_path, sessions_folder
from support import small_disk
from support.slide_files import BIOPSY as PIXELS
from support.slide_files import BIOPSY_HW as HW
from support.slide_files import program_with_small_blocks, write_biopsy

small = pytest.fixture(small_disk.mounted)


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_biopsy(tmp_path / "biopsy.svs")


def test_slide_info_says_size_scale_and_reader(slide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slide", "info", str(slide), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["hw"], info["mpp"], len(info["digest"])) == ([256, 320], 0.5, 32)
    assert main(["slide", "info", str(slide)]) == 0
    assert "320 x 256 px (width x height), 0.5 µm per pixel (20x)" in capsys.readouterr().out


def test_a_slide_is_segmented_once(slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "glands.ome.zarr"
    words = ["segment", str(slide), "--head", "gland-cnn", "-o", str(output), "--tissue", "all", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == 1
    labels = SlideResult(output, HW).classes((0, 0, *HW))
    np.testing.assert_array_equal(labels, segment(PIXELS, "gland-cnn").labels)
    # Objects of a complete result are separated without running the head again
    assert main([*words, "--objects", "--min-area-px", "50"]) == 0
    done = json.loads(capsys.readouterr().out)
    objects = list(split_class_map(labels, np.ones(HW), InstanceSettings(min_area_px=50)))
    assert (done["computed"], done["objects"]) == (0, len(objects))
    # They are exported, too; what a person has annotated keeps its pixels
    exported = tmp_path / "exported"
    words = ["export", str(slide), "--result", str(output), "--formats", "geojson", "--json"]
    assert main([*words, "-o", str(exported)]) == 0
    assert json.loads(capsys.readouterr().out)["annotations"] == len(objects)
    (file,) = exported.glob("*.geojson")
    features = json.loads(file.read_text())["features"]
    areas = sorted(shape(feature["geometry"]).area for feature in features)
    assert areas == pytest.approx(sorted(obj.mask.area_px for obj in objects))
    session = Session(PIXELS, "biopsy", journal=journal_path(PIXELS, sessions_folder()))
    session.paint_mask(LocalMask(0, 0, np.ones((HW[0], 20), bool)), 1)
    session.close()
    assert main([*words, "-o", str(tmp_path / "both")]) == 0
    ids = json.loads(capsys.readouterr().out)["annotations"]
    assert ids > 1
    (file,) = (tmp_path / "both").glob("*.geojson")
    mine = box(0, 0, 20, HW[0])
    features = [shape(feature["geometry"]) for feature in json.loads(file.read_text())["features"]]
    assert sum(outline.equals(mine) for outline in features) == 1
    assert sum(outline.intersection(mine).area > 0 for outline in features) == 1
    other = tmp_path / "other.png"
    Image.fromarray(PIXELS[::-1]).save(other)
    assert main(["export", str(other), "--result", str(output), "-o", str(exported)]) == 1


@pytest.mark.parametrize("flags", [[], ["--agreement", "0.7"]])
def test_outlines_of_a_slide_are_those_of_an_image(
    slide: Path, tmp_path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "glands.ome.zarr"
    words = ["segment", str(slide), "--head", "gland-cnn", "--objects", "--json", *flags]
    assert main([*words, "-o", str(output), "--tissue", "all", "--outlines"]) == 0
    assert main([*words, "-o", str(tmp_path / "glands.tif")]) == 0
    of_slide, of_image = map(json.loads, capsys.readouterr().out.splitlines())
    objects = objects_of(output)
    assert objects is not None
    assert objects.predicted_iou is not None
    assert of_slide["objects"] == len(objects.table) == len(of_image["objects"])
    numbers = objects.numbers((0, 0, *HW))
    image = tifffile.imread(tmp_path / "glands.tif")
    pairs = np.unique(np.stack([numbers.ravel(), image.ravel()]), axis=1)
    assert pairs.shape[1] == len(objects.table) + 1, "each object has the same pixels"
    ious = {obj["id"]: obj["predicted_iou"] for obj in of_image["objects"]}
    for number, other in pairs.T[1:].tolist():
        score = objects.predicted_iou[number - 1]
        assert (None if np.isnan(score) else score) == pytest.approx(ious[other])
    # Without them, the head is not run again, and all outlines are its own
    assert main([*words[:6], "-o", str(output), "--tissue", "all", "--no-outlines"]) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == 0
    of_head = objects_of(output)
    assert of_head is not None
    assert of_head.predicted_iou is None
    labels = SlideResult(output, HW).classes((0, 0, *HW))
    assert main([*words[:6], "-o", str(tmp_path / "head.tif"), "--no-outlines"]) == 0
    image = tifffile.imread(tmp_path / "head.tif")
    for found in (of_head.numbers((0, 0, *HW)), image):
        assert (labels[found > 0] > 0).all()


def test_a_folder_is_segmented_in_parts(
    slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(PIXELS[:64, :96]).save(tmp_path / "biopsy.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    output = tmp_path / "results"
    words = ["segment", str(tmp_path), "--head", "gland-cnn", "-o", str(output), "--tissue", "all", "--json"]
    assert main([*words, "--part", "1/2"]) == 1
    done = json.loads(capsys.readouterr().out)
    assert (list(done["images"]), list(done["failed"])) == (["biopsy.png"], ["broken.png"])
    assert main([*words, "--part", "2/2"]) == 0
    assert list(json.loads(capsys.readouterr().out)["images"]) == ["biopsy.svs"]
    assert SlideResult.load(output / "biopsy.svs.ome.zarr").is_complete
    assert tifffile.imread(output / "biopsy.png.tif").shape == (64, 96)
    assert main([*words[:5], str(tmp_path / "one.tif")]) == 1
    assert "is a folder" in capsys.readouterr().err


def test_a_small_slide_is_an_image_for_other_outputs(slide: Path, tmp_path: Path) -> None:
    output = tmp_path / "labels.tif"
    assert main(["segment", str(slide), "--head", "gland-cnn", "-o", str(output), "--quiet"]) == 0
    np.testing.assert_array_equal(tifffile.imread(output), segment(PIXELS, "gland-cnn").labels)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-o", "a.png", "--part", "1/2"], "--part is a flag for slides"),
        (["-o", "a.png", "--mpp", "0.5"], "--mpp is a flag for slides"),
        (["-o", "a.ome.zarr", "--min-area-px", "9"], "--min-area-px is a setting of --objects"),
        (["-o", "a.ome.zarr", "--objects", "--agreement", "0.5"], "--agreement is a setting of --outlines"),
        (["-o", "a.tif", "--objects", "--no-outlines", "--agreement", "0.5"], "is a setting of --outlines"),
        (["-o", "a.ome.zarr", "--outlines"], "--outlines is a setting of --objects"),
        (["-o", "a.ome.zarr", "--part", "x"], "--part is 'x'"),
        (["-o", "a.ome.zarr", "--part", "3/2"], "part 3/2 does not exist"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    slide: Path, tmp_path: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags[1] = str(tmp_path / flags[1])
    assert main(["segment", str(slide), "--head", "gland-cnn", *flags]) == 1
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["biopsy.svs"]


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "x"])
def test_a_scale_must_be_a_length(slide: Path, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", str(slide), "--head", "gland-cnn", "-o", "a.ome.zarr", "--at-mpp", value]) == 2
    assert f"invalid length in micrometres value: '{value}'" in capsys.readouterr().err


def test_a_mask_of_other_proportions_is_refused(
    slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask, output = tmp_path / "mask.tif", tmp_path / "a.ome.zarr"
    tifffile.imwrite(mask, np.ones((50, 50), np.uint8))
    words = ["segment", str(slide), "--head", "gland-cnn", "-o", str(output), "--tissue", str(mask)]
    assert main(words) == 1
    assert "is 50 x 50 px, but the slide is 320 x 256 px" in capsys.readouterr().err


def test_a_mask_with_rounded_sides_covers_the_slide(slide: Path, tmp_path: Path) -> None:
    """Its pixels are not square by a little."""
    with open_slide(slide) as opened:
        for shape in ((50, 63), (51, 63), (256, 320), (13, 16)):
            mask = tmp_path / f"{shape}.tif"
            values = np.zeros(shape, np.uint8)
            values[-1, -1] = 1
            tifffile.imwrite(mask, values)
            tissue = read_tissue(str(mask), opened)
            assert tissue.touches((HW[0] - 1, HW[1] - 1, *HW))
            assert not tissue.touches((0, 0, HW[0] * 0.9, HW[1] * 0.9))
            assert (
                min(tissue.mask.shape[0] * tissue.step - HW[0], tissue.mask.shape[1] * tissue.step - HW[1])
                >= 0
            )


def test_the_mask_that_was_painted_in_the_window(
    slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "painted.tissue.npz"
    mask = np.zeros((11, 14), bool)  # 23 px wide pixels reach beyond the slide by different parts of them
    mask[3, 5] = True
    save_tissue(path, Tissue(mask, 23.5))
    with open_slide(slide) as opened:
        tissue = read_tissue(str(path), opened)
        assert tissue.step == 23.5
        np.testing.assert_array_equal(tissue.mask, mask)
        save_tissue(path, Tissue(np.ones((50, 50), bool), 23.5))
        with pytest.raises(ImageError, match="is 50 x 50 px, but the slide is 320 x 256 px"):
            read_tissue(str(path), opened)
        save_tissue(path, Tissue(np.zeros_like(mask), 23.5))
        with pytest.raises(ImageError, match=r"painted\.tissue\.npz' is empty"):
            read_tissue(str(path), opened)
        path.write_bytes(b"")
        with pytest.raises(ImageError, match="is missing or damaged; give another one"):
            read_tissue(str(path), opened)


def test_a_full_disk_is_one_sentence(slide: Path, small: Path, tmp_path: Path) -> None:
    start = "import sys\nfrom napari_sampath.cli import main\nsys.exit(main())"
    program = program_with_small_blocks(320) + start
    words = ["segment", str(slide), "--head", "gland-cnn", "-o", str(small / "a.ome.zarr"), "--tissue", "all"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--quiet", "--device", "cpu"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SAMPATH_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "scale that 'gland-cnn'" not in line]
    assert len(said) == 1, done.stderr
    assert "cannot be written (No space left on device); free some space" in said[0]


def test_a_folder_loads_its_model_once(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads: list[object] = []
    monkeypatch.setattr(loading, "load", lambda *args: loads.append(args) or load(*args))
    Image.fromarray(PIXELS[:64, :96]).save(tmp_path / "first.png")
    Image.fromarray(PIXELS[:64, :80]).save(tmp_path / "second.png")
    words = ["segment", str(tmp_path), "--head", "gland-cnn", "-o", str(tmp_path / "results"), "--json"]
    assert main([*words, "--tissue", "all", "--tile-px", "512"]) == 0
    done = json.loads(capsys.readouterr().out)["images"]
    assert len(done) == 3
    assert len(loads) == 1
    assert {image["model"] for image in done.values()} == {"sampath-tiny"}
    result = SlideResult.load(tmp_path / "results" / "biopsy.ome.zarr")
    assert result.fingerprint["tile_px"] == 512
    assert main([*words, "--region", "0", "0", "32", "32"]) == 1
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)["images"]) == ["first.png", "second.png"]
    assert "biopsy.svs: --region works for class maps only" in captured.err

"""`sampath segment` and `sampath slide info` on slides, with a shipped head."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.data import immunohistochemistry

from napari_sampath.cli import main
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.predict import segment
from napari_sampath.predict.instances.settings import InstanceSettings
from napari_sampath.predict.instances.split_touching import split_class_map

HW = (256, 320)
PIXELS = np.ascontiguousarray(immunohistochemistry()[100:356, 120:440])


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    path = tmp_path / "biopsy.svs"
    text = f"Aperio Image Library v11\r\n{HW[1]}x{HW[0]}|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(64, 64), description=text, metadata=None)
    return path


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
        (["-o", "a.ome.zarr", "--objects", "--agreement", "0.5"], "--agreement cannot be used for slides"),
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

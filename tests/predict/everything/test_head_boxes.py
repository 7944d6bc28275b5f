"""Boxes of the objects of shipped heads, as prompts of "segment everything"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sampath.geometry import whole
from napari_sampath.jobs import run
from napari_sampath.predict import load_model, segment_everything
from napari_sampath.predict.decoder.prompt_decoder import PromptDecoder
from napari_sampath.predict.everything.crop_search import CropSearch
from napari_sampath.predict.everything.head_boxes import boxes_by_tile, head_boxes_job
from napari_sampath.predict.everything.settings import EverythingSettings
from napari_sampath.predict.head_tiles import head_tiles
from napari_sampath.training.data.instances import read_instances
from support.models.small_sam import model_of, small_sam, wave_image

FEW_POINTS = EverythingSettings(
    points_per_side=1, pred_iou_thresh=0.0, stability_score_thresh=0.0, max_covered=0.2, use_heads=True
)


@given(
    hw=st.tuples(st.integers(128, 1500), st.integers(128, 1500)),
    corners=st.lists(st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4), max_size=12),
)
def test_each_box_goes_to_the_tile_that_contains_most_of_it(
    hw: tuple[int, int], corners: list[tuple[float, float, float, float]]
) -> None:
    size = np.array([hw[1], hw[0], hw[1], hw[0]])
    boxes = np.array(corners).reshape(-1, 2, 2)
    boxes = np.concatenate([boxes.min(axis=1), boxes.max(axis=1)], axis=1) * size
    boxes[:, 2:] = np.minimum(boxes[:, 2:] + 1, size[2:])
    frames = head_tiles(hw, 512)
    by_tile = boxes_by_tile(boxes, frames)
    assert sum(map(len, by_tile)) == len(boxes)
    areas = []
    for frame, clipped in zip(frames, by_tile, strict=True):
        assert (clipped[:, :2] >= (frame.left, frame.top)).all()
        assert (clipped[:, 2:] <= (frame.left + frame.width, frame.top + frame.height)).all()
        areas += np.prod(clipped[:, 2:] - clipped[:, :2], axis=1).tolist()
    # No tile contains more of a box.
    best = [max(_inside(box, frame) for frame in frames) for box in boxes]
    assert np.allclose(sorted(areas), sorted(best), rtol=1e-6, atol=1e-3)


def _inside(box: np.ndarray, frame: object) -> float:
    left, top, width, height = (getattr(frame, name) for name in ("left", "top", "width", "height"))
    width = min(box[2], left + width) - max(box[0], left)
    height = min(box[3], top + height) - max(box[1], top)
    return max(0.0, width) * max(0.0, height)


def test_heads_of_other_weights_are_not_used() -> None:
    model = model_of(small_sam())
    assert len(run(head_boxes_job(wave_image((180, 300)), model))) == 0
    assert segment_everything(wave_image((180, 300)), model, FEW_POINTS)


@pytest.mark.parametrize("window_cells", [0, 16])
def test_a_box_is_answered_as_by_the_prompt_decoder(window_cells: int) -> None:
    """Windows change the mask of a small box only slightly; without windows, nothing changes."""
    rows, cols = np.mgrid[:256, :256]
    image = np.full((256, 256, 3), (235, 200, 220), dtype=np.uint8)
    image[(rows - 96) ** 2 + (cols - 160) ** 2 < 12**2] = (90, 50, 140)
    model = load_model("sampath-tiny")
    decoder = model.decoder
    assert isinstance(decoder, PromptDecoder)
    settings = EverythingSettings(
        pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0, window_cells=window_cells
    )
    search = CropSearch(image, (256, 256), whole((256, 256), 1024), model, decoder, settings)
    box = np.array([[147.0, 83, 173, 109]])
    search.decode_boxes(np.concatenate([box, box]))
    first, second = (found.local_mask().to_dense((256, 256)) for found in search.results())
    assert np.array_equal(first, second)
    ((mask, _),) = model.predict_boxes(model.encode(image), box, multimask=True)
    expected = mask.to_dense((256, 256))
    iou = (first & expected).sum() / (first | expected).sum()
    assert iou > 0.9
    assert iou == 1 or window_cells


@pytest.mark.data
@pytest.mark.slow
def test_only_heads_for_the_tissue_are_used(data_dir: Path) -> None:
    model = load_model("sampath-tiny")
    image = min(read_instances(data_dir, "val", ("nucleus",)), key=lambda image: image.pixels.size)
    boxes = run(head_boxes_job(image.pixels, model))
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    objects = len(image.objects())
    assert 0.5 * objects < len(boxes) < 1.5 * objects
    assert np.median(sides) < 40  # nuclei, not glands

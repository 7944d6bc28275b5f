"""The mask generator against SAM's: stored outputs of its parts, and the installed package side by side."""

from __future__ import annotations

import inspect
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from benchmarks.tiny_sam import build_tiny_sam
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam

from napari_sampath.arrays import LocalMask
from napari_sampath.encoders import EncoderInfo
from napari_sampath.encoders.sam.sam import assemble
from napari_sampath.encoders.sam.sam_format import deduce, sam_keys
from napari_sampath.formats.run_lengths import encode_coco
from napari_sampath.geometry import Frame
from napari_sampath.predict import Model
from napari_sampath.predict.decoder.prompt_decoder import PromptDecoder
from napari_sampath.predict.everything.crops import crop_frames, near_crop_edge, point_grid
from napari_sampath.predict.everything.everything import EverythingMask, segment_everything
from napari_sampath.predict.everything.mask_filters import (
    StabilityScreen,
    drop_small_islands,
    fill_small_holes,
)
from napari_sampath.predict.everything.settings import EverythingSettings
from support.golden import assert_matches
from support.models.small_sam import model_of, small_sam, spotlit_model, wave_image

if TYPE_CHECKING:
    from support.golden import Golden

INFO = EncoderInfo("golden-sam", "Procedural weights.", "none", "", True, 0.0)


def built(golden: Golden, case: str, name: str) -> np.ndarray:
    array: np.ndarray = golden.build(golden.case(case)["inputs"][name]).numpy()
    return array


def frame_of(xyxy: list[int]) -> Frame:
    x0, y0, x1, y1 = xyxy
    return Frame(y0, x0, y1 - y0, x1 - x0)


def test_point_grids(golden: Golden) -> None:
    given = golden.case("amg.point_grids")["inputs"]
    settings = EverythingSettings(
        points_per_side=given["points_per_side"],
        crop_n_layers=given["crop_layers"],
        crop_n_points_downscale_factor=given["downscale_per_layer"],
    )
    for layer in range(given["crop_layers"] + 1):
        grid = point_grid(settings.points_in_layer(layer))
        assert_matches(golden, "amg.point_grids", f"layer{layer}", grid)


def test_crop_boxes(golden: Golden) -> None:
    given = golden.case("amg.crop_boxes")["inputs"]
    layers = crop_frames(tuple(given["image_hw"]), given["crop_layers"], 512 / 1500, 1024)
    boxes = [(f.left, f.top, f.left + f.width, f.top + f.height) for frames in layers for f in frames]
    assert_matches(golden, "amg.crop_boxes", "boxes_xyxy", np.array(boxes))
    numbers = [number for number, frames in enumerate(layers) for _ in frames]
    assert_matches(golden, "amg.crop_boxes", "layers", np.array(numbers))


def test_stability(golden: Golden) -> None:
    case = "amg.stability"
    logits = built(golden, case, "logits")
    offset = golden.case(case)["inputs"]["offset"]
    # A window of the logits' own size is read pixel by pixel.
    frame = Frame(0, 0, 40, 50, 50)
    padded = np.full((5, 50, 50), -9, dtype=np.float32)
    padded[:, :40] = logits
    screen = StabilityScreen(frame, 50, offset)
    found = [screen.measure(one) for one in padded]
    assert_matches(golden, case, "score", np.array([stability for _, stability in found]))
    for one, (mask, _) in zip(logits, found, strict=True):
        np.testing.assert_array_equal(mask.to_dense((40, 50)), one > 0)
    limits = screen.upper_bound(torch.from_numpy(padded)).numpy()
    assert (limits >= [stability for _, stability in found]).all()


def noisy_masks(golden: Golden, case: str) -> np.ndarray:
    masks = built(golden, case, "masks").copy()
    masks[3] = False
    return masks


def test_boxes(golden: Golden) -> None:
    case = "amg.boxes"
    given = golden.case(case)["inputs"]
    masks = noisy_masks(golden, case)
    boxes = np.array([LocalMask.from_dense(mask).inclusive_box for mask in masks])
    assert_matches(golden, case, "boxes_xyxy", boxes)
    crop, image = frame_of(given["near_edge_crop_xyxy"]), frame_of(given["near_edge_image_xyxy"])
    assert_matches(golden, case, "near_edge", near_crop_edge(boxes, crop, image.hw))
    x0, y0, _, _ = given["uncrop_crop_xyxy"]
    moved = [LocalMask.from_dense(mask, y0, x0).inclusive_box for mask in masks]
    assert_matches(golden, case, "uncropped_xyxy", np.array(moved))


def test_run_lengths(golden: Golden) -> None:
    masks = noisy_masks(golden, "amg.rle")
    local = [LocalMask.from_dense(mask) for mask in masks]
    for number, mask in enumerate(local):
        assert_matches(golden, "amg.rle", f"counts{number}", np.array(encode_coco(mask, (40, 50))))
    assert_matches(golden, "amg.rle", "area", np.array([mask.area_px for mask in local]))


def test_small_masks_in_a_crop(golden: Golden) -> None:
    case = "amg.boxes_small"
    given = golden.case(case)["inputs"]
    masks = built(golden, case, "masks")
    crop, image = frame_of(given["crop_xyxy"]), frame_of(given["image_xyxy"])
    alone = [LocalMask.from_dense(mask) for mask in masks]
    assert_matches(golden, case, "boxes_xyxy", np.array([mask.inclusive_box for mask in alone]))
    placed = [LocalMask.from_dense(mask, crop.top, crop.left) for mask in masks]
    boxes = np.array([mask.inclusive_box for mask in placed])
    assert_matches(golden, case, "uncropped_xyxy", boxes)
    whole_crop = Frame(0, 0, *crop.hw)
    records = [EverythingMask(mask, 0.0, 0.0, (0.0, 0.0), whole_crop) for mask in alone]
    assert_matches(golden, case, "boxes_xywh", np.array([record.bbox_xywh for record in records]))
    near = [near_crop_edge(boxes, crop, image.hw, within) for within in given["edge_tolerance"]]
    assert_matches(golden, case, "near_edge", np.stack(near))
    assert_matches(golden, case, "area", np.array([record.area_px for record in records]))
    dense = np.array([mask.to_dense(image.hw).sum() for mask in placed])
    assert_matches(golden, case, "uncropped_mask_area", dense)
    for number, mask in enumerate(alone):
        assert_matches(golden, case, f"counts{number}", np.array(encode_coco(mask, crop.hw)))


def test_small_regions(golden: Golden) -> None:
    case = "amg.small_regions"
    described = golden.case(case)
    dense = built(golden, case, "mask")
    area = described["inputs"]["area_threshold"]
    mask = LocalMask.from_dense(dense)
    filled, changed = fill_small_holes(mask, dense.shape, area)
    assert_matches(golden, case, "filled_holes", filled.to_dense(dense.shape))
    assert changed is described["outputs"]["changed_holes"]["value"]
    # The reference was given the mask with its holes, or the one without; both must give what is stored.
    kept, changed = drop_small_islands(mask, area)
    assert_matches(golden, case, "without_islands", kept.to_dense(dense.shape))
    assert changed is described["outputs"]["changed_islands"]["value"]


@pytest.mark.parametrize("name", ["nms", "all", "crops"])
def test_generator(golden: Golden, name: str) -> None:
    case = f"amg.generator.{name}"
    described = golden.case(case)
    recipe = described["weights"]
    state = sam_keys(golden.weights(recipe["manifest"], recipe["seed"]), case)
    model = Model(assemble(state, deduce(state, case), INFO), torch.device("cpu"))
    settings = EverythingSettings(**described["inputs"]["settings"])
    found = segment_everything(built(golden, case, "image_u8"), model, settings)
    found = in_stored_order(found, golden, case)
    assert_matches(golden, case, "area", np.array([one.area_px for one in found]))
    assert_matches(golden, case, "bbox_xywh", np.array([one.bbox_xywh for one in found], dtype=np.float64))
    assert_matches(
        golden, case, "predicted_iou", np.array([one.predicted_iou for one in found], dtype=np.float32)
    )
    assert_matches(
        golden, case, "stability", np.array([one.stability_score for one in found], dtype=np.float32)
    )
    assert_matches(golden, case, "point_xy", np.array([one.point_xy for one in found], dtype=np.float32))
    assert_matches(golden, case, "crop_xywh", np.array([one.crop_xywh for one in found]))


def in_stored_order(found: list[EverythingMask], golden: Golden, case: str) -> list[EverythingMask]:
    """Swap neighbours whose scores are equal within the tolerance, where the reference has them swapped."""
    points = golden.expected(f"{case}/point_xy")
    assert len(found) == len(points)
    ordered = list(found)
    for place, point in enumerate(points):
        ties = [
            index
            for index in range(place, len(ordered))
            if abs(ordered[index].predicted_iou - ordered[place].predicted_iou) < 1e-4
            and ordered[index].point_xy == pytest.approx(tuple(point), abs=1e-3)
        ]
        if ties:
            ordered.insert(place, ordered.pop(ties[0]))
    return ordered


# Beside the installed package, on the same random weights.


class SpotlightPredictor(SamPredictor):
    """SAM's predictor with that decoder in it."""

    def __init__(self, sam: Sam, decoder: PromptDecoder) -> None:
        super().__init__(sam)
        self.decoder = decoder

    def predict_torch(self, point_coords: Any, point_labels: Any, **_: Any) -> Any:
        active = self.decoder.activate(self.features[0])
        attended = self.decoder.attend(active, (point_coords.float(), point_labels))
        low = self.decoder.logits(attended, torch.ones_like(attended.scores, dtype=torch.bool))
        low = low.unflatten(0, (-1, 3))
        masks = self.model.postprocess_masks(low, self.input_size, self.original_size)
        return masks, attended.scores, low


def between(values: list[float], share: float) -> float:
    """Return a threshold that a share of the values is below, as far as possible from any of them."""
    ordered = np.sort(np.array(values, dtype=np.float64))
    middle = round(share * (len(ordered) - 1))
    window = slice(max(0, middle - 3), middle + 4)
    gaps = np.diff(ordered[window])
    place = window.start + int(np.argmax(gaps))
    return float(ordered[place : place + 2].mean())


def theirs(
    sam: Sam, image: np.ndarray, settings: EverythingSettings, spotlit: PromptDecoder | None = None
) -> list[dict[str, Any]]:
    names = inspect.signature(SamAutomaticMaskGenerator).parameters
    options = {name: value for name, value in asdict(settings).items() if name in names}
    generator = SamAutomaticMaskGenerator(sam, **options)
    if spotlit is not None:
        generator.predictor = SpotlightPredictor(sam, spotlit)
    records: list[dict[str, Any]] = generator.generate(image)
    return records


def assert_same(found: list[EverythingMask], records: list[dict[str, Any]], hw: tuple[int, int]) -> None:
    assert len(found) == len(records)
    for ours, record in zip(found, records, strict=True):
        # Logits within rounding of the threshold may fall to either side of it.
        different = ours.mask.to_dense(hw) != record["segmentation"]
        assert different.sum() <= 1 + 1e-4 * different.size
        assert abs(ours.area_px - record["area"]) <= different.sum()
        np.testing.assert_allclose(ours.bbox_xywh, record["bbox"], atol=int(different.any()))
        assert ours.predicted_iou == pytest.approx(record["predicted_iou"], abs=1e-4)
        assert ours.stability_score == pytest.approx(record["stability_score"], abs=1e-3, nan_ok=True)
        np.testing.assert_allclose(ours.point_xy, record["point_coords"][0], atol=1e-9)
        assert list(ours.crop_xywh) == record["crop_box"]


UNFILTERED = EverythingSettings(
    points_per_side=5,
    points_per_batch=8,
    pred_iou_thresh=-10.0,
    stability_score_thresh=0.0,
    box_nms_thresh=1.0,
    crop_nms_thresh=1.0,
)


@pytest.mark.parametrize("hw", [(256, 256), (180, 300), (333, 141), (700, 512), (100, 90)])
def test_masks_equal_the_packages(hw: tuple[int, int]) -> None:
    sam, image = small_sam(), wave_image(hw)
    found = segment_everything(image, model_of(sam), UNFILTERED)
    assert len(found) == 75
    assert_same(found, theirs(sam, image, UNFILTERED), hw)


def test_masks_equal_the_packages_at_full_size() -> None:
    sam, hw = build_tiny_sam(), (300, 420)
    settings, image = replace(UNFILTERED, points_per_side=3), wave_image((300, 420))
    found = segment_everything(image, model_of(sam), settings)
    assert len(found) == 27
    assert_same(found, theirs(sam, image, settings), hw)


@pytest.fixture
def spotlit() -> tuple[Sam, Model]:
    """A SAM, and a model of its weights whose masks are as small as objects."""
    sam = small_sam()
    return sam, spotlit_model(sam)


@pytest.mark.parametrize("hw", [(256, 256), (180, 300), (700, 512)])
@pytest.mark.parametrize(
    ("iou_share", "stability_share", "nms", "offset"),
    [(0.5, 0.4, 0.9, 0.2), (0.2, 0.1, 0.5, 0.2), (0.1, 0.7, 0.95, 1.0)],
)
def test_filters_equal_the_packages(
    spotlit: tuple[Sam, Model],
    hw: tuple[int, int],
    iou_share: float,
    stability_share: float,
    nms: float,
    offset: float,
) -> None:
    sam, model = spotlit
    image = wave_image(hw)
    unfiltered = replace(UNFILTERED, stability_score_offset=offset)
    scored = segment_everything(image, model, unfiltered)
    settings = replace(
        unfiltered,
        pred_iou_thresh=between([one.predicted_iou for one in scored], iou_share),
        stability_score_thresh=between([one.stability_score for one in scored], stability_share),
        box_nms_thresh=nms,
    )
    found = segment_everything(image, model, settings)
    assert 0 < len(found) < len(scored)
    assert_same(found, theirs(sam, image, settings, model.decoder), hw)


@pytest.mark.parametrize("hw", [(180, 300), (401, 333)])
def test_crops_equal_the_packages(spotlit: tuple[Sam, Model], hw: tuple[int, int]) -> None:
    sam, model = spotlit
    image = wave_image(hw)
    settings = replace(
        UNFILTERED,
        points_per_side=4,
        crop_n_layers=2,
        crop_n_points_downscale_factor=2,
        box_nms_thresh=0.9,
        crop_nms_thresh=0.5,
    )
    found = segment_everything(image, model, settings)
    assert len({one.crop_xywh for one in found}) > 3
    assert_same(found, theirs(sam, image, settings, model.decoder), hw)


@pytest.mark.parametrize("area", [4, 60, 2000])
def test_small_regions_equal_the_packages(spotlit: tuple[Sam, Model], area: int) -> None:
    pytest.importorskip("cv2", reason="SAM's removal of small regions needs OpenCV, this package's doesn't")
    sam, model = spotlit
    hw, image = (180, 300), wave_image((180, 300))
    settings = replace(UNFILTERED, box_nms_thresh=0.95, crop_nms_thresh=0.9)
    before = segment_everything(image, model, settings)
    settings = replace(settings, min_mask_region_area=area)
    found = segment_everything(image, model, settings)
    assert {one.area_px for one in found} != {one.area_px for one in before}
    assert_same(found, theirs(sam, image, settings, model.decoder), hw)

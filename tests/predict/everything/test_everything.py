"""Segment everything: filters, settings, and equality with SAM's mask generator."""

from __future__ import annotations

import inspect
import tracemalloc
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.utils.amg import calculate_stability_score, mask_to_rle_pytorch
from skimage.measure import label

from napari_sampath.arrays import LocalMask
from napari_sampath.encoders import EncoderParts, registry
from napari_sampath.errors import ConfigError, DatasetError, PromptError
from napari_sampath.formats.run_lengths import ColumnRuns, encode_coco
from napari_sampath.geometry import Frame, whole
from napari_sampath.jobs import Progress
from napari_sampath.predict import Model, load_model
from napari_sampath.predict.decoder.mask_upscaling import image_logits, local_mask
from napari_sampath.predict.everything.crops import crop_frames
from napari_sampath.predict.everything.everything import (
    EverythingMask,
    segment_everything,
    segment_everything_job,
)
from napari_sampath.predict.everything.mask_filters import (
    StabilityScreen,
    drop_small_islands,
    fill_small_holes,
)
from napari_sampath.predict.everything.settings import EverythingSettings
from napari_sampath.predict.everything.whole_objects import drop_small, select_whole
from napari_sampath.predict.head_tiles import head_tiles
from napari_sampath.store import MemoryTier, Store
from support.models.small_sam import Spotlight, model_of, small_sam, spotlit_model, wave_image

LENIENT = EverythingSettings(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0)


@pytest.fixture
def model() -> Model:
    """A model with masks as small as objects, and a store in memory."""
    return spotlit_model(small_sam(), Store(MemoryTier(2**26)))


def same(first: list[EverythingMask], second: list[EverythingMask]) -> bool:
    return len(first) == len(second) and all(
        a.mask.slices == b.mask.slices and np.array_equal(a.mask.bitmap, b.mask.bitmap)
        for a, b in zip(first, second, strict=True)
    )


def test_defaults_are_sams() -> None:
    sams = inspect.signature(SamAutomaticMaskGenerator).parameters
    ours = asdict(EverythingSettings())
    shared = {name: value for name, value in ours.items() if name in sams}
    assert shared == {name: sams[name].default for name in shared}
    assert set(sams) - set(ours) == {"model", "point_grids", "output_mode"}
    own = {name: value for name, value in ours.items() if name not in sams}
    unchanged = {"drop_over_half_image": False, "tile_px": 0, "max_area_share": 1.0, "min_area_px": 0}
    windows = {"window_cells": 0, "whole_points_per_side": 0, "use_heads": False}
    assert own == unchanged | {"max_covered": 1.0, "size_weight": 0.0, "min_relative_area": 0.0} | windows


def test_settings_are_those_of_the_model() -> None:
    assert EverythingSettings.of_model(registry["vit_b"].info) == EverythingSettings()
    tiny = EverythingSettings.of_model(registry["sampath-tiny"].info)
    assert tiny.pred_iou_thresh < 0.88
    assert tiny.max_covered < 1


def test_the_settings_of_the_model_are_the_default(model: Model) -> None:
    image, hw = wave_image((90, 120)), (90, 120)
    info = replace(model.encoder.info, everything=asdict(replace(LENIENT, max_covered=0.0)))
    model.encoder.info = info
    masks = segment_everything(image, model)
    assert masks
    assert np.sum([result.mask.to_dense(hw) for result in masks], axis=0).max() == 1
    assert same(masks, segment_everything(image, model, EverythingSettings.of_model(info)))


def test_large_images_are_segmented_tile_by_tile(model: Model) -> None:
    image = wave_image((128, 600))
    tiled = replace(LENIENT, tile_px=128, max_covered=0.2)
    masks = segment_everything(image, model, tiled)
    frames = head_tiles((128, 600), 128)
    assert len(frames) > 4
    assert {result.crop for result in masks} == {replace(frame, input_px=256) for frame in frames}
    # The first tile alone gives the same objects, apart from those close to the next tile.
    alone = segment_everything(image[:, :128], model, tiled)
    inside = [result for result in alone if result.mask.slices[1].stop < 80]
    assert inside
    found = [(result.mask.slices, result.predicted_iou) for result in masks]
    assert all(
        (result.mask.slices, pytest.approx(result.predicted_iou, abs=1e-4)) in found for result in inside
    )


def test_windows_find_small_objects_and_the_second_grid_large_ones() -> None:
    rows, cols = np.mgrid[:256, :256]
    image = np.full((256, 256, 3), (235, 200, 220), dtype=np.uint8)
    centres = [(48, 48), (48, 208), (112, 144), (208, 48), (208, 208)]
    nuclei = [(rows - row) ** 2 + (cols - col) ** 2 < 14**2 for row, col in centres]
    image[np.any(nuclei, axis=0)] = (90, 50, 140)
    tiny = load_model("sampath-tiny")
    windowed = EverythingSettings(
        8,
        pred_iou_thresh=0.3,
        stability_score_thresh=0.3,
        box_nms_thresh=1.0,
        max_covered=0.2,
        window_cells=16,
    )
    totals: set[float] = set()
    masks = segment_everything(image, tiny, windowed, lambda progress: totals.add(progress.total))
    assert totals == {64}
    dense = [result.mask.to_dense((256, 256)) for result in masks]
    for nucleus in nuclei:
        assert max((mask & nucleus).sum() / (mask | nucleus).sum() for mask in dense) > 0.8
    # No window shows 16 cells, a quarter of the image, beyond its point, and masks that it cuts off are dropped.
    for result in masks:
        corners = np.array(result.bbox_xywh[:2]), np.add(result.bbox_xywh[:2], result.bbox_xywh[2:])
        assert np.abs(np.array(corners) - result.point_xy).max() < 64
    both = replace(windowed, points_per_side=1, whole_points_per_side=2)
    segment_everything(image, tiny, both, lambda progress: totals.add(progress.total))
    assert totals == {64, 5}


def test_masks_are_filtered_by_area(model: Model) -> None:
    image, every = wave_image((180, 300)), replace(LENIENT, box_nms_thresh=1.0)
    masks = segment_everything(image, model, every)
    middle = sorted(result.area_px for result in masks)[len(masks) // 2]
    large = segment_everything(image, model, replace(every, min_area_px=middle))
    small = segment_everything(image, model, replace(every, max_area_share=middle / (180 * 300)))
    assert same(large, [result for result in masks if result.area_px >= middle])
    assert same(small, [result for result in masks if result.area_px <= middle])


@dataclass(frozen=True)
class Blob:
    """A rectangle to select, (r0, c0, r1, c1)."""

    box: tuple[int, int, int, int]
    predicted_iou: float
    is_cut: bool = False
    stability: float = 1.0

    @property
    def area_px(self) -> int:
        r0, c0, r1, c1 = self.box
        return (r1 - r0) * (c1 - c0)

    def local_mask(self) -> LocalMask:
        r0, c0, r1, c1 = self.box
        return LocalMask(r0, c0, np.ones((r1 - r0, c1 - c0), dtype=np.bool_))


def test_whole_objects_are_preferred_to_their_parts() -> None:
    whole_object, part, cut = (
        Blob((0, 0, 20, 20), 0.7),
        Blob((5, 5, 12, 12), 0.75),
        Blob((14, 0, 34, 20), 0.9, True),
    )
    everything = [part, cut, whole_object]
    assert select_whole(everything, (40, 40), 0.3, 0.1) == [whole_object, cut]
    assert select_whole(everything, (40, 40), 0.2, 0.1) == [whole_object]
    assert select_whole(everything, (40, 40), 0.3, 0.0) == [part, whole_object, cut]
    assert select_whole(everything, (40, 40), 0.0, 0.0) == [part, cut]
    unstable = replace(part, stability=0.9)
    assert select_whole([unstable, whole_object], (40, 40), 0.1, 0.0) == [whole_object]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), max_covered=st.floats(0, 0.9), size_weight=st.floats(0, 1))
def test_no_selected_mask_is_covered_by_better_ones(
    seed: int, max_covered: float, size_weight: float
) -> None:
    rng = np.random.default_rng(seed)
    blobs = []
    for _ in range(12):
        (r0, r1), (c0, c1) = (np.sort(rng.choice(40, 2, replace=False)) for _ in range(2))
        blobs.append(Blob((int(r0), int(c0), int(r1), int(c1)), rng.random(), rng.random() < 0.3))
    selected = select_whole(blobs, (40, 40), max_covered, size_weight)
    covered = np.zeros((40, 40), dtype=np.bool_)
    for blob in selected:
        mask = blob.local_mask().to_dense((40, 40))
        assert (mask & covered).sum() <= max_covered * blob.area_px
        covered |= mask
    for blob in set(blobs) - set(selected):
        assert (blob.local_mask().to_dense((40, 40)) & covered).sum() > max_covered * blob.area_px


@given(
    areas=st.lists(st.integers(1, 39), min_size=1, max_size=20),
    share=st.floats(0, 1),
)
def test_objects_much_smaller_than_the_typical_one_are_dropped(areas: list[int], share: float) -> None:
    blobs = [Blob((0, 0, 1, area), 0.9, False) for area in areas]
    kept = drop_small(blobs, share)
    typical = max(size for size in areas if 2 * sum(a for a in areas if a >= size) >= sum(areas))
    assert kept == [blob for blob in blobs if blob.area_px >= share * typical]


def test_among_large_objects_small_ones_are_dropped_and_alone_they_are_kept() -> None:
    nuclei = [Blob((30, col, 31, col + 2), 0.9, False) for col in range(0, 36, 3)]
    gland = Blob((0, 0, 10, 10), 0.9, False)
    assert drop_small([*nuclei, gland], 0.1) == [gland]
    assert drop_small(nuclei, 0.1) == nuclei
    assert drop_small([*nuclei, gland], 0.0) == [*nuclei, gland]
    assert drop_small([], 0.1) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points_per_side", 0),
        ("points_per_side", 2.5),
        ("points_per_side", True),
        ("points_per_side", None),
        ("points_per_batch", 0),
        ("pred_iou_thresh", float("nan")),
        ("pred_iou_thresh", "0.8"),
        ("stability_score_thresh", float("inf")),
        ("stability_score_offset", -1.0),
        ("box_nms_thresh", 1.5),
        ("crop_n_layers", -1),
        ("crop_nms_thresh", -0.1),
        ("crop_overlap_ratio", 1.0),
        ("crop_n_points_downscale_factor", 0),
        ("min_mask_region_area", -5),
        ("tile_px", 5000),
        ("max_covered", 1.5),
        ("window_cells", 12),
        ("window_cells", 72),
    ],
)
def test_an_invalid_setting_gives_a_one_sentence_error(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        EverythingSettings(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} is {value!r}; give ")
    assert message.endswith(".")


def test_too_few_points_for_the_layers() -> None:
    with pytest.raises(ConfigError, match="which leaves no point in layer 3"):
        EverythingSettings(points_per_side=4, crop_n_layers=3, crop_n_points_downscale_factor=2)
    fewest = EverythingSettings(points_per_side=4, crop_n_layers=2, crop_n_points_downscale_factor=2)
    assert fewest.points_in_layer(2) == 1


def test_masks_and_their_attributes(model: Model) -> None:
    hw = (180, 300)
    masks = segment_everything(wave_image(hw), model, LENIENT)
    assert len(masks) > 5
    scores = [result.predicted_iou for result in masks]
    assert scores == sorted(scores, reverse=True)
    for result in masks:
        assert result.crop == whole(hw, 256)
        assert result.area_px == result.mask.to_dense(hw).sum()
        assert result.mask.bitmap[[0, -1]].any(axis=1).all()
        assert result.mask.bitmap[:, [0, -1]].any(axis=0).all()
        x, y = result.point_xy
        assert (x - 50) % 100 == pytest.approx(0)
        assert (y - 30) % 60 == pytest.approx(0)


def test_no_mask_passes_the_filters(model: Model) -> None:
    assert segment_everything(wave_image((90, 120)), model, replace(LENIENT, pred_iou_thresh=1000.0)) == []
    layers = replace(LENIENT, stability_score_thresh=1000.0, crop_n_layers=1, min_mask_region_area=5)
    assert segment_everything(wave_image((90, 120)), model, layers) == []


def test_masks_may_be_empty() -> None:
    sam = small_sam()
    for hypernetwork in sam.mask_decoder.output_hypernetworks_mlps:
        torch.nn.init.zeros_(hypernetwork.layers[-1].weight)
        torch.nn.init.zeros_(hypernetwork.layers[-1].bias)
    masks = segment_everything(wave_image((90, 120)), model_of(sam), replace(LENIENT, pred_iou_thresh=-1e9))
    assert masks
    assert not any(result.area_px for result in masks)


def test_batch_size_does_not_change_the_masks(model: Model) -> None:
    image = wave_image((180, 300))
    one_by_one = segment_everything(image, model, replace(LENIENT, points_per_batch=1))
    assert same(one_by_one, segment_everything(image, model, LENIENT))


def test_progress_counts_points_and_ends_at_the_total(model: Model) -> None:
    reports: list[Progress] = []
    layers = replace(LENIENT, crop_n_layers=1, points_per_side=4, points_per_batch=3)
    segment_everything(wave_image((180, 300)), model, layers, reports.append)
    done = [progress.done for progress in reports]
    assert done == sorted(done)
    assert done[:3] == [0, 0, 3]
    assert {progress.total for progress in reports} == {5 * 16}
    assert done[-1] == 5 * 16
    assert {progress.unit for progress in reports} == {"points"}
    assert [progress.message for progress in reports].count("Encoding the image") == 5


def test_cancelling_stops_decoding(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    monkeypatch.setattr(
        Spotlight, "logits", lambda self, attended, chosen: decoded.append(1) or torch.zeros(0, 64, 64)
    )
    job = segment_everything_job(
        wave_image((90, 120)), model, replace(LENIENT, points_per_batch=2, pred_iou_thresh=1e3)
    )
    for _ in range(4):
        next(job)
    assert len(decoded) == 2
    job.close()
    with pytest.raises(StopIteration):
        next(job)
    assert len(decoded) == 2


def test_crops_are_encoded_once(model: Model) -> None:
    calls: list[int] = []
    model.encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    layers = replace(LENIENT, crop_n_layers=1)
    first = segment_everything(wave_image((180, 300)), model, layers)
    assert len(calls) == 5
    assert same(segment_everything(wave_image((180, 300)), model, layers), first)
    assert len(calls) == 5


def test_masks_over_half_the_image_can_be_dropped() -> None:
    model, hw = model_of(small_sam()), (100, 150)
    every = replace(LENIENT, pred_iou_thresh=-1.0, box_nms_thresh=1.0)
    masks = segment_everything(wave_image(hw), model, every)
    small = [result for result in masks if result.area_px <= 7500]
    assert 0 < len(small) < len(masks)
    assert same(segment_everything(wave_image(hw), model, replace(every, drop_over_half_image=True)), small)


def test_other_image_types_are_converted(model: Model) -> None:
    colours = wave_image((90, 120))
    grey = colours[:, :, 0].astype(np.uint16) * 257
    grey[0, :2] = 0, 65535
    masks = segment_everything(grey, model, LENIENT)
    repeated = np.repeat((grey // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    assert same(masks, segment_everything(repeated, model, LENIENT))


def test_a_model_without_decoder_is_rejected() -> None:
    model = Model(EncoderParts(model_of(small_sam()).encoder))
    with pytest.raises(PromptError, match=r"'small-sam' answers no prompts.*choose 'sampath-tiny'"):
        segment_everything(wave_image((90, 120)), model, LENIENT)


def test_too_many_layers_for_the_image_are_rejected(model: Model) -> None:
    deep = replace(LENIENT, crop_n_layers=6)
    with pytest.raises(ConfigError, match="crop_n_layers is 6, too many for an image of 20 x 16 px"):
        segment_everything(wave_image((16, 20)), model, deep)


def test_memory_depends_on_the_objects_not_the_image(model: Model) -> None:
    image = wave_image((3000, 3000))
    segment_everything(image, model, LENIENT)
    tracemalloc.start()
    masks = segment_everything(image, model, replace(LENIENT, points_per_side=6))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sizes = [result.mask.bitmap.size for result in masks]
    assert len(masks) > 20
    # At image size, each mask would take 9 MB, and its logits 36 MB.
    assert peak < sum(sizes) + 3 * max(sizes) + 16 * 2**20
    assert peak < 9e6 * len(masks) / 2


@settings(max_examples=40, deadline=None)
@given(
    hw=st.tuples(st.integers(16, 1200), st.integers(16, 1200)),
    layers=st.integers(0, 3),
    overlap=st.floats(0, 0.9),
)
def test_crops_cover_the_image(hw: tuple[int, int], layers: int, overlap: float) -> None:
    for number, frames in enumerate(crop_frames(hw, layers, overlap, 1024)):
        assert len(frames) == 4**number
        covered = np.zeros(hw, dtype=np.bool_)
        for frame in frames:
            covered[frame.slices] = True
            assert frame.top + frame.height <= hw[0]
            assert frame.left + frame.width <= hw[1]
        assert covered.all()


def noise(seed: int, cells: int, spread: int, std: float) -> np.ndarray:
    """Blobs of `spread` cells, (cells, cells) float32."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, std, (1, 1, -(-cells // spread) + 1, -(-cells // spread) + 1)).astype(np.float32)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), (cells, cells), mode="bilinear")
    return fine[0, 0].numpy()


@settings(max_examples=60, deadline=None)
@given(
    hw=st.tuples(st.integers(16, 900), st.integers(16, 900)),
    place=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    seed=st.integers(0, 999),
    spread=st.integers(1, 60),
    level=st.floats(-4, 8),
    offset=st.floats(0, 3),
)
def test_stability_equals_sams_and_is_below_its_upper_bound(
    hw: tuple[int, int], place: tuple[int, int], seed: int, spread: int, level: float, offset: float
) -> None:
    frame = Frame(*place, *hw)
    logits = noise(seed, 256, spread, 4.0) - np.float32(level)
    screen = StabilityScreen(frame, 256, offset)
    mask, stability = screen.measure(logits)
    enlarged = torch.from_numpy(image_logits(frame, logits))[None]
    expected = calculate_stability_score(enlarged, 0.0, offset)[0].item()
    assert float(stability) == pytest.approx(expected, abs=1e-6, nan_ok=True)
    other = local_mask(frame, logits)
    assert (mask.row, mask.col) == (other.row, other.col)
    np.testing.assert_array_equal(mask.bitmap, other.bitmap)
    bound = screen.upper_bound(torch.from_numpy(logits)[None]).item()
    assert np.isnan(expected) or bound >= expected


def test_the_upper_bound_is_close_to_the_stability() -> None:
    rows, cols = np.mgrid[:256, :256]
    distance = np.hypot(rows - 128, cols - 128).astype(np.float32)
    vague, sharp = 2 - distance / 30, 60 - distance
    screen = StabilityScreen(whole((1024, 1024)), 256, 1.0)
    bounds = screen.upper_bound(torch.from_numpy(np.stack([vague, sharp])))
    assert screen.measure(vague)[1] < 0.2
    assert bounds[0] < 0.3
    assert screen.measure(sharp)[1] > 0.9
    assert 0.9 < bounds[1] < 1.1


def regions(bits: np.ndarray) -> list[np.ndarray]:
    """8-connected regions of the whole image, as masks."""
    numbered, count = label(bits, connectivity=2, return_num=True)
    return [numbered == number for number in range(1, count + 1)]


@st.composite
def placed_masks(draw: st.DrawFn) -> np.ndarray:
    """Masks (H, W) with holes and islands, often near the image edge."""
    hw = draw(st.tuples(st.integers(3, 24), st.integers(3, 24)))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    bits = rng.random(hw) < draw(st.floats(0.2, 0.95))
    top, left = draw(st.integers(0, hw[0] // 2)), draw(st.integers(0, hw[1] // 2))
    bits[:top] = False
    bits[:, :left] = False
    bits[top, left] = True
    return bits


@settings(max_examples=150, deadline=None)
@given(bits=placed_masks(), area=st.integers(1, 60))
def test_small_holes_are_filled(bits: np.ndarray, area: int) -> None:
    small = [region for region in regions(~bits) if region.sum() < area]
    mask, changed = fill_small_holes(LocalMask.from_dense(bits), bits.shape, area)
    expected = np.logical_or.reduce([bits, *small])
    np.testing.assert_array_equal(mask.to_dense(bits.shape), expected)
    assert changed == bool(small)


@settings(max_examples=150, deadline=None)
@given(bits=placed_masks(), area=st.integers(1, 60))
def test_small_islands_are_removed(bits: np.ndarray, area: int) -> None:
    islands = regions(bits)
    large = [region for region in islands if region.sum() >= area]
    mask, changed = drop_small_islands(LocalMask.from_dense(bits), area)
    dense = mask.to_dense(bits.shape)
    assert changed == (len(large) < len(islands))
    if large:
        np.testing.assert_array_equal(dense, np.logical_or.reduce(large))
    else:
        largest = max(region.sum() for region in islands)
        assert any(np.array_equal(dense, region) for region in islands if region.sum() == largest)


@settings(max_examples=150, deadline=None)
@given(bits=placed_masks(), area=st.integers(1, 60))
def test_small_regions_equal_opencvs(bits: np.ndarray, area: int) -> None:
    pytest.importorskip("cv2", reason="SAM's removal of small regions needs OpenCV")
    from segment_anything.utils.amg import remove_small_regions

    mask = LocalMask.from_dense(bits)
    for mode, (result, changed) in {
        "holes": fill_small_holes(mask, bits.shape, area),
        "islands": drop_small_islands(mask, area),
    }.items():
        expected, expected_change = remove_small_regions(bits, area, mode)
        np.testing.assert_array_equal(result.to_dense(bits.shape), expected)
        assert changed == expected_change


@settings(max_examples=100, deadline=None)
@given(bits=placed_masks(), full=st.booleans(), empty=st.booleans())
def test_run_lengths_equal_those_of_coco(bits: np.ndarray, full: bool, empty: bool) -> None:
    if full or empty:
        bits = np.full(bits.shape, full)
    mask = LocalMask.from_dense(bits)
    counts = encode_coco(mask, bits.shape)
    (expected,) = mask_to_rle_pytorch(torch.from_numpy(bits)[None])
    assert counts == expected["counts"]
    back = ColumnRuns.parse(counts, bits.shape).decode()
    assert (back.row, back.col) == (mask.row, mask.col)
    np.testing.assert_array_equal(back.bitmap, mask.bitmap)


@pytest.mark.parametrize("counts", [[5], [3, 4], [13, -1], []])
def test_invalid_run_lengths_are_rejected(counts: list[int]) -> None:
    with pytest.raises(DatasetError, match="The runs cover"):
        ColumnRuns.parse(counts, (3, 4)).decode()


def test_public_name() -> None:
    import napari_sampath

    assert napari_sampath.segment_everything is segment_everything
    assert "segment_everything" in dir(napari_sampath)

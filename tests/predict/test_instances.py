"""Instance segmentation: splitting of areas, choice of outlines, and scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.measure import label

import napari_sampath
from napari_sampath.arrays import ClassInfo, FeatureSpec, LocalMask
from napari_sampath.cli import main
from napari_sampath.config import load_config
from napari_sampath.errors import ConfigError, PromptError
from napari_sampath.heads import EncoderRef, LoadedHead, Metadata, create, load_head, save_bundle
from napari_sampath.jobs import run
from napari_sampath.predict import (
    InstanceSettings,
    Model,
    Segmentation,
    segment,
    segment_instances,
    segment_instances_job,
    separate_touching_job,
)
from napari_sampath.predict.everything.settings import EverythingSettings
from napari_sampath.predict.instances import split_touching
from napari_sampath.predict.instances.label_map import number_map
from napari_sampath.predict.instances.resolve_outlines import choose_outlines
from napari_sampath.predict.instances.split_touching import (
    HeadObject,
    split,
    split_class_map,
    split_mask,
    split_segmentation,
)
from napari_sampath.store import MemoryTier, Store
from napari_sampath.tiling import tiles
from napari_sampath.training.data.depth import object_depth
from napari_sampath.training.data.instances import NUCLEUS, UNKNOWN, InstanceImage
from napari_sampath.training.evaluation.instance_evaluation import (
    BASELINE,
    count_objects,
    evaluate_instances,
    haematoxylin_objects,
)
from napari_sampath.training.evaluation.panoptic_quality import ObjectCounts
from support.models.patches import patch_model

DEFAULTS = InstanceSettings()
CLASSES = ClassInfo(0, "background", (0, 0, 0)), ClassInfo(3, "nucleus", (60, 30, 200))
PINK, PURPLE = (232, 178, 205), (92, 50, 140)


def disc(hw: tuple[int, int], row: float, col: float, radius: float) -> np.ndarray:
    rows, cols = np.indices(hw)
    return (rows + 0.5 - row) ** 2 + (cols + 0.5 - col) ** 2 < radius**2


def ellipse(hw: tuple[int, int], long: float, short: float, angle: float) -> np.ndarray:
    rows, cols = np.indices(hw) + 0.5
    y, x = rows - hw[0] / 2, cols - hw[1] / 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / long) ** 2 + (across / short) ** 2 < 1


def cells(
    hw: tuple[int, int], centres: list[tuple[int, int]], radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Paint purple discs on pink; return pixels (H, W, 3) and numbers (H, W), split halfway between centres."""
    rows, cols = np.indices(hw) + 0.5
    distances = np.stack([np.hypot(rows - row, cols - col) for row, col in centres])
    numbers = np.where(distances.min(axis=0) < radius, distances.argmin(axis=0) + 1, 0)
    noise = np.random.default_rng(0).normal(0, 6, (*hw, 3))
    pixels = np.array([PINK, PURPLE])[(numbers > 0).astype(int)] + noise
    return np.clip(pixels, 0, 255).astype(np.uint8), numbers.astype(np.int32)


def test_depth_separates_objects_without_a_neck() -> None:
    # Two halves of a square touch along a straight line, which shows in the depth only.
    numbers = np.zeros((60, 60), dtype=np.int32)
    numbers[10:50, 10:30], numbers[10:50, 30:50] = 1, 2
    depth = object_depth(numbers)
    assert len(list(split_mask(numbers > 0, DEFAULTS))) == 1
    parts = list(split_mask(numbers > 0, DEFAULTS, depth))
    assert sorted((part.row, part.col, part.area_px) for part in parts) == [(10, 10, 800), (10, 30, 800)]
    assert len(list(split_mask(numbers > 0, InstanceSettings(neck=0), depth))) == 1
    assert len(list(split_mask(numbers > 0, InstanceSettings(min_area_px=900), depth))) == 1


def test_uncertain_objects_are_dropped_where_the_head_predicts_depth() -> None:
    numbers = np.zeros((40, 80), np.int32)
    numbers[5:35, 5:35], numbers[5:35, 45:75] = 1, 2
    labels, confidence = (numbers > 0).astype(np.uint8), np.choose(numbers, (0.99, 0.95, 0.6))
    depth = object_depth(numbers)

    def scores(**values: float) -> list[float]:
        found = split_class_map(labels, confidence, InstanceSettings(**values), depth=depth)
        return [round(obj.score, 2) for obj in found]

    assert scores() == [0.95]
    assert scores(min_score=0.5) == [0.95, 0.6]
    assert scores(neck=0) == [0.95, 0.6], "not separated"
    assert len(list(split_class_map(labels, confidence, DEFAULTS))) == 2, "a head without depth"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999))
def test_depth_is_highest_in_the_middle_of_each_object(seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(-1, 4, (6, 7)).repeat(8, axis=0).repeat(9, axis=1)
    depth = object_depth(numbers)
    assert depth.dtype == np.float32
    assert ((depth > 0) == (numbers > 0)).all()
    for number in np.unique(numbers[numbers > 0]):
        inside = numbers == number
        expected = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        np.testing.assert_allclose(depth[inside], (expected / expected.max())[inside], rtol=1e-5)


HW = (256, 320)
CENTRES = [(60, 60), (60, 102), (150, 90), (180, 200), (180, 242), (222, 221), (60, 230)]
"""A touching pair, three touching discs, and two separate ones."""


@pytest.fixture(scope="module")
def model() -> Model:
    """The model that is shipped with the package."""
    return napari_sampath.load_model("sampath-tiny", "cpu", store=Store(MemoryTier(2**28)))


@pytest.fixture(scope="module")
def head(model: Model) -> LoadedHead:
    """A small head trained to find purple, on two images that no test uses."""
    maps, targets = [], []
    for hw, centres, radius in (
        ((256, 256), [(50, 50), (90, 180), (190, 100), (200, 150)], 24),
        ((360, 1024), [(80, 60), (200, 170), (200, 250), (90, 400), (150, 700), (225, 700), (60, 950)], 40),
    ):
        pixels, numbers = cells(hw, centres, radius)
        features = model.encode(pixels)
        target = torch.zeros(1, 1, 1024, 1024)
        height, width = features.frame.input_hw
        painted = torch.from_numpy(numbers > 0).float()[None, None]
        target[..., :height, :width] = torch.nn.functional.interpolate(painted, (height, width))
        maps.append(features.maps["embedding"].clone())
        targets.append(torch.nn.functional.avg_pool2d(target, 4)[0, 0])
    torch.manual_seed(0)
    spec = FeatureSpec(tuple(feature for feature in model.maps if feature.name == "embedding"))
    network = create("linear", spec, CLASSES)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(40):
        logits = network({"embedding": torch.stack(maps)})
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits[:, 1] - logits[:, 0], torch.stack(targets)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    encoder = model.encoder
    ref = EncoderRef(model.name, encoder.weights_digest, encoder.preprocessing_version)
    return LoadedHead(network.eval().requires_grad_(False), Metadata("purple", (ref,)), "memory")


@pytest.fixture(scope="module")
def bundle(head: LoadedHead, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads") / "purple.safetensors"
    return save_bundle(path, head.head, head.metadata)


@pytest.fixture
def tissue(tmp_path: Path) -> Path:
    path = tmp_path / "cells.png"
    Image.fromarray(cells(HW, CENTRES, 22)[0]).save(path)
    return path


def map_of(labels: np.ndarray, origin_rc: tuple[int, int] = (0, 0)) -> Segmentation:
    confidence = np.where(labels > 0, 0.9, 0.8).astype(np.float32)
    return Segmentation(labels.astype(np.uint8), confidence, None, CLASSES, "map", origin_rc)


def matches(instances: list, numbers: np.ndarray) -> list[int]:
    """Return for each mask the number of the true object that it overlaps with IoU above 0.5; 0 for none."""
    hits = []
    for instance in instances:
        dense = instance.mask.to_dense(numbers.shape)
        iou = {
            n: (dense & (numbers == n)).sum() / (dense | (numbers == n)).sum()
            for n in range(1, numbers.max() + 1)
        }
        best = max(iou, key=iou.__getitem__)
        hits.append(best if iou[best] > 0.5 else 0)
    return hits


# Splitting


@given(
    radius=st.floats(10, 30),
    ratio=st.floats(0.8, 1.25),
    spacing=st.floats(0.75, 0.97),
    angle=st.floats(0, np.pi),
)
@settings(deadline=None, max_examples=60)
def test_two_touching_discs_are_separated(radius, ratio, spacing, angle):
    """Outlines are accurate to a pixel, so discs with a radius below 10 px need a slightly deeper neck."""
    other = radius * ratio
    assume(min(radius, other) >= 10 or spacing >= 0.8)
    distance = spacing * (radius + other)
    side = int(2 * (radius + other) + 8)
    row, col = side / 2, side / 2
    half_y, half_x = distance / 2 * np.sin(angle), distance / 2 * np.cos(angle)
    first = disc((side, side), row - half_y, col - half_x, radius)
    second = disc((side, side), row + half_y, col + half_x, other)
    assume(label(first | second, connectivity=2).max() == 1)
    parts = split(first | second, DEFAULTS)
    assert parts.max() == 2
    np.testing.assert_array_equal(parts > 0, first | second)
    ids = [np.bincount(parts[mask], minlength=3)[1:].argmax() + 1 for mask in (first, second)]
    assert sorted(ids) == [1, 2]
    for mask, number in zip((first, second), ids, strict=True):
        assert (mask & (parts == number)).sum() / (mask | (parts == number)).sum() > 0.75


@given(short=st.floats(6, 20), ratio=st.floats(1, 6), angle=st.floats(0, np.pi))
@settings(deadline=None, max_examples=60)
def test_an_ellipse_is_not_split(short, ratio, angle):
    side = int(2 * short * ratio + 6)
    mask = ellipse((side, side), short * ratio, short, angle)
    np.testing.assert_array_equal(split(mask, DEFAULTS), mask)


def test_a_row_of_discs_is_split_and_a_ring_is_not():
    hw = (60, 260)
    row = np.any([disc(hw, 30, 30 + 34 * k, 20) for k in range(6)], axis=0)
    assert split(row, DEFAULTS).max() == 6
    ring = disc((90, 90), 45, 45, 40) & ~disc((90, 90), 45, 45, 26)
    assert split(ring, DEFAULTS).max() == 1


@given(
    seed=st.integers(0, 10_000), spread=st.floats(0.6, 4), share=st.floats(0.2, 0.9), area=st.integers(1, 60)
)
@settings(deadline=None, max_examples=60)
def test_parts_are_connected_large_enough_and_complete(seed, spread, share, area):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(70, 80)), spread)
    mask = noise > np.quantile(noise, 1 - share)
    instance_settings = InstanceSettings(min_area_px=area)
    masks = list(split_mask(mask, instance_settings))
    painted = np.sum([part.to_dense(mask.shape) for part in masks], axis=0) if masks else np.zeros(mask.shape)
    areas = label(mask, connectivity=2)
    large = np.isin(areas, np.flatnonzero(np.bincount(areas.ravel()) >= area)) & mask
    np.testing.assert_array_equal(painted, large)  # each pixel exactly once
    for part in masks:
        assert part.area_px >= area
        assert label(part.bitmap, connectivity=2).max() == 1
        assert part.bitmap[[0, -1]].any(axis=1).all()
        assert part.bitmap[:, [0, -1]].any(axis=0).all()


def test_splitting_does_not_depend_on_the_scale():
    mask = disc((50, 80), 25, 25, 16) | disc((50, 80), 25, 52, 16)
    larger = mask.repeat(4, axis=0).repeat(4, axis=1)
    assert split(mask, DEFAULTS).max() == split(larger, DEFAULTS).max() == 2


def test_a_huge_area_is_split_on_a_coarse_grid(monkeypatch):
    """The cut is within two grid steps of that in the small area, which is split at full resolution."""
    mask = disc((50, 80), 25, 25, 16) | disc((50, 80), 25, 52, 16)
    larger = mask.repeat(60, axis=0).repeat(60, axis=1)
    shapes = []
    monkeypatch.setattr(
        split_touching, "split", lambda area, settings: shapes.append(area.shape) or split(area, settings)
    )
    first, second = split_mask(larger, DEFAULTS)
    assert max(max(shape) for shape in shapes) <= 1024
    assert first.area_px + second.area_px == larger.sum()
    small = split(mask, DEFAULTS).repeat(60, axis=0).repeat(60, axis=1)
    coarse = first.to_dense(larger.shape) * small[first.row + 900, first.col + 60]
    assert (coarse[coarse > 0] == small[coarse > 0]).mean() > 0.95


@given(seed=st.integers(0, 10_000), spread=st.floats(0.6, 6), share=st.floats(0.2, 0.9))
@settings(deadline=None, max_examples=60)
def test_parts_of_a_huge_area_are_connected_large_enough_and_complete(seed, spread, share):
    """The same holds on the coarse grid, used here for areas of more than 24 px."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(70, 83)), spread)
    mask = noise > np.quantile(noise, 1 - share)
    instance_settings = InstanceSettings(min_area_px=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_touching, "_FINE_PX", 24)
        masks = list(split_mask(mask, instance_settings))
    painted = np.sum([part.to_dense(mask.shape) for part in masks], axis=0) if masks else np.zeros(mask.shape)
    areas = label(mask, connectivity=2)
    large = np.isin(areas, np.flatnonzero(np.bincount(areas.ravel()) >= 5)) & mask
    np.testing.assert_array_equal(painted, large)
    for part in masks:
        assert part.area_px >= 5
        assert label(part.bitmap, connectivity=2).max() == 1


def test_a_neck_of_zero_splits_nothing():
    mask = disc((50, 80), 25, 25, 16) | disc((50, 80), 25, 52, 16)
    assert split(mask, InstanceSettings(neck=0)).max() == 1


def test_objects_have_a_class_a_score_and_a_position():
    labels = np.where(disc((60, 90), 30, 30, 18), 3, 0) + np.where(disc((60, 90), 30, 66, 18), 7, 0)
    objects = list(split_segmentation(map_of(labels, (500, 40)), DEFAULTS))
    assert [obj.class_id for obj in objects] == [3, 7]
    for obj in objects:
        moved = LocalMask(obj.mask.row - 500, obj.mask.col - 40, obj.mask.bitmap)
        np.testing.assert_array_equal(moved.to_dense((60, 90)), labels == obj.class_id)
        assert obj.score == pytest.approx(0.9)
    assert list(split_segmentation(map_of(labels), InstanceSettings(threshold=0.95))) == []
    assert list(split_segmentation(map_of(np.zeros((60, 90))), DEFAULTS)) == []


# Choice of outlines


def head_object(mask: np.ndarray) -> HeadObject:
    return HeadObject(LocalMask.from_dense(mask), 3, 0.8)


def test_the_decoders_outline_is_used_if_it_agrees_with_the_head():
    hw = (60, 120)
    objects = [head_object(disc(hw, 30, 30, 14)), head_object(disc(hw, 30, 80, 14))]
    wider = LocalMask.from_dense(disc(hw, 31, 30, 16))
    everything = LocalMask.from_dense(np.ones(hw, dtype=bool))
    first, second = choose_outlines(objects, [(wider, 0.7), (everything, 0.99)], DEFAULTS)
    np.testing.assert_array_equal(first.mask.to_dense(hw), disc(hw, 31, 30, 16))
    assert (first.predicted_iou, first.score, first.class_id) == (0.7, 0.8, 3)
    assert second.mask is objects[1].mask
    assert second.predicted_iou is None
    empty = LocalMask(0, 0, np.zeros((0, 0), dtype=bool))
    assert choose_outlines(objects, [(empty, 0.9)] * 2, DEFAULTS)[0].mask is objects[0].mask


def test_contested_pixels_go_to_the_better_outline_and_no_object_loses_pixels():
    hw = (60, 80)
    first, second = disc(hw, 30, 24, 14), disc(hw, 30, 56, 14)
    outlines = [disc(hw, 30, 28, 17), disc(hw, 30, 52, 17)]
    contested = outlines[0] & outlines[1] & ~first & ~second
    assert contested.any()
    for scores in ((0.6, 0.9), (0.9, 0.6)):
        answers = [(LocalMask.from_dense(mask), score) for mask, score in zip(outlines, scores, strict=True)]
        instances = choose_outlines([head_object(first), head_object(second)], answers, DEFAULTS)
        masks = [instance.mask.to_dense(hw) for instance in instances]
        assert not (masks[0] & masks[1]).any()
        winner = int(np.argmax(scores))
        assert contested[masks[winner]].sum() == contested.sum()
        assert not (masks[0] & second).any()
        assert not (masks[1] & first).any()


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_objects_stay_connected_and_disjoint_with_random_outlines(seed):
    rng, hw = np.random.default_rng(seed), (50, 60)
    noise = ndimage.gaussian_filter(rng.normal(size=hw), 2)
    objects = [HeadObject(mask, 3, 0.5) for mask in split_mask(noise > 0, DEFAULTS)]
    answers = []
    for _ in objects:
        shape = ndimage.gaussian_filter(rng.normal(size=hw), 3) > rng.uniform(-0.1, 0.1)
        answers.append((LocalMask.from_dense(shape), float(rng.random())))
    instances = choose_outlines(objects, answers, DEFAULTS)
    assert len(instances) == len(objects)
    assert (
        np.sum([instance.mask.to_dense(hw) for instance in instances], axis=0, initial=0).max(initial=0) <= 1
    )
    for instance, obj in zip(instances, objects, strict=True):
        chosen, of_head = instance.mask.to_dense(hw), obj.mask.to_dense(hw)
        assert label(chosen, connectivity=2).max() == 1
        assert (chosen & of_head).sum() / (chosen | of_head).sum() >= 0.5


# A real head and a real model


def test_touching_cells_are_separated(model, head):
    pixels, numbers = cells(HW, CENTRES, 22)
    joined = list(split_segmentation(segment(pixels, head, model), InstanceSettings(neck=0)))
    assert len(joined) < len(CENTRES), "some cells touch"
    reports = []
    instances = segment_instances(pixels, head, model, on_progress=reports.append)
    assert sorted(matches(instances, numbers)) == list(range(1, 8))
    assert np.sum([instance.mask.to_dense(HW) for instance in instances], axis=0).max() == 1
    assert {instance.class_id for instance in instances} == {3}
    assert all(0.5 < instance.score <= 1 for instance in instances)
    assert all(instance.predicted_iou is not None for instance in instances), (
        "the decoder outlines all nuclei"
    )
    assert {(report.unit, report.message) for report in reports} >= {
        ("tiles", "Segmenting with purple"),
        ("objects", "Outlining objects"),
    }
    assert (reports[-1].done, reports[-1].total) == (7, 7)


def test_objects_on_a_tile_border_are_found_once(model, head):
    hw = (360, 1700)
    first, second = tiles(hw)
    left, right = second.left, first.width
    centres = [
        (70, left),
        (70, right),
        (160, (left + right) // 2),
        (280, 200),
        (280, right - 38),
        (280, right + 38),
    ]
    pixels, numbers = cells(hw, centres, 40)
    instances = segment_instances(pixels, head, model)
    assert sorted(matches(instances, numbers)) == [1, 2, 3, 4, 5, 6]
    assert np.sum([instance.mask.to_dense(hw) for instance in instances], axis=0).max() == 1


def test_an_object_larger_than_a_tile_is_outlined_on_a_wider_tile(model, monkeypatch):
    hw = (1200, 1600)
    labels = np.zeros(hw)
    labels[60:1150, 50:1500] = 3
    encoded, encode = [], model.encode_tiles
    monkeypatch.setattr(
        model, "encode_tiles", lambda image, frames: encode(image, encoded.extend(frames) or frames)
    )
    instances = run(separate_touching_job(map_of(labels), np.full((*hw, 3), 200, np.uint8), model))
    assert len(instances) == 1
    assert [frame.hw for frame in encoded] == [hw]


def test_objects_of_a_region_are_separated_in_image_coordinates(model, head):
    pixels, numbers = cells(HW, CENTRES, 22)
    instances = segment_instances(pixels, head, model, region=(130, 140, 256, 320))
    assert sorted(matches(instances, numbers)) == [4, 5, 6]


def test_cancelling_before_the_outlines(model, head, monkeypatch):
    pixels, _ = cells(HW, CENTRES, 22)
    calls = []
    monkeypatch.setattr(model, "predict_boxes", lambda *_: calls.append(1))
    job = segment_instances_job(pixels, head, model)
    for progress in job:
        if progress.message == "Outlining objects":
            job.close()
    assert calls == []


def test_no_objects_give_an_empty_list(model):
    assert (
        run(separate_touching_job(map_of(np.zeros((64, 64))), np.zeros((64, 64, 3), np.uint8), model)) == []
    )


def test_a_model_without_prompts_is_rejected_before_encoding(head):
    model = patch_model()
    with pytest.raises(PromptError, match=r"'patches' answers no prompts.*; use a head"):
        segment_instances(np.zeros((64, 64, 3), np.uint8), head, model)
    assert model.encoder.passes == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_area_px", 0),
        ("min_area_px", 2.5),
        ("min_area_px", True),
        ("neck", 1.1),
        ("threshold", float("nan")),
        ("smoothing", -0.1),
        ("agreement", "half"),
    ],
)
def test_an_invalid_setting_gives_a_one_sentence_error(name, value):
    with pytest.raises(ConfigError) as caught:
        InstanceSettings(**{name: value})
    assert str(caught.value).startswith(f"{name} is {value!r}; give ")


# The command line


def test_command_line_writes_the_instances_of_the_python_interface(tissue, bundle, tmp_path, capsys):
    outputs = []
    confidence = tmp_path / "confidence.tif"
    for target in (tmp_path / "objects.png", tmp_path / "objects.tif"):
        arguments = ["segment", str(tissue), "--head", str(bundle), "--objects", "-o", str(target), "--json"]
        assert main([*arguments, "--confidence", str(confidence), "--device", "cpu"]) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    with Image.open(tmp_path / "objects.png") as written:
        numbers = np.asarray(written)
    np.testing.assert_array_equal(numbers, tifffile.imread(tmp_path / "objects.tif"))
    output = outputs[0]
    assert (output["head"], output["model"], output["confidence"]) == (
        "purple",
        "sampath-tiny",
        str(confidence),
    )
    assert output["objects"] == outputs[1]["objects"]
    assert tifffile.imread(confidence).shape == numbers.shape

    model = napari_sampath.load_model("sampath-tiny", "cpu", store=Store.from_config(load_config()))
    with Image.open(tissue) as image:
        instances = napari_sampath.segment_instances(np.asarray(image), load_head(bundle), model)
    instances.sort(key=lambda instance: -instance.score)
    np.testing.assert_array_equal(numbers, number_map([instance.mask for instance in instances], HW))
    assert len(instances) == numbers.max() == len(CENTRES)
    for number, record in enumerate(output["objects"], start=1):
        assert (record["id"], record["class"], record["area_px"]) == (
            number,
            "nucleus",
            (numbers == number).sum(),
        )
        x, y, width, height = record["bbox_xywh"]
        rows, cols = np.nonzero(numbers == number)
        assert (x, y, x + width, y + height) == (cols.min(), rows.min(), cols.max(), rows.max())


def test_instance_settings_need_the_objects_flag(tissue, bundle, model, tmp_path, capsys):
    target = tmp_path / "objects.tif"
    arguments = ["segment", str(tissue), "--head", str(bundle), "-o", str(target), "--device", "cpu"]
    assert main([*arguments, "--neck", "0.5"]) == 1
    assert "--neck is a setting of --objects; add --objects or remove --neck" in capsys.readouterr().err
    assert main([*arguments, "--objects", "--neck", "2"]) == 1
    assert "neck is 2.0; give a number from 0 to 1." in capsys.readouterr().err
    assert not target.exists()
    assert main([*arguments, "--objects", "--neck", "0"]) == 0
    with Image.open(tissue) as image:
        joined = list(
            split_segmentation(segment(np.asarray(image), load_head(bundle), model), InstanceSettings(neck=0))
        )
    assert len(joined) < len(CENTRES)
    assert capsys.readouterr().out == f"{target}: {len(joined)} objects\n"


# Scores


def instance_image(pixels: np.ndarray, numbers: np.ndarray) -> InstanceImage:
    return InstanceImage("cells", NUCLEUS, pixels, numbers, 20)


def test_ground_truth_scores_one_and_unverified_pixels_are_ignored():
    pixels, numbers = cells(HW, CENTRES, 22)
    counts = ObjectCounts()
    count_objects(counts, numbers, instance_image(pixels, numbers))
    assert counts.scores() == {"f1": 1, "aji": 1, "pq": 1, "sq": 1, "objects": 7}
    hidden = numbers.copy()
    hidden[:, 160:] = UNKNOWN  # hides the group of three and one separate cell
    counts = ObjectCounts()
    count_objects(counts, numbers, instance_image(pixels, hidden))
    assert counts.scores() == {"f1": 1, "aji": 1, "pq": 1, "sq": 1, "objects": 3}
    hidden = numbers.copy()
    hidden[:, 50:] = UNKNOWN  # a third of the first object remains, and its prediction is ignored
    counts = ObjectCounts()
    count_objects(counts, numbers, instance_image(pixels, hidden))
    assert (counts.matched, counts.missed, counts.spurious) == (0, 1, 0)


def test_the_baseline_finds_purple_cells():
    pixels, numbers = cells(HW, CENTRES, 22)
    instances = haematoxylin_objects(pixels)
    counts = ObjectCounts()
    count_objects(counts, number_map(instances, HW), instance_image(pixels, numbers))
    assert counts.scores()["pq"] > 0.9
    assert haematoxylin_objects(np.full((40, 40, 3), 200, np.uint8)) == []


def test_evaluation_scores_all_methods(model, head):
    pixels, numbers = cells(HW, CENTRES, 22)
    images = [instance_image(pixels, numbers), instance_image(pixels[::-1].copy(), numbers[::-1].copy())]
    few = EverythingSettings(6, pred_iou_thresh=0.5, stability_score_thresh=0.5, drop_over_half_image=True)
    reports = []
    rows = run(evaluate_instances(model, [head], images, everything=few), reports.append)
    by_method = {row.method: row for row in rows}
    outlined, separated, components = (
        "purple + sampath-tiny",
        "purple, separated",
        "purple, connected components",
    )
    assert list(by_method) == [outlined, separated, components, "sampath-tiny, everything", BASELINE]
    assert {(row.kind, row.objects, row.images) for row in rows} == {("nucleus", 14, 2)}
    assert by_method[outlined].f1 == by_method[separated].f1 == by_method[BASELINE].f1 == 1
    assert by_method[outlined].pq > 0.8
    assert by_method[components].f1 < 0.6  # the two separate cells, and the best of the joined ones
    assert by_method[components].pq < by_method[separated].pq
    assert by_method["sampath-tiny, everything"].f1 > 0
    assert {(report.total, report.unit) for report in reports} == {(2, "images")}


def test_evaluation_without_a_head_or_prompts(model):
    pixels, numbers = cells((96, 96), [(48, 48)], 20)
    image = instance_image(pixels, numbers)
    few = EverythingSettings(2, pred_iou_thresh=0.5, stability_score_thresh=0.5)
    rows = run(evaluate_instances(model, [], [image], everything=few))
    assert [row.method for row in rows] == ["sampath-tiny, everything", BASELINE]
    assert [row.method for row in run(evaluate_instances(patch_model(), [], [image]))] == [BASELINE]

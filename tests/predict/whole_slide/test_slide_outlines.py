"""Runs on slides with outlines of the decoder: equal to an image, in parts, stopped and continued, never mixed."""

from __future__ import annotations

import copy
import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_sampath
from napari_sampath.arrays import ClassInfo, FeatureSpec
from napari_sampath.errors import PromptError
from napari_sampath.formats.maps import slide_result
from napari_sampath.formats.maps.slide_objects import SlideObjects, objects_of
from napari_sampath.heads import EncoderRef, LoadedHead, Metadata, create
from napari_sampath.images.slides import ArraySlide
from napari_sampath.images.slides.tissue import Tissue
from napari_sampath.jobs import run
from napari_sampath.predict import InstanceSettings, Model, segment_instances
from napari_sampath.predict.whole_slide import SlidePlan, SlideRun, block_objects, plan_job, slide_run_job
from napari_sampath.predict.whole_slide.outlining import Outliner
from napari_sampath.store import DiskTier, MemoryTier, Store
from napari_sampath.tiling import tiles
from support.models.patches import patch_model
from support.slide_files import use_small_blocks

CLASSES = ClassInfo(0, "background", (0, 0, 0)), ClassInfo(3, "nucleus", (60, 30, 200))
PINK, PURPLE = (232, 178, 205), (92, 50, 140)
HW = (600, 1700)
BLOCK_PX = 400
OUTLINED = InstanceSettings(outlines=True)
EVERYWHERE = Tissue(np.ones((1, 1), bool), max(HW))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten blocks on a small slide, with windows that are smaller than one of its components."""
    use_small_blocks(monkeypatch, BLOCK_PX, margin_px=64)


@pytest.fixture(scope="module")
def slide() -> ArraySlide:
    """Purple cells on pink, many of which touch; a row of them crosses all blocks in a row."""
    random = np.random.default_rng(0)
    centres = [*random.uniform((0, 0), HW, (25, 2)), *((390 + 5 * (i % 2), 500 + 37 * i) for i in range(20))]
    distance = np.full(HW, np.inf)
    for row, col in centres:
        r0, c0 = max(0, int(row) - 30), max(0, int(col) - 30)
        view = distance[r0 : r0 + 60, c0 : c0 + 60]
        rows, cols = np.indices(view.shape) + 0.5
        np.minimum(view, np.hypot(rows + r0 - row, cols + c0 - col), out=view)
    noise = random.normal(0, 6, (*HW, 3))
    pixels = np.array([PINK, PURPLE])[(distance < 22).astype(int)] + noise
    return ArraySlide([np.clip(pixels, 0, 255).astype(np.uint8)], "cells")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The model that is shipped with the package, with a store on disk."""
    disk = DiskTier(tmp_path_factory.mktemp("store"), 2**30)
    return napari_sampath.load_model("sampath-tiny", "cpu", store=Store(MemoryTier(2**28), disk))


@pytest.fixture(scope="module")
def head(model: Model, slide: ArraySlide) -> LoadedHead:
    """A head that finds purple, trained on a corner of the slide."""
    pixels = slide[:, :1024]
    features = model.encode(pixels)
    purple = torch.from_numpy((pixels[..., 0] < 160).astype(np.float32))[None, None]
    target = torch.zeros(1, 256, 256)
    target[:, :150] = torch.nn.functional.interpolate(purple, (150, 256), mode="area")[:, 0]
    torch.manual_seed(0)
    network = create(
        "linear",
        FeatureSpec(tuple(feature for feature in model.maps if feature.name == "embedding")),
        CLASSES,
    )
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(60):
        logits = network({"embedding": features.maps["embedding"][None]})
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    encoder = model.encoder
    ref = EncoderRef(model.name, encoder.weights_digest, encoder.preprocessing_version)
    return LoadedHead(network.eval().requires_grad_(False), Metadata("purple", (ref,)), "memory")


def segment(
    slide: ArraySlide,
    head: LoadedHead,
    model: Model,
    path: Path,
    settings: InstanceSettings = OUTLINED,
    part: tuple[int, int] = (1, 1),
) -> SlideRun:
    return run(slide_run_job(slide, head, model, path, EVERYWHERE, part=part, objects=settings))


@pytest.fixture(scope="module")
def whole_run(slide: ArraySlide, head: LoadedHead, model: Model, tmp_path_factory) -> Path:
    """The result of one run."""
    path = tmp_path_factory.mktemp("expected") / "result.ome.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slide_result, "BLOCK_PX", BLOCK_PX)
        patch.setattr(slide_result, "CHUNK_PX", BLOCK_PX >> (slide_result.LEVELS - 1))
        patch.setattr(block_objects, "MARGIN_PX", 64)
        segment(slide, head, model, path)
    return path


@pytest.fixture(scope="module")
def expected(whole_run: Path) -> SlideObjects:
    """The objects of one run."""
    return found(whole_run)


def found(path: Path) -> SlideObjects:
    objects = objects_of(path)
    assert objects is not None
    return objects


def assert_equal(first: SlideObjects, second: SlideObjects) -> None:
    np.testing.assert_array_equal(first.numbers((0, 0, *HW)), second.numbers((0, 0, *HW)))
    np.testing.assert_array_equal(first.table.box, second.table.box)
    np.testing.assert_array_equal(first.table.area_px, second.table.area_px)
    assert first.predicted_iou is not None
    assert second.predicted_iou is not None
    np.testing.assert_array_equal(first.predicted_iou, second.predicted_iou)


def test_outlines_equal_those_of_an_image(
    slide: ArraySlide, head: LoadedHead, model: Model, expected: SlideObjects
) -> None:
    instances = segment_instances(slide[:], head, model)
    numbers, scores = expected.numbers((0, 0, *HW)), expected.predicted_iou
    assert scores is not None
    assert len(instances) == len(expected.table) > 30
    assert np.isfinite(scores).sum() > 20
    seen = np.zeros(HW, np.uint32)
    for instance in instances:
        place = instance.mask.slices
        (number,) = np.unique(numbers[place][instance.mask.bitmap])
        seen[place][instance.mask.bitmap] = number
        score = scores[number - 1]
        # Batches of other sizes round differently
        assert (None if np.isnan(score) else score) == pytest.approx(instance.predicted_iou, abs=1e-5)
    np.testing.assert_array_equal(seen, numbers)


def test_objects_of_a_component_beyond_all_windows_are_outlined(
    whole_run: Path, expected: SlideObjects
) -> None:
    (folder,) = (whole_run / "block_outlines").iterdir()
    names = {entry.name for entry in folder.iterdir()}
    blocks = {block.name for block in slide_result.blocks_of(HW)}
    assert names > blocks
    assert expected.predicted_iou is not None
    in_row = (expected.table.box[:, 0] < 390) & (expected.table.box[:, 2] > 400)
    assert in_row.sum() > 10
    assert np.isfinite(expected.predicted_iou[in_row]).sum() > 10


def test_parts_equal_one_run(
    slide: ArraySlide, head: LoadedHead, model: Model, expected: SlideObjects, tmp_path: Path
) -> None:
    path = tmp_path / "result.ome.zarr"
    for number in (4, 3, 2, 1):
        assert objects_of(path) is None if path.exists() else True
        done = segment(slide, head, model, path, part=(number, 4))
    assert done.objects == len(expected.table)
    assert_equal(found(path), expected)


def test_a_run_can_be_stopped_at_every_step(
    slide: ArraySlide,
    head: LoadedHead,
    model: Model,
    expected: SlideObjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "result.ome.zarr"
    segment(slide, head, model, path, InstanceSettings())
    finished: list[str] = []
    outline = Outliner.outline

    def counted(self: Outliner, name: str, *args: object) -> object:
        yield from outline(self, name, *args)  # type: ignore[arg-type]
        finished.append(name)

    monkeypatch.setattr(Outliner, "outline", counted)
    for steps in itertools.count(3, 3):
        job = slide_run_job(slide, head, model, path, EVERYWHERE, objects=OUTLINED)
        try:
            for _ in range(steps):
                next(job)
        except StopIteration as stop:
            done = stop.value
            break
        job.close()
    assert done.computed == 0, "the head does not run again"
    assert len(finished) == len(set(finished)) > 10, "no block is outlined twice"
    assert_equal(found(path), expected)


def test_features_are_kept_where_they_fit(
    slide: ArraySlide, head: LoadedHead, model: Model, expected: SlideObjects, tmp_path: Path
) -> None:
    """The tiles of this head are those of the prompts, and the second pass finds them on disk."""
    count = len(tiles(HW))
    needed = count * 2 * 64 * 64 * sum(feature.channels for feature in model.maps)
    encoded: list[int] = []
    hook = model.encoder.register_forward_hook(lambda _, inputs, __: encoded.append(len(inputs[0])))
    for limit, passes in ((3 * needed, 1), (int(1.9 * needed), 2)):
        own = copy.copy(model)
        own.store = Store(MemoryTier(0), DiskTier(tmp_path / str(limit), limit))
        path = tmp_path / f"{limit}.ome.zarr"
        encoded.clear()
        segment(slide, head, own, path)
        assert sum(encoded) == passes * count
        assert_equal(found(path), expected)
    hook.remove()


def test_another_decoder_outlines_again(
    slide: ArraySlide,
    head: LoadedHead,
    model: Model,
    whole_run: Path,
    expected: SlideObjects,
    tmp_path: Path,
) -> None:
    path = tmp_path / "result.ome.zarr"
    shutil.copytree(whole_run, path)
    original = model.decoder
    assert original is not None
    weights = {name: values * 0.9 for name, values in original.mask_decoder.state_dict().items()}
    model.decoder = original.with_weights(weights)
    try:
        segment(slide, head, model, path)
    finally:
        model.decoder = original
    assert len(list((path / "block_outlines").iterdir())) == 2
    with pytest.raises(AssertionError):
        assert_equal(found(path), expected)
    segment(slide, head, model, path)
    assert_equal(found(path), expected)


def test_a_model_without_decoder_is_refused(slide: ArraySlide, tmp_path: Path) -> None:
    other = patch_model()
    spec = other.encoder.spec
    ref = EncoderRef("patches", other.encoder.weights_digest, 1)
    own = LoadedHead(create("linear", spec, CLASSES).eval(), Metadata("random", (ref,)), "memory")
    path = tmp_path / "result.ome.zarr"
    with pytest.raises(PromptError, match="answers no prompts"):
        segment(slide, own, other, path)
    assert not path.exists()
    plan = SlidePlan.make(slide, own, other, path, EVERYWHERE)
    with pytest.raises(PromptError, match="answers no prompts"):
        run(plan_job(plan, objects=replace(OUTLINED, agreement=0.1)))

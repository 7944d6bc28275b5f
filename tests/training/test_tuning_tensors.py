"""Tensor operations of prompt tuning compared with implementations for single images; memory and time limits."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.measure import label
from skimage.segmentation import find_boundaries

from napari_sampath import jobs
from napari_sampath.encoders.tiny import tiny
from napari_sampath.errors import ConfigError
from napari_sampath.training.data.distances import edge_distance
from napari_sampath.training.data.instances import GLAND, InstanceImage
from napari_sampath.training.data.stain import jitter_stain
from napari_sampath.training.prompts import schedule
from napari_sampath.training.prompts.config import PromptTuningConfig
from napari_sampath.training.prompts.dense_targets import object_maps
from napari_sampath.training.prompts.interactive import FirstPrompts, Plan, train_objects
from napari_sampath.training.prompts.prompt_tuning import tune
from napari_sampath.training.prompts.rendering import Crop
from napari_sampath.training.prompts.windows import Pools, compose, random_crop

CPU = torch.device("cpu")
CONFIG = PromptTuningConfig(side_px=64, full_frame_share=0.0, prompts=2, iterations=1, precision="float32")


def blobs(seed: int, hw: tuple[int, int] = (40, 52), threshold: float = 0.0) -> np.ndarray:
    """Ids (h, w) of random objects with smooth outlines, some of which touch the border."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=hw), 3)
    return np.asarray(label(noise > threshold * noise.std(), connectivity=1)).astype(np.int32)


def source(seed: int = 0) -> InstanceImage:
    """Smooth tissue of three colours with two objects or more."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(110, 120, 3)), (2.5, 2.5, 0))
    pixels = (150 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)
    return InstanceImage("smooth", GLAND, pixels, blobs(seed, (110, 120)), 20)


@given(seed=st.integers(0, 1000), threshold=st.sampled_from([-9.0, -0.5, 0.0, 1.0]))
@settings(max_examples=30, deadline=None)
def test_distances_equal_scipys(seed: int, threshold: float) -> None:
    masks = np.stack([blobs(seed, threshold=threshold) > 0, blobs(seed + 1) > 0])
    expected = [distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] for mask in masks]
    np.testing.assert_allclose(edge_distance(torch.from_numpy(masks)), expected, atol=1e-4)
    inside = edge_distance(torch.from_numpy(masks), beyond=False)
    for distances, mask in zip(inside.numpy(), masks, strict=True):
        if not mask.all():
            np.testing.assert_allclose(distances, distance_transform_edt(mask), atol=1e-4)
        assert len(np.unique(distances)) == 1 or not mask.all()


def maps_of_one_window(instances: np.ndarray) -> np.ndarray:
    """Compute the object maps of one window, object by object."""
    maps = np.zeros((4, *instances.shape))
    boundary = find_boundaries(instances, mode="inner") & (instances > 0)
    distance = distance_transform_edt((instances > 0) & ~boundary) + (instances > 0)
    for number in np.unique(instances[instances > 0]):
        own = instances == number
        rows, cols = np.nonzero(own)
        maps[0, own], maps[1, own] = boundary[own], distance[own] / max(1, distance[own].max())
        maps[2, own] = (rows.mean() - rows) / np.sqrt(len(rows))
        maps[3, own] = (cols.mean() - cols) / np.sqrt(len(rows))
    return maps


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_object_maps_of_several_windows_equal_those_of_each_object(seed: int) -> None:
    batch = [blobs(seed), blobs(seed + 1) * 70, np.zeros((40, 52), np.int32)]
    batch[1][:, 40:] = -1
    maps = object_maps(torch.as_tensor(np.stack(batch)))
    np.testing.assert_allclose(maps, [maps_of_one_window(ids) for ids in batch], atol=1e-4)


def rendered_by_pillow(crop: Crop) -> np.ndarray:
    """Blur, scale, rotate and flip a crop with Pillow."""
    (height, width), (around_h, around_w) = crop.hw, crop.around_hw
    image = Image.fromarray(crop.source.pixels[crop.window])
    image = image.filter(ImageFilter.GaussianBlur(crop.blur_px))
    image = image.resize((around_w, around_h), Image.Resampling.BILINEAR)
    cos, sin = np.cos(crop.angle), np.sin(crop.angle)
    x, y = -width / 2, -height / 2
    left, top = x * cos - y * sin + around_w / 2, x * sin + y * cos + around_h / 2
    turned = image.transform(
        (width, height), Image.Transform.AFFINE, (cos, -sin, left, sin, cos, top), Image.Resampling.BILINEAR
    )
    pixels = np.asarray(turned)
    if crop.transposed:
        pixels = pixels.transpose(1, 0, 2)
    pixels = pixels[::-1] if crop.flipped[0] else pixels
    return pixels[:, ::-1] if crop.flipped[1] else pixels


@given(seed=st.integers(0, 1000), size=st.sampled_from([(64, 64), (128, 128), (64, 192), (256, 256)]))
@settings(max_examples=30, deadline=None)
def test_rendered_crops_equal_pillows(seed: int, size: tuple[int, int]) -> None:
    """Up to interpolation: the mean difference is below two grey values, after the same change of stain, too."""
    crop = random_crop(source(seed % 7), *size, np.random.default_rng(seed))
    crop = replace(crop, stain=replace(crop.stain, noise=0.0))
    expected = rendered_by_pillow(crop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(crop.stain), "sample", classmethod(lambda _cls, _rng, _strength: crop.stain))
        expected = jitter_stain(np.ascontiguousarray(expected), np.random.default_rng(0))
    pixels = crop.render(torch.from_numpy(crop.source.pixels), torch.Generator().manual_seed(0)).numpy()
    inner = (
        slice(4, -4),
        slice(4, -4),
    )  # Pillow leaves corners empty where it would need pixels beyond the region.
    difference = np.abs(pixels[inner].astype(int) - expected[inner])
    assert difference.mean() < 2
    assert np.quantile(difference, 0.99) < 12


def test_noise_of_a_crop_is_grey() -> None:
    drawn = random_crop(source(), 96, 96, np.random.default_rng(1))
    with_noise, without = (
        replace(drawn, stain=replace(drawn.stain, noise=noise)).render(
            torch.from_numpy(drawn.source.pixels), torch.Generator().manual_seed(0)
        )
        for noise in (3.0, 0.0)
    )
    difference = with_noise.float() - without.float()
    assert 2 < difference.std() < 4
    assert (difference[..., 0] - difference[..., 1]).abs().mean() < 1


def test_gradients_of_windows_decoded_together_are_the_sum_of_each() -> None:
    rng = np.random.default_rng(0)
    parts = tiny.SAMPATH_TINY.build()
    prompt_encoder, mask_decoder = parts.prompt_encoder, parts.mask_decoder
    assert prompt_encoder is not None
    assert mask_decoder is not None
    mask_decoder.requires_grad_(True)
    drawn = [window for window in (compose(Pools([source()]), 64, rng) for _ in range(9)) if window.prompted][
        :3
    ]
    plan = Plan(CONFIG, 2, 2, 0.25)
    first = FirstPrompts.sample(drawn, (3, 5), plan, True, rng, CPU)
    leaf = torch.randn(3, 256, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def gradients(groups: list[slice]) -> list[torch.Tensor]:
        mask_decoder.zero_grad()
        leaf.grad = None
        for group in groups:
            objects = slice(sum(first.counts[: group.start]), sum(first.counts[: group.stop]))
            assert first.boxes is not None
            chosen = FirstPrompts(
                first.targets[objects],
                first.points[objects],
                first.labels[objects],
                first.boxes[objects],
                first.counts[group],
            )
            single = replace(plan, iterations=1)
            train_objects(prompt_encoder, mask_decoder, leaf[group], chosen, (3, 5), single, rng)
        assert leaf.grad is not None
        return [leaf.grad.clone(), *(p.grad.clone() for p in mask_decoder.parameters() if p.grad is not None)]

    together, one_by_one = gradients([slice(0, 3)]), gradients([slice(n, n + 1) for n in range(3)])
    assert len(together) > 50
    for ours, expected in zip(together, one_by_one, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("capacity", "batches"), [(2, [5, 2, 2]), (0, None)])
def test_windows_that_do_not_fit_in_memory_are_halved(capacity: int, batches: list[int] | None) -> None:
    parts = tiny.SAMPATH_TINY.untrained()
    seen: list[int] = []

    def occupy(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        seen.append(len(inputs[0]))
        if len(inputs[0]) > capacity:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    parts.encoder.register_forward_pre_hook(occupy)
    job = tune(parts, [source()], replace(CONFIG, warmup_steps=2, steps=0, windows=5, train_only="all"))
    if batches is None:
        with pytest.raises(
            ConfigError, match=r"'cpu' has too little free memory for one window; close .*\.$"
        ):
            jobs.run(job)
        return
    result = jobs.run(job)
    assert seen == batches
    assert (result.steps, result.windows) == (2, 2)


def test_a_time_limit_shortens_all_stages_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    config = replace(CONFIG, warmup_steps=600, spread_steps=200, steps=400, max_minutes=0.5, train_only="all")
    reports: list[jobs.Progress] = []
    result = jobs.run(tune(tiny.SAMPATH_TINY.untrained(), [source()], config), reports.append)
    assert result.steps == len(reports) < 30
    assert len({report.message for report in reports}) == 3
    assert reports[-1].fraction == 1
    assert result.losses[-1]["step"] == result.steps


@pytest.mark.gpu
def test_windows_and_targets_on_cuda_equal_those_on_the_cpu() -> None:
    drawn = random_crop(source(), 256, 256, np.random.default_rng(5))
    crop = replace(drawn, stain=replace(drawn.stain, noise=0.0), blur_px=1.0)
    image = torch.from_numpy(crop.source.pixels)
    expected, pixels = (
        crop.render(image.to(device), torch.Generator(device).manual_seed(0)).cpu().int()
        for device in ("cpu", "cuda")
    )
    assert (pixels - expected).abs().float().mean() < 1
    ids = torch.as_tensor(np.stack([blobs(seed) for seed in range(4)]))
    torch.testing.assert_close(object_maps(ids.cuda()).cpu(), object_maps(ids), atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_stages_train_on_cuda(precision: str) -> None:
    steps = {"warmup_steps": 4, "spread_steps": 4, "steps": 4, "windows": 3, "iterations": 3}
    config = replace(
        CONFIG, **steps, precision=precision, device="cuda", train_only="all", full_frame_share=0.5,
        side_px=256, part_px=64, parts=2, save_every=4,
    )  # fmt: skip
    result = jobs.run(tune(tiny.SAMPATH_TINY.untrained(), [source(), source(1)], config))
    assert result.steps == 12
    assert all(np.isfinite(list(losses.values())).all() for losses in result.losses)
    assert all(values.isfinite().all() for values in result.weights.values())

"""SAM's training algorithm on small synthetic tissue: its parts, and complete runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.model_card import _stages, write_model_card
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_sampath import jobs
from napari_sampath.arrays import ClassInfo
from napari_sampath.encoders import EncoderParts, registry
from napari_sampath.encoders.sam.mobile_sam import MobileSamEncoder
from napari_sampath.encoders.sam.prompt_parts import build_mask_decoder, build_prompt_encoder
from napari_sampath.encoders.tiny import tiny
from napari_sampath.encoders.weights.weights import load_state_dict
from napari_sampath.errors import (
    ConfigError,
    DatasetError,
    UnknownNameError,
    WeightsError,
    WeightsMissingError,
)
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.predict import load_model
from napari_sampath.training.data.instances import (
    GLAND,
    NUCLEUS,
    UNKNOWN,
    InstanceImage,
    Kind,
    read_instances,
)
from napari_sampath.training.data.simulated_clicks import (
    CELL_PX,
    correcting_points,
    inner_points,
    noisy_boxes,
    random_points,
)
from napari_sampath.training.data.stain import StainChange, jitter_stain
from napari_sampath.training.prompts import windows
from napari_sampath.training.prompts.config import PromptTuningConfig, recipe
from napari_sampath.training.prompts.dense_targets import dense_loss, object_maps
from napari_sampath.training.prompts.interactive import FirstPrompts, mask_losses, prompt_loss, true_iou
from napari_sampath.training.prompts.prompt_tuning import AUXILIARY, TrainableModel, sample_window, tune
from napari_sampath.training.prompts.rendering import Crop
from napari_sampath.training.prompts.tune import read_training_record, tune_model
from napari_sampath.training.prompts.windows import (
    TOKEN_CELLS,
    TOKEN_PX,
    Pools,
    Window,
    compose,
    random_crop,
    sample_part,
)

DISC = np.hypot(*(np.indices((96, 96)) - 48)) < 30


def tissue(kind: Kind = GLAND, seed: int = 0) -> InstanceImage:
    """A dark disc on a light background, with noise."""
    rng = np.random.default_rng(seed)
    pixels = np.where(DISC[..., None], (120, 60, 140), (235, 200, 220)) + rng.normal(0, 5, (96, 96, 3))
    return InstanceImage(
        f"{kind.name}{seed}", kind, pixels.clip(0, 255).astype(np.uint8), DISC.astype(np.int32), 20
    )


def write_set(data: Path, images: int = 2) -> None:
    folder = data / "ebhi_glands"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = ["name,split"]
    for number in range(images):
        item = tissue(seed=number)
        Image.fromarray(item.pixels).save(folder / "images" / f"{item.name}.png")
        Image.fromarray(DISC.astype(np.uint8) * 6).save(folder / "masks" / f"{item.name}.png")
        rows.append(f"{item.name},{'train' if number else 'val'}")
    (folder / "index.csv").write_text("\n".join(rows))


def test_components_of_a_semantic_mask_become_objects(tmp_path: Path) -> None:
    write_set(tmp_path, images=3)
    train = read_instances(tmp_path, "train")
    assert [image.name for image in train] == ["gland1", "gland2"]
    assert train[0].objects() == [1]
    assert (train[0].instances > 0).sum() == DISC.sum()


def test_missing_data_raises_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no image of the split 'train'.*SAMPATH_DATA"):
        read_instances(tmp_path, "train")
    write_set(tmp_path)
    (tmp_path / "ebhi_glands" / "masks" / "gland1.png").unlink()
    with pytest.raises(DatasetError, match=r"gland1.png listed in .* is missing"):
        read_instances(tmp_path, "train")


CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(4, "fat", (250, 200, 20)))


def test_objects_of_any_dataset_are_prompted_for(tmp_path: Path) -> None:
    """Touching nuclei stay separate, unverified pixels are unknown, and classes are ignored."""
    folder = DatasetFolder.create(tmp_path / "mine", CLASSES)
    labels, instances = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint32)
    labels[10:20, 10:30], labels[25:35, 40:50] = 1, 4
    instances[10:20, 10:20], instances[10:20, 20:30], instances[25:35, 40:50] = 7, 9, 11
    annotated = np.ones((40, 60), bool)
    annotated[:, 55:] = False
    pixels = np.full((40, 60, 3), 200, np.uint8)
    folder.save_image(Snapshot("a", pixels, labels, instances, annotated), group="slide 1")
    (image,) = read_instances(folder.path, folder.split_of("a"))
    assert image.objects() == [7, 9, 11]
    assert image.kind == Kind("mine", 1.0, 1024 / 60, separate=True)
    assert (image.instances[:, 55:] == UNKNOWN).all()
    assert (image.instances[:, :55] >= 0).all()
    window = compose(Pools([image]), 64, np.random.default_rng(0))
    assert UNKNOWN not in window.prompted


def test_connected_components_are_objects_without_instance_maps(tmp_path: Path) -> None:
    """Touching components of two classes are two objects; the background is not an object."""
    labels = np.zeros((40, 60), np.uint8)
    labels[10:20, 10:20], labels[10:20, 20:30], labels[25:35, 40:50] = 1, 2, 1
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    for name, values in (("images", noise), ("labels", labels)):
        (tmp_path / name).mkdir()
        for image_name in "ab":
            Image.fromarray(values).save(tmp_path / name / f"{image_name}.png")
    (tmp_path / "index.csv").write_text("name,group,split\na,slide 1,train\nb,slide 2,val")
    (image,) = read_instances(tmp_path, "train")
    assert len(image.objects()) == 3
    assert not image.kind.separate
    Image.fromarray(labels * 0).save(tmp_path / "labels" / "a.png")
    with pytest.raises(DatasetError, match="contain no object of at least 20 px"):
        read_instances(tmp_path, "train")


def test_unverified_pixels_do_not_change_the_dense_loss() -> None:
    known, half = tissue(), tissue()
    half.instances[:, 48:] = UNKNOWN
    maps = torch.randn(1, 5, 24, 24, generator=torch.Generator().manual_seed(0))
    window = compose(Pools([half]), 96, np.random.default_rng(1))
    unknown = torch.as_tensor(window.instances < 0)
    assert unknown.any()
    assert not unknown.all()
    other = torch.where(unknown, -maps, maps)
    assert dense_loss(maps, [window], [True]) == dense_loss(other, [window], [True])
    assert known.objects() == [1]


@given(seed=st.integers(0, 1000), side=st.sampled_from([64, 96, 256]))
@settings(max_examples=25, deadline=None)
def test_pixels_and_ids_of_a_window_are_aligned(seed: int, side: int) -> None:
    window = compose(Pools([tissue(GLAND), tissue(NUCLEUS, 1)]), side, np.random.default_rng(seed))
    assert window.pixels.shape == (side, side, 3)
    assert window.instances.shape == window.kinds.shape == (side // 4, side // 4)
    brightness = window.pixels.numpy().mean(axis=2).reshape(side // 4, 4, side // 4, 4).mean(axis=(1, 3))
    inside = window.instances > 0
    for kind in np.unique(window.kinds):
        own = window.kinds == kind
        if (inside & own).sum() > 20 and (~inside & own).sum() > 20:
            assert brightness[inside & own].mean() < brightness[~inside & own].mean() - 10
    assert set(window.prompted) <= set(np.unique(window.instances)) - {0}


UNCHANGED = StainChange.sample(np.random.default_rng(0), strength=0.0)


def rendered(crop: Crop) -> np.ndarray:
    """Render a crop on the CPU."""
    return crop.render(torch.from_numpy(crop.source.pixels), torch.Generator().manual_seed(0)).numpy()


@given(seed=st.integers(0, 10_000), size=st.sampled_from([(96, 96), (64, 128), (128, 128)]))
@settings(max_examples=60, deadline=None)
def test_rotated_crops_are_aligned_and_inside_the_image(seed: int, size: tuple[int, int]) -> None:
    """Colours encode the position of a pixel in the image; the ids, in blocks of 12 px, must match it."""
    y, x = np.indices((100, 110))
    pixels = np.stack([50 + x, 50 + y, np.full_like(x, 200)], axis=-1).astype(np.uint8)
    blocks = (1 + x // 12 + 10 * (y // 12)).astype(np.int32)
    source = InstanceImage("ramp", GLAND, pixels, blocks, 20)
    drawn = random_crop(source, *size, np.random.default_rng(seed))
    crop, ids = rendered(replace(drawn, stain=UNCHANGED)), drawn.ids()
    assert crop.shape == (*size, 3)
    assert ids.shape == (size[0] // 4, size[1] // 4)
    assert (np.abs(crop[..., 2].astype(int) - 200) <= 1).all()
    assert crop[..., :2].min() >= 49
    middle = crop.reshape(size[0] // 4, 4, size[1] // 4, 4, 3)[:, 1:3, :, 1:3].mean(axis=(1, 3)) - 50
    seen_x, seen_y = middle[..., 0] + 0.5, middle[..., 1] + 0.5
    clear = (np.abs((seen_x + 6) % 12 - 6) > 1.5) & (np.abs((seen_y + 6) % 12 - 6) > 1.5)
    expected = 1 + (seen_x // 12 + 10 * (seen_y // 12)).astype(int)
    assert clear.any()
    assert (ids == expected)[clear].all()


def test_some_crops_are_blurred() -> None:
    grain = np.random.default_rng(1).integers(0, 255, (200, 200, 1), np.uint8).repeat(3, axis=2)
    source = InstanceImage("grain", GLAND, grain, np.ones((200, 200), np.int32), 20)

    def sharpness(share: float, seed: int) -> float:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(windows, "BLURRED", share)
            crop = random_crop(source, 96, 96, np.random.default_rng(seed))
        return float(rendered(replace(crop, angle=0.0, stain=UNCHANGED)).std())

    assert 0 < windows.BLURRED < 0.5
    softer = [sharpness(1, seed) / sharpness(0, seed) for seed in range(12)]
    assert max(softer) < 1.01
    assert min(softer) < 0.5


def test_crops_are_rotated_by_any_angle() -> None:
    """The edge between a dark and a light half has many directions, whereas flips alone give two."""
    x = np.indices((200, 200))[1]
    pixels = np.where(x < 100, 60, 200).astype(np.uint8)[..., None].repeat(3, axis=2)
    source = InstanceImage("halves", GLAND, pixels, np.ones((200, 200), np.int32), 20)
    rng = np.random.default_rng(0)
    angles = []
    for _ in range(60):
        crop = rendered(random_crop(source, 128, 128, rng))
        down, across = np.gradient(crop.mean(axis=2))
        if np.hypot(down, across).max() > 20:
            at = np.unravel_index(np.hypot(down, across).argmax(), down.shape)
            angles.append(np.degrees(np.arctan2(down[at], across[at])) % 90)
    upright = np.minimum(np.array(angles), 90 - np.array(angles)) < 8
    assert 0.2 < upright.mean() < 0.8
    assert len(set(np.round(np.array(angles)[~upright] / 10))) >= 4


@given(seed=st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_stain_jitter_of_strength_0_keeps_pixels(seed: int) -> None:
    pixels = tissue().pixels
    same = jitter_stain(pixels, np.random.default_rng(seed), strength=0.0)
    assert np.abs(same.astype(int) - pixels).max() <= 1
    moved = jitter_stain(pixels, np.random.default_rng(seed))
    assert moved.shape == pixels.shape
    assert np.abs(moved.astype(int) - pixels).mean() > 0.5


def test_object_maps_point_to_the_centre() -> None:
    maps = object_maps(torch.as_tensor(DISC.astype(np.int32))[None])[0].numpy()
    row, col = 48 - 20, 48 + 10
    size = np.sqrt(DISC.sum())
    assert maps[2, row, col] == pytest.approx(20 / size, abs=0.02)
    assert maps[3, row, col] == pytest.approx(-10 / size, abs=0.02)
    assert maps[1].max() == pytest.approx(1.0)
    assert maps[1, 48, 48] > 0.9
    assert (maps[:, ~DISC] == 0).all()
    assert object_maps(torch.ones(1, 8, 8, dtype=torch.int32))[:, 1].max() == pytest.approx(1.0)


def dice_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 200), offset=st.tuples(st.integers(0, 500), st.integers(0, 500)))
@settings(max_examples=40, deadline=None)
def test_simulated_prompts_are_inside_their_regions(seed: int, offset: tuple[int, int]) -> None:
    square = np.zeros_like(DISC)
    square[10:31, 60:77] = True
    objects = (DISC, square)
    targets, generator = torch.as_tensor(np.stack(objects)), dice_of(seed)
    for draw in (random_points, inner_points):
        points = draw(targets, offset, generator).numpy() + 0.5 - np.array(offset)
        for mask, (x, y) in zip(objects, points, strict=True):
            assert mask[int(y // CELL_PX), int(x // CELL_PX)]
    exact = []
    for mask in objects:
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        exact.append(np.array([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1]) * CELL_PX)
    boxes = noisy_boxes(targets, offset, generator, 0.1).numpy() + 0.5 - np.tile(offset, 2)
    assert np.abs(boxes - exact).max() <= 20.0 + 1e-3
    boxes = noisy_boxes(targets, offset, generator, 0.0).numpy() + 0.5 - np.tile(offset, 2)
    assert boxes == pytest.approx(np.array(exact))
    predicted = torch.as_tensor(np.stack([np.zeros_like(DISC), np.ones_like(DISC)]))
    points, labels = correcting_points(predicted, targets, offset, generator)
    assert labels.tolist() == [1, 0]
    cols, rows = ((points.numpy() + 0.5 - np.array(offset)) // CELL_PX).astype(int).T
    assert DISC[rows[0], cols[0]]
    assert not square[rows[1], cols[1]]
    points, labels = correcting_points(targets, targets, offset, generator)
    assert labels.tolist() == [1, 1], "a perfect prediction gets a point inside the object"


def test_inner_points_are_near_the_middle() -> None:
    """In a disc the mean distance to the centre is 2/3 of the radius for uniform points, and 1/2 for inner points."""
    masks = torch.as_tensor(DISC).expand(400, -1, -1)
    for draw, expected in ((random_points, 20.0), (inner_points, 15.0)):
        points = (draw(masks, (0, 0), dice_of(0)).numpy() + 0.5) / CELL_PX
        assert np.hypot(*(points - 48.5).T).mean() == pytest.approx(expected, abs=0.8)


def test_losses_are_lowest_for_the_true_mask() -> None:
    target = torch.as_tensor(DISC, dtype=torch.float32)[None]
    right = (target * 2 - 1) * 8
    logits = torch.stack([-right, right, torch.zeros_like(right), -right], dim=1)
    per_mask = mask_losses(logits, target)
    assert per_mask[0].argmin() == 1
    assert per_mask[0, 1] < 0.01
    assert true_iou(logits, target)[0].tolist() == pytest.approx([0.0, 1.0, 0.0, 0.0])
    exact = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    # Only the best of the three candidates counts, so a wrong third candidate costs nothing.
    one_right = prompt_loss(logits, exact, target, ambiguous=True)
    assert one_right.tolist() == pytest.approx([float(per_mask[0, 0] + per_mask[0, 1])], abs=1e-5)


def test_tuned_weights_load_and_predict(tmp_path: Path) -> None:
    write_set(tmp_path, images=3)
    config = replace(
        recipe("pretrain"), warmup_steps=2, steps=3, windows=1, side_px=64, full_frame_share=0.0, prompts=2,
        precision="float32", save_every=2,
    )  # fmt: skip
    output = tmp_path / "weights" / "mine.safetensors"
    reports = []
    images = read_instances(tmp_path, "train")
    path = jobs.run(tune_model(images, output, config, start="random"), reports.append)
    assert path == output
    assert [report.done for report in reports] == [1, 2, 3, 4, 5]
    parts = tiny.SAMPATH_TINY.build(output)
    assert not any(parameter.requires_grad for parameter in parts.encoder.parameters())
    with torch.inference_mode():
        embedding = parts.encoder(torch.zeros(1, 3, 64, 64))["embedding"]
    assert embedding.shape == (1, 256, 4, 4)
    record = read_training_record(output)
    assert record["data"] == {"gland": 2}
    assert record["recipe"]["side_px"] == 64  # type: ignore[index]
    assert output.stat().st_size < 25e6


STEPS = PromptTuningConfig(
    steps=2, side_px=64, full_frame_share=0.0, prompts=1, iterations=2, precision="float32"
)


def test_fine_tuning_keeps_the_features(tmp_path: Path) -> None:
    """The weights of the encoder stay the same bit by bit, also where they are -0."""
    output = tmp_path / "mine.safetensors"
    jobs.run(tune_model([tissue()], output, replace(STEPS, learning_rate=1e-2)))
    before, after = tiny.SAMPATH_TINY.build(), tiny.SAMPATH_TINY.build(output)
    assert after.encoder.weights_digest == before.encoder.weights_digest
    changed = {
        name.split(".")[0]
        for name, value in before.state_dict().items()
        if (value != after.state_dict()[name]).any()
    }
    assert changed == {"mask_decoder"}
    record = read_training_record(output)
    assert record["start"]["file"] == tiny.SAMPATH_TINY.weights.name
    assert record["data"] == {"gland": 1}


def test_training_starts_from_the_mean_of_several_weights(tmp_path: Path) -> None:
    """The card lists the stages; weights that are not trained afterwards stay the mean."""
    files = [tmp_path / f"{number}.safetensors" for number in range(4)]
    brief = replace(STEPS, steps=0, warmup_steps=1, learning_rate=1e-2, average=0, train_only="all")
    jobs.run(tune_model([tissue()], files[0], brief))
    for file, seed in zip(files[1:3], (1, 2), strict=True):
        jobs.run(tune_model([tissue()], file, replace(brief, seed=seed), start=files[0]))
    last = replace(STEPS, train_only="mask_decoder.iou_prediction_head")
    jobs.run(tune_model([tissue()], files[3], last, "sampath-tiny", files[1], [files[2], files[0]]))
    stored = [load_state_dict(file) for file in files]
    kept = [name for name in stored[0] if not name.startswith("mask_decoder.iou_prediction_head")]
    for name in kept:
        if stored[0][name].is_floating_point():
            mean = torch.stack([weights[name].float() for weights in stored[:3]]).mean(dim=0)
            torch.testing.assert_close(stored[3][name].float(), mean, rtol=2e-3, atol=2e-3)
    assert any((stored[3][name] != stored[1][name]).any() for name in kept)
    merged = read_training_record(files[3])["merged"]
    assert [record["file"] for record in merged] == ["2.safetensors", "0.safetensors"]  # type: ignore[attr-defined]
    known = len(_stages(read_training_record(files[0])))
    card = write_model_card(tmp_path / "card.md", files[3], []).read_text()
    expected = f"--merge stage{known + 1}.safetensors stage{known}.safetensors"
    assert f"-o stage{known + 2}.safetensors {expected}" in card
    with pytest.raises(ConfigError, match="start is 'random'; give trained weights"):
        jobs.run(tune_model([tissue()], files[3], last, "sampath-tiny", "random", [files[0]]))


def test_custom_weights_in_sams_format_are_tuned(tmp_path: Path, tiny_sam_file: Path) -> None:
    """The tuned weights predict other masks from the cached embedding."""
    output = tmp_path / "mine.safetensors"
    jobs.run(
        tune_model([tissue()], output, replace(STEPS, learning_rate=1e-2, average=0), "sam", tiny_sam_file)
    )
    before, after = (load_model("sam", "cpu", file) for file in (tiny_sam_file, output))
    features = before.encode(tissue().pixels)
    assert after.encoder.weights_digest == before.encoder.weights_digest
    answers = [model.predict(features, points=[(48, 48)], labels=[1]).scores for model in (before, after)]
    assert not np.allclose(*answers)
    assert read_training_record(output)["recipe"]["side_px"] == 1024  # type: ignore[index]


def test_invalid_tuning_raises_one_sentence(tmp_path: Path) -> None:
    def sentence(*words: object, **fields: object) -> str:
        with pytest.raises((ConfigError, UnknownNameError, WeightsError)) as caught:
            jobs.run(tune_model([tissue()], tmp_path / "x.safetensors", replace(STEPS, **fields), *words))
        return str(caught.value)

    assert "'mask_encoder', but no weight has this prefix; choose all, image_encoder, mask" in sentence(
        train_only="mask_encoder"
    )
    assert "'vit_b' cannot start from random weights" in sentence("vit_b", "random")
    assert "vit_x" in sentence("vit_x")
    assert "'hipt-s16' is not promptable; choose a promptable model" in sentence(
        "hipt-s16", warmup_steps=1, steps=0
    )
    assert "tune only the first, 'vit_b'" in sentence("vit_b+hipt-s16")
    with pytest.raises(UnknownNameError, match=r"'quick'.*finetune, pretrain"):
        recipe("quick")


def test_the_second_encoder_is_trained_on_dense_targets(tmp_path: Path) -> None:
    """It is loaded by its name, and together with `sampath-tiny` if both files are in one folder."""
    name = "sampath-tiny-path"
    output = tmp_path / f"{name}.safetensors"
    config = replace(recipe("dense"), warmup_steps=2, windows=1, side_px=64, precision="float32")
    jobs.run(tune_model([tissue()], output, config, name, "random"))
    record = read_training_record(output)
    assert (record["model"], record["backbone"]) == (name, "convnext_atto_ols")
    assert output.stat().st_size < 10e6
    model = load_model(name, "cpu", output)
    assert not model.promptable
    tokens = model.encode(tissue().pixels).maps["tokens"]
    assert tokens.shape == (256, 64, 64)
    both = load_model(f"sampath-tiny+{name}", "cpu", tmp_path)
    assert both.promptable
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        WeightsMissingError, match=f"has no weights of sampath-tiny or {name}; give a folder with"
    ):
        load_model(f"sampath-tiny+{name}", "cpu", tmp_path / "empty")
    beside = both.encode(tissue().pixels).maps[f"{name}.tokens"]
    assert (beside - tokens).abs().mean() < 0.1 * tokens.abs().mean(), "equal except for two normalisations"
    with pytest.raises(ConfigError, match=f"{name} is not promptable; choose a promptable model, or the"):
        jobs.run(tune_model([tissue()], output, STEPS, name, "random"))


def test_spread_steps_need_a_model_that_spreads(tmp_path: Path, tiny_sam_file: Path) -> None:
    config = replace(STEPS, spread_steps=3)
    with pytest.raises(ConfigError, match="spread_steps is 3, but sam has no convolutions"):
        jobs.run(tune_model([tissue()], tmp_path / "x.safetensors", config, "sam", tiny_sam_file))


def test_stored_names_match_the_loaded_names(tiny_sam_file: Path) -> None:
    """Also for an encoder with other preprocessing; `train_only` uses these names."""
    names = set(load_state_dict(tiny_sam_file))
    plain, aliased = (registry[name].build(tiny_sam_file) for name in ("sam", "aliased:sam"))
    assert set(plain.state_dict()) == set(aliased.state_dict()) == names
    model = TrainableModel(aliased, kinds=1)
    model.freeze_others("image_encoder.neck")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[-3] for name in trained if not name.startswith(AUXILIARY)} == {"neck"}


def test_frozen_parts_keep_their_running_statistics() -> None:
    parts = EncoderParts(MobileSamEncoder(), build_prompt_encoder(), build_mask_decoder())
    model = TrainableModel(parts, kinds=1)
    model.freeze_others("image_encoder.neck")
    norms = [module for module in model.image_encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)


def test_windows_with_objects_are_drawn_from_sparse_annotations() -> None:
    """One disc in an image without any other annotation."""
    instances = np.full((2048, 2048), UNKNOWN, np.int32)
    instances[300:396, 300:396] = DISC
    pixels = np.zeros((2048, 2048, 3), np.uint8) + np.arange(3, dtype=np.uint8) * 90
    pools = Pools([InstanceImage("a", Kind("mine", 1.0, 1.0, True), pixels, instances, 20)])
    rng = np.random.default_rng(0)
    plain = sum(bool(compose(pools, 256, rng).prompted) for _ in range(12))
    sought = sum(bool(sample_window(pools, 256, rng).prompted) for _ in range(12))
    assert plain < sought
    assert sought >= 3


@given(
    seed=st.integers(0, 10_000),
    centre=st.tuples(st.integers(0, 63), st.integers(0, 63)),
    radius=st.integers(2, 40),
)
@settings(max_examples=60, deadline=None)
def test_a_part_contains_its_object_completely(seed: int, centre: tuple[int, int], radius: int) -> None:
    """Its pixels and ids are those of the window, and objects that it cuts are not prompted for."""
    rows, cols = np.indices((64, 64))
    instances = (np.hypot(rows - centre[0], cols - centre[1]) <= radius).astype(np.int32)
    instances[(instances == 0) & (rows < 3)] = 2
    pixels = torch.from_numpy(np.random.default_rng(seed).integers(0, 255, (256, 256, 3), np.uint8))
    window = Window(pixels, instances, np.zeros((64, 64), np.uint8), (1,))
    part, (row, col) = sample_part(window, 4, np.random.default_rng(seed))
    side = part.instances.shape[0]
    top, left = row * TOKEN_CELLS, col * TOKEN_CELLS
    assert (part.instances == instances[top : top + side, left : left + side]).all()
    assert part.pixels.shape[0] == side * TOKEN_PX // TOKEN_CELLS
    assert (part.pixels[0, 0] == pixels[row * TOKEN_PX, col * TOKEN_PX]).all()
    assert part.prompted == (1,)
    assert (part.instances == 1).sum() == (instances == 1).sum()
    corner = window.part(0, 0, 2)
    assert corner.prompted == ((1,) if (instances[8:] != 1).all() and (instances[:, 8:] != 1).all() else ())


def test_prompts_on_parts_train_the_encoder(tmp_path: Path) -> None:
    """One optimiser step on parts of 64 px changes weights of all three parts of the model."""
    output = tmp_path / "mine.safetensors"
    config = replace(
        STEPS,
        steps=1,
        side_px=128,
        windows=1,
        part_px=64,
        parts=3,
        train_only="all",
        learning_rate=1e-2,
        average=0,
    )
    jobs.run(tune_model([tissue()], output, config))
    before, after = tiny.SAMPATH_TINY.build(), tiny.SAMPATH_TINY.build(output)
    changed = {
        name.split(".")[0] for name, v in before.state_dict().items() if (v != after.state_dict()[name]).any()
    }
    assert changed == {"image_encoder", "prompt_encoder", "mask_decoder"}
    with pytest.raises(ConfigError, match="part_px is 96; give a multiple of 32 up to side_px, 64"):
        replace(STEPS, part_px=96)


def test_tokens_and_ids_of_a_part_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and ids of a part belong to the same square of the window; parts decoded together have one position."""
    seen: list[tuple[torch.Tensor, tuple[int, int]]] = []
    sampled: list[Window] = []
    whole: list[torch.Tensor] = []
    module = "napari_sampath.training.prompts.prompt_tuning"
    monkeypatch.setattr(f"{module}.train_objects", lambda *a: seen.append((a[2], a[4])) or {})  # type: ignore[func-returns-value]
    draw = FirstPrompts.sample
    monkeypatch.setattr(FirstPrompts, "sample", lambda parts, *a: (sampled.extend(parts), draw(parts, *a))[1])
    parts = tiny.SAMPATH_TINY.untrained()
    parts.encoder.register_forward_hook(lambda _module, _pixels, maps: whole.append(maps["embedding"]))
    windows: list[Window] = []

    def drawn(pools: Pools, side: int, rng: np.random.Generator) -> Window:
        windows.append(compose(pools, side, rng))
        return windows[-1]

    monkeypatch.setattr(f"{module}.sample_window", drawn)
    config = replace(STEPS, steps=1, side_px=256, windows=1, part_px=64, parts=6)
    spots = np.zeros((96, 96), np.int32)
    for number, (row, col) in enumerate([(16, 20), (20, 70), (60, 30), (75, 80)], start=1):
        spots[np.hypot(*(np.indices((96, 96)) - np.array([row, col])[:, None, None])) < 4] = number
    jobs.run(tune(parts, [replace(tissue(), instances=spots)], config))
    assert 1 <= len(seen) <= 4, "points and boxes, of at most two sides"
    assert all(0 <= start <= 64 - tokens.shape[-1] for tokens, place in seen for start in place)
    together = [part for tokens, _ in seen for part in tokens]
    assert len(together) == len(sampled) == 6
    for tokens, part in zip(together, sampled, strict=True):
        side = tokens.shape[-1]
        assert any(
            torch.equal(tokens, whole[0][0, :, row : row + side, col : col + side])
            for row in range(17 - side)
            for col in range(17 - side)
            if _is_at(part, windows[0], row, col)
        )


def _is_at(part: Window, window: Window, row: int, col: int) -> bool:
    side = part.pixels.shape[0]
    there = window.pixels[16 * row : 16 * row + side, 16 * col : 16 * col + side]
    return there.shape == part.pixels.shape and bool((there == part.pixels).all())


def test_checkpoint_is_written_beside_the_output(tmp_path: Path) -> None:
    write_set(tmp_path, images=3)
    config = PromptTuningConfig(
        warmup_steps=4, steps=0, windows=1, side_px=64, precision="float32", save_every=2, train_only="all"
    )
    output = tmp_path / "mine.safetensors"
    output.write_bytes(b"the previous weights")
    job = tune_model(read_instances(tmp_path, "train"), output, config, start="random")
    while next(job).done < 3:
        assert output.read_bytes() == b"the previous weights"
    assert output.read_bytes() == b"the previous weights"
    halfway = tmp_path / "mine.checkpoint"
    tiny.load_parts(tiny.SAMPATH_TINY.untrained(), load_state_dict(halfway), str(halfway))
    jobs.run(job)
    tiny.SAMPATH_TINY.build(output)
    assert not halfway.exists()


def test_tuning_improves_the_scores() -> None:
    torch.manual_seed(0)
    config = PromptTuningConfig(
        warmup_steps=24,
        steps=0,
        windows=2,
        side_px=64,
        precision="float32",
        save_every=8,
        learning_rate=3e-3,
        train_only="all",
    )
    result = jobs.run(tune(tiny.SAMPATH_TINY.untrained(), [tissue(), tissue(NUCLEUS, 1)], config))
    dense = [losses["dense"] for losses in result.losses]
    assert dense[-1] < 0.7 * dense[0]


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    save_file({"image_encoder.something": torch.zeros(2)}, other)
    with pytest.raises(WeightsError, match=r"other.safetensors are not for sampath-tiny"):
        tiny.SAMPATH_TINY.build(other)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="side_px is 100"):
        PromptTuningConfig(side_px=100)
    with pytest.raises(ConfigError, match="precision is 'half'"):
        PromptTuningConfig(precision="half")

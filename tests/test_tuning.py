"""SAM's training algorithm on small synthetic tissue: the parts, and the whole way to a weights file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_sampath import jobs
from napari_sampath.encoders import tiny
from napari_sampath.encoders.weights import load_state_dict
from napari_sampath.errors import DatasetError, WeightsError
from napari_sampath.training.augment import Pools, compose, jitter_stain
from napari_sampath.training.dense_targets import object_maps
from napari_sampath.training.instances import InstanceImage, read_instances
from napari_sampath.training.interactive import mask_losses, prompt_loss, true_iou
from napari_sampath.training.prompt_tuning import PromptTuningConfig, TuningConfigError, tune
from napari_sampath.training.simulate import CELL_PX, correcting_point, noisy_box, random_point
from napari_sampath.training.tune import read_facts, tune_model

DISC = np.hypot(*(np.indices((96, 96)) - 48)) < 30


def tissue(kind: str = "gland", seed: int = 0) -> InstanceImage:
    """A dark disc on a light ground, with noise."""
    rng = np.random.default_rng(seed)
    pixels = np.where(DISC[..., None], (120, 60, 140), (235, 200, 220)) + rng.normal(0, 5, (96, 96, 3))
    return InstanceImage(
        f"{kind}{seed}", kind, pixels.clip(0, 255).astype(np.uint8), DISC.astype(np.int32), 20
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


def test_missing_data_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no image of the split 'train'.*SAMPATH_DATA"):
        read_instances(tmp_path, "train")
    write_set(tmp_path)
    (tmp_path / "ebhi_glands" / "masks" / "gland1.png").unlink()
    with pytest.raises(DatasetError, match=r"gland1.png named in .* is missing"):
        read_instances(tmp_path, "train")


@given(seed=st.integers(0, 1000), side=st.sampled_from([64, 96, 256]))
@settings(max_examples=25, deadline=None)
def test_a_window_keeps_image_and_ids_together(seed: int, side: int) -> None:
    window = compose(Pools([tissue("gland"), tissue("nucleus", 1)]), side, np.random.default_rng(seed))
    assert window.pixels.shape == (side, side, 3)
    assert window.instances.shape == window.kinds.shape == (side // 4, side // 4)
    brightness = window.pixels.mean(axis=2).reshape(side // 4, 4, side // 4, 4).mean(axis=(1, 3))
    inside = window.instances > 0
    for kind in np.unique(window.kinds):
        own = window.kinds == kind
        if (inside & own).sum() > 20 and (~inside & own).sum() > 20:
            assert brightness[inside & own].mean() < brightness[~inside & own].mean() - 10
    assert set(window.prompted) <= set(np.unique(window.instances)) - {0}


@given(seed=st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_stain_jitter_of_no_strength_changes_nothing_visible(seed: int) -> None:
    pixels = tissue().pixels
    same = jitter_stain(pixels, np.random.default_rng(seed), strength=0.0)
    assert np.abs(same.astype(int) - pixels).max() <= 1
    moved = jitter_stain(pixels, np.random.default_rng(seed))
    assert moved.shape == pixels.shape
    assert np.abs(moved.astype(int) - pixels).mean() > 0.5


def test_object_maps_point_to_the_centre() -> None:
    maps = object_maps(DISC.astype(np.int32))
    row, col = 48 - 20, 48 + 10
    size = np.sqrt(DISC.sum())
    assert maps[2, row, col] == pytest.approx(20 / size, abs=0.02)
    assert maps[3, row, col] == pytest.approx(-10 / size, abs=0.02)
    assert maps[1].max() == pytest.approx(1.0)
    assert maps[1, 48, 48] > 0.9
    assert (maps[:, ~DISC] == 0).all()
    assert object_maps(np.ones((8, 8), np.int32))[1].max() == pytest.approx(1.0)


@given(seed=st.integers(0, 200), offset=st.tuples(st.integers(0, 500), st.integers(0, 500)))
@settings(max_examples=40, deadline=None)
def test_simulated_prompts_lie_where_they_should(seed: int, offset: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    x, y = random_point(DISC, offset, rng) + 0.5 - np.array(offset)
    assert DISC[int(y // CELL_PX), int(x // CELL_PX)]
    box = noisy_box(DISC, offset, rng) + 0.5 - np.tile(offset, 2)
    rows, cols = np.flatnonzero(DISC.any(1)), np.flatnonzero(DISC.any(0))
    exact = np.array([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1]) * CELL_PX
    assert np.abs(box - exact).max() <= 20.0 + 1e-9
    nothing = np.zeros_like(DISC)
    point, mark = correcting_point(nothing, DISC, offset, rng)
    assert mark == 1
    point, mark = correcting_point(np.ones_like(DISC), DISC, offset, rng)
    col, row = ((point + 0.5 - np.array(offset)) // CELL_PX).astype(int)
    assert mark == 0
    assert not DISC[row, col]


def test_losses_prefer_the_right_mask() -> None:
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
    assert one_right == pytest.approx(float(per_mask[0, 0] + per_mask[0, 1]), abs=1e-5)


def test_tuning_writes_weights_that_load_and_answer(tmp_path: Path) -> None:
    write_set(tmp_path, images=3)
    config = PromptTuningConfig(
        warmup_steps=2, steps=3, windows=1, side_px=64, full_frame_share=0.0, prompts=2,
        precision="float32", save_every=2,
    )  # fmt: skip
    output = tmp_path / "weights" / "mine.safetensors"
    reports = []
    path = jobs.run(tune_model(tmp_path, output, config), reports.append)
    assert path == output
    assert [report.done for report in reports] == [1, 2, 3, 4, 5]
    parts = tiny.build(output)
    assert not any(parameter.requires_grad for parameter in parts.encoder.parameters())
    with torch.inference_mode():
        embedding = parts.encoder(torch.zeros(1, 3, 64, 64))["embedding"]
    assert embedding.shape == (1, 256, 4, 4)
    facts = read_facts(output)
    assert facts["data"] == {"nucleus": 0, "gland": 2, "tumour": 0}
    assert facts["recipe"]["side_px"] == 64  # type: ignore[index]
    assert output.stat().st_size < 25e6


def test_half_trained_weights_lie_beside_the_file_asked_for(tmp_path: Path) -> None:
    write_set(tmp_path, images=3)
    config = PromptTuningConfig(
        warmup_steps=4, steps=0, windows=1, side_px=64, precision="float32", save_every=2
    )
    output = tmp_path / "mine.safetensors"
    output.write_bytes(b"the previous weights")
    job = tune_model(tmp_path, output, config)
    while next(job).done < 3:
        assert output.read_bytes() == b"the previous weights"
    assert output.read_bytes() == b"the previous weights"
    halfway = tmp_path / "mine.checkpoint"
    tiny.load_parts(tiny.build_untrained(), load_state_dict(halfway), str(halfway))
    jobs.run(job)
    tiny.build(output)
    assert not halfway.exists()


def test_tuning_learns() -> None:
    torch.manual_seed(0)
    config = PromptTuningConfig(
        warmup_steps=60,
        steps=0,
        windows=2,
        side_px=64,
        precision="float32",
        save_every=20,
        learning_rate=2e-3,
    )
    result = jobs.run(tune(tiny.build_untrained(), [tissue(), tissue("nucleus", 1)], config))
    dense = [losses["dense"] for losses in result.losses]
    assert dense[-1] < 0.8 * dense[0]


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    save_file({"image_encoder.something": torch.zeros(2)}, other)
    with pytest.raises(WeightsError, match=r"other.safetensors are not those of sampath-tiny"):
        tiny.build(other)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(TuningConfigError, match="side_px is 100"):
        PromptTuningConfig(side_px=100)
    with pytest.raises(TuningConfigError, match="precision is 'half'"):
        PromptTuningConfig(precision="half")

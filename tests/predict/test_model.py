"""Models: equality with `segment_anything.SamPredictor`, cached features, and checks of weights files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.tiny_sam import build_tiny_sam, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything import SamPredictor

from napari_sampath.arrays import Features, Masks
from napari_sampath.encoders import EncoderParts
from napari_sampath.encoders.sam.sam_format import sam_keys
from napari_sampath.encoders.weights.weights import digest, encoder_digest
from napari_sampath.errors import (
    ConfigError,
    ImageError,
    PromptError,
    UnknownNameError,
    WeightsError,
    WeightsMissingError,
)
from napari_sampath.geometry import Frame, whole
from napari_sampath.jobs import Progress, run
from napari_sampath.predict import Model, load_model, load_model_job, local_mask
from napari_sampath.store import DiskTier, MemoryTier, Store

HW = (300, 420)


def blob_image(hw: tuple[int, int] = HW, seed: int = 0) -> np.ndarray:
    """Coloured blobs with noise, different everywhere."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-hw[0] // 30), -(-hw[1] // 30), 3))
    blobs = coarse.repeat(30, axis=0).repeat(30, axis=1)[: hw[0], : hw[1]]
    return np.clip(blobs + rng.normal(0, 20, (*hw, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def features(model: Model) -> Features:
    return model.encode(blob_image())


@pytest.fixture(scope="module")
def predictor() -> SamPredictor:
    predictor = SamPredictor(build_tiny_sam())
    predictor.set_image(blob_image())
    return predictor


def predictors_answer(
    predictor: SamPredictor, prompt: dict[str, Any], multimask: bool
) -> tuple[np.ndarray, ...]:
    points, box, mask = prompt.get("points"), prompt.get("box"), prompt.get("mask")
    masks, scores, logits = predictor.predict(
        None if points is None else np.array(points, dtype=float),
        None if points is None else np.array(prompt["labels"]),
        None if box is None else np.array(box, dtype=float),
        None if mask is None else mask[None],
        multimask_output=multimask,
    )
    return masks, scores, logits


def assert_same(predicted: Masks, expected: tuple[np.ndarray, ...]) -> None:
    masks, scores, logits = expected
    np.testing.assert_allclose(predicted.logits, logits, atol=1e-4, rtol=0)
    np.testing.assert_allclose(predicted.scores, scores, atol=1e-5, rtol=0)
    assert predicted.masks.shape == masks.shape
    # Rounding may move pixels across the threshold.
    assert (predicted.masks != masks).sum() <= 1e-5 * masks.size


PREVIOUS = np.random.default_rng(5).normal(0, 4, (256, 256)).astype(np.float32)
PROMPTS: dict[str, dict[str, Any]] = {
    "point": {"points": [(100.5, 50.25)], "labels": [1]},
    "negative point": {"points": [(100, 50)], "labels": [0]},
    "points": {"points": [(100, 50), (10, 290), (419, 0)], "labels": [1, 0, 1]},
    "box": {"box": (20, 30.5, 200, 250)},
    "box and points": {"points": [(100, 50), (30, 40)], "labels": [1, 0], "box": (20, 30, 200, 250)},
    "mask": {"mask": PREVIOUS},
    "point and mask": {"points": [(100, 50)], "labels": [1], "mask": PREVIOUS},
    "all": {"points": [(100, 50)], "labels": [1], "box": (20, 30, 200, 250), "mask": PREVIOUS},
}


def test_features_equal_sams(model: Model, features: Features, predictor: SamPredictor) -> None:
    torch.testing.assert_close(features.maps["embedding"], predictor.features[0], atol=1e-4, rtol=0)
    assert features.frame == whole(HW)
    assert features.encoder == model.name == "tiny-sam"
    for feature_map in model.maps:
        assert features.maps[feature_map.name].shape == (feature_map.channels, 64, 64)
        assert features.maps[feature_map.name].dtype == torch.float32
    neck = model.encoder.image_encoder.neck(features.maps["tokens"][None])[0]
    torch.testing.assert_close(neck, predictor.features[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("kind", list(PROMPTS))
def test_masks_equal_sams(
    model: Model, features: Features, predictor: SamPredictor, kind: str, multimask: bool
) -> None:
    predicted = model.predict(features, **PROMPTS[kind], multimask=multimask)
    assert_same(predicted, predictors_answer(predictor, PROMPTS[kind], multimask))
    assert predicted.masks.shape == (3 if multimask else 1, *HW)
    assert predicted.scores[predicted.best] == predicted.scores.max()
    assert 0 < predicted.masks.mean() < 1, "a constant mask would make the comparison meaningless"


@settings(max_examples=4, deadline=None)
@given(hw=st.tuples(st.integers(40, 1600), st.integers(40, 1600)), seed=st.integers(0, 99))
def test_masks_equal_sams_on_images_of_any_size(model: Model, hw: tuple[int, int], seed: int) -> None:
    image = blob_image(hw, seed)
    predictor = SamPredictor(build_tiny_sam())
    predictor.set_image(image)
    xy = np.random.default_rng(seed).uniform(0, 1, (2, 2)) * [hw[1], hw[0]]
    prompt = {"points": xy, "labels": [1, 0]}
    predicted = model.predict(model.encode(image), **prompt)
    assert_same(predicted, predictors_answer(predictor, prompt, multimask=True))


def test_a_window_of_an_image_equals_the_cropped_image(model: Model) -> None:
    image = blob_image((900, 1400))
    frame = Frame(top=200, left=500, height=300, width=420)
    predicted = model.predict(model.encode(image, frame), points=[(620, 260)], box=(510, 210, 800, 400))
    crop = np.ascontiguousarray(image[frame.slices])
    expected = model.predict(model.encode(crop), points=[(120, 60)], box=(10, 10, 300, 200))
    np.testing.assert_array_equal(predicted.masks, expected.masks)
    local = local_mask(frame, predicted.logits[0])
    np.testing.assert_array_equal(local.to_dense((900, 1400))[frame.slices], expected.masks[0])


def test_refinement_by_the_previous_logits(model: Model, features: Features, predictor: SamPredictor) -> None:
    first = model.predict(features, points=[(100, 50)])
    prompt = {"points": [(100, 50), (300, 200)], "labels": [1, 0], "mask": first.logits[first.best]}
    second = model.predict(features, **prompt, multimask=False)
    assert_same(second, predictors_answer(predictor, prompt, multimask=False))
    without = model.predict(features, points=prompt["points"], labels=prompt["labels"], multimask=False)
    assert not np.array_equal(second.masks, without.masks)


def test_painted_mask_as_prompt(model: Model, features: Features) -> None:
    painted = np.zeros(HW, dtype=bool)
    painted[50:200, 100:300] = True
    predicted = model.predict(features, mask=painted)
    expected = model.predict(features, mask=model.mask_to_logits(painted, features.frame))
    np.testing.assert_array_equal(predicted.logits, expected.logits)


def test_batches_of_boxes_equal_single_boxes(model: Model, features: Features) -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 1, (19, 2)) * [300, 200]
    boxes = np.concatenate([corners, corners + rng.uniform(20, 99, (19, 2))], axis=1)
    for multimask in (False, True):
        answers = model.predict_boxes(features, boxes, multimask)
        assert len(answers) == 19
        for box, (local, score) in list(zip(boxes, answers, strict=True))[::6]:
            single = model.predict(features, box=box, multimask=multimask)
            assert score == pytest.approx(single.scores.max(), abs=1e-4)
            assert (local.to_dense(HW) != single.masks[single.best]).mean() < 1e-4
    assert model.predict_boxes(features, []) == []


def test_batches_of_points_equal_single_points(model: Model, features: Features) -> None:
    points = np.random.default_rng(2).uniform(0, 1, (11, 2)) * [420, 300]
    for multimask in (False, True):
        answers = model.predict_points(features, points, multimask)
        assert len(answers) == 11
        for point, (local, score) in list(zip(points, answers, strict=True))[::5]:
            single = model.predict(features, points=[point], multimask=multimask)
            assert score == pytest.approx(single.scores.max(), abs=1e-4)
            assert (local.to_dense(HW) != single.masks[single.best]).mean() < 1e-4
    assert model.predict_points(features, []) == []
    with pytest.raises(PromptError, match="outside"):
        model.predict_points(features, [(10, 10), (421, 10)])


def test_features_can_train_a_head(features: Features) -> None:
    layer = torch.nn.Conv2d(256, 2, 1)
    layer(features.maps["embedding"][None]).sum().backward()
    assert layer.weight.grad is not None
    assert not any(values.is_inference() for values in features.maps.values())


# The store


def test_a_tile_is_encoded_once() -> None:
    store = Store(MemoryTier(2**28))
    model = tiny_model(store)
    runs: list[int] = []
    model.encoder.register_forward_hook(lambda *_: runs.append(1))
    image = blob_image()
    first = model.encode(image)
    again = model.encode(image.copy())
    assert len(runs) == 1
    for name, values in first.maps.items():
        assert torch.equal(values, again.maps[name])
    shifted = np.concatenate([blob_image((100, 420), 7), image])
    assert model.encode(shifted, Frame(100, 0, *HW)).frame.top == 100
    assert len(runs) == 1, "tiles are identified by their pixels"
    image[150, 200, 1] ^= 1
    model.encode(image)
    assert len(runs) == 2
    other = tiny_model(store, seed=3)
    other.encoder.register_forward_hook(lambda *_: runs.append(1))
    other.encode(blob_image())
    assert len(runs) == 3, "features depend on the weights"


def test_predictions_are_equal_after_reopening(tmp_path: Path) -> None:
    disk = DiskTier(tmp_path, 10**8)
    first, later = (tiny_model(Store(MemoryTier(2**28), disk)) for _ in range(2))
    later.encoder.register_forward_hook(lambda *_: pytest.fail("encoded again"))
    prompt = {"points": [(100, 50)]}
    before, after = (model.predict(model.encode(blob_image()), **prompt) for model in (first, later))
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_array_equal(before.masks, after.masks)


def test_a_damaged_entry_is_encoded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, later = (tiny_model(Store(MemoryTier(2**28), DiskTier(tmp_path, 10**8))) for _ in range(2))
    expected = first.encode(blob_image())
    (entry,) = tmp_path.rglob("*.safetensors")
    content = bytearray(entry.read_bytes())
    content[-1000] ^= 4
    entry.write_bytes(content)
    runs: list[int] = []
    later.encoder.register_forward_hook(lambda *_: runs.append(1))
    with caplog.at_level(logging.WARNING):
        encoded = later.encode(blob_image())
    assert torch.equal(encoded.maps["embedding"], expected.maps["embedding"])
    assert (len(runs), len(caplog.records)) == (1, 1)
    assert "damaged" in caplog.text
    assert entry.read_bytes() != bytes(content)


def test_encoding_several_tiles_reports_and_can_be_cancelled() -> None:
    store = Store(MemoryTier(2**28))
    model = tiny_model(store)
    image = blob_image((200, 600))
    frames = [Frame(0, left, 200, 200) for left in (0, 200, 400)]
    reports: list[Progress] = []
    encoded = run(model.encode_job(image, frames), reports.append)
    assert [features.frame for features in encoded] == frames
    assert [(report.done, report.total, report.unit) for report in reports] == [
        (n, 3, "tiles") for n in range(4)
    ]
    runs: list[int] = []
    model.encoder.register_forward_hook(lambda *_: runs.append(1))
    job = model.encode_job(255 - image, frames)
    next(job)
    next(job)
    job.close()
    assert len(runs) == 1


# Input


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(blob_image()[..., 0], id="grey"),
        pytest.param(np.dstack([blob_image(), blob_image()[..., :1]]), id="four channels"),
        pytest.param(blob_image() / 255.0, id="float"),
        pytest.param(blob_image().astype(np.uint16) * 257, id="uint16"),
    ],
)
def test_other_arrays_are_converted(model: Model, features: Features, array: np.ndarray) -> None:
    encoded = model.encode(array)
    assert encoded.frame == whole(HW)
    if array.ndim == 3 and array.dtype != np.uint16:
        assert torch.equal(encoded.maps["embedding"], features.maps["embedding"])


@pytest.mark.parametrize(
    "array", [np.zeros((0, 0, 3), np.uint8), blob_image((300, 3)), np.zeros((5,)), np.full((64, 64), np.nan)]
)
def test_arrays_that_are_not_images_are_rejected(model: Model, array: np.ndarray) -> None:
    with pytest.raises(ImageError):
        model.encode(array)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "There is no prompt"),
        ({"points": [(421, 10)]}, "x=421, y=10 lies outside"),
        ({"points": [(10, 10), (10, -1)]}, "x=10, y=-1 lies outside"),
        ({"box": (300, 200, 430, 250)}, "x=430, y=250 lies outside"),
        ({"points": [(1, 2, 3)]}, "shape"),
        ({"points": [(10, 10)], "labels": [2]}, "labels"),
        ({"points": [(10, 10)], "labels": [1, 0]}, "one label for each"),
        ({"box": (10, 10, 10, 50)}, "at least 1 px"),
        ({"mask": np.zeros((64, 64), np.float32)}, "256"),
        ({"mask": np.zeros(HW, bool)}, "empty"),
    ],
)
def test_invalid_prompts_are_rejected(
    model: Model, features: Features, prompt: dict[str, Any], message: str
) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        model.predict(features, **prompt)
    assert str(caught.value).endswith(".")


def test_boxes_outside_the_image_are_rejected(model: Model, features: Features) -> None:
    with pytest.raises(PromptError, match="outside"):
        model.predict_boxes(features, [(0, 0, 50, 50), (0, 0, 50, 301)])


def test_prompts_need_a_prompt_decoder(features: Features) -> None:
    model = Model(EncoderParts(tiny_model().encoder))
    assert not model.promptable
    assert torch.equal(model.encode(blob_image()).maps["embedding"], features.maps["embedding"])
    with pytest.raises(PromptError, match=r"answers no prompts; choose one of: .*vit_b"):
        model.predict(features, points=[(1, 1)])


def test_reduced_precision_is_close_and_stored_separately() -> None:
    store = Store(MemoryTier(2**28))
    exact = tiny_model(store, input_px=256).encode(blob_image())
    parts = tiny_model(input_px=256)
    assert parts.decoder is not None
    reduced = Model(
        EncoderParts(parts.encoder, parts.decoder.prompt_encoder, parts.decoder.mask_decoder),
        store=store,
        precision="bfloat16",
    ).encode(blob_image())
    assert reduced.maps["embedding"].dtype == torch.float32
    difference = (reduced.maps["embedding"] - exact.maps["embedding"]).abs()
    assert difference.max() > 0
    assert difference.mean() < 0.05
    with pytest.raises(ConfigError, match="'int8'; allowed: auto, float32"):
        Model(EncoderParts(parts.encoder), precision="int8")


def test_lack_of_memory_gives_a_one_sentence_error(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pixels: torch.Tensor) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 768.00 MiB.")

    monkeypatch.setattr(model.encoder, "forward", fail)
    with pytest.raises(ConfigError, match="'cpu' has too little free memory for tiny-sam"):
        model.encode(blob_image(seed=9))


# Loading


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(build_tiny_sam().state_dict())


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def write(content: object) -> Path:
        path = tmp_path / "my.pth"
        torch.save(content, path)
        return path

    return write


def test_user_supplied_weights(save: Any, state: dict[str, torch.Tensor], features: Features) -> None:
    path = save(state)
    loaded = load_model("sam", weights=str(path), device="cpu")
    assert loaded.name == "sam"
    assert loaded.device.type == "cpu"
    assert loaded.encoder.weights_digest == encoder_digest(state)
    assert torch.equal(loaded.encode(blob_image()).maps["embedding"], features.maps["embedding"])
    assert not any(parameter.requires_grad for parameter in loaded.encoder.parameters())
    assert not any(parameter.is_meta for parameter in loaded.encoder.parameters())


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}, "epoch": 3},
        lambda state: {"state_dict": {f"model.sam.{key}": value for key, value in state.items()}},
        lambda state: state | {"pixel_mean": torch.zeros(3, 1, 1), "loss.weight": torch.ones(2)},
        lambda state: {key: value.half().float() for key, value in state.items()},
        lambda state: {key: value.half() for key, value in state.items()},
    ],
    ids=["module", "nested", "lightning", "not part of SAM", "rounded", "float16"],
)
def test_variants_of_the_checkpoint_format(save: Any, state: dict[str, torch.Tensor], change: Any) -> None:
    loaded = load_model("sam", weights=save(change(state)))
    weight = loaded.encoder.image_encoder.blocks[1].attn.qkv.weight
    assert weight.dtype == torch.float32
    torch.testing.assert_close(
        weight.data, state["image_encoder.blocks.1.attn.qkv.weight"], atol=1e-2, rtol=0
    )
    assert loaded.encoder.image_encoder.blocks[0].attn.window == 14
    assert loaded.encoder.image_encoder.blocks[1].attn.window is None
    assert loaded.promptable


def without(state: dict[str, torch.Tensor], *parts: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if not any(part in key for part in parts)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "image_encoder."), "is not a SAM weights file"),
        (lambda s: {"layer.weight": torch.ones(2, 2)}, r"is not a SAM weights file.*layer\.weight"),
        (lambda s: without(s, "prompt_encoder."), r"17 tensors missing \(prompt_encoder\.\S+, .* \.\.\.\)"),
        (lambda s: without(s, "pos_embed"), r"has no 'image_encoder\.pos_embed'"),
        (lambda s: without(s, "rel_pos_h"), "rel_pos_h"),
        (
            lambda s: s | {"image_encoder.adapter.weight": torch.ones(2)},
            r"1 tensors unexpected \(image_encoder\.adapter",
        ),
        (
            lambda s: s | {"mask_decoder.iou_token.weight": torch.ones(1, 128)},
            r"mask_decoder\.iou_token\.weight \(1, 128\) instead of \(1, 256\)",
        ),
        (
            lambda s: s | {"image_encoder.pos_embed": torch.ones(1, 32, 32, 32)},
            "is for images of 512 px in patches of 16 px",
        ),
        (lambda s: s | {"image_encoder.pos_embed": torch.ones(32)}, "dimensions"),
    ],
)
def test_incompatible_weights_are_rejected(
    save: Any, state: dict[str, torch.Tensor], change: Any, message: str
) -> None:
    path = save(change(state))
    with pytest.raises(WeightsError, match=message) as caught:
        load_model("sam", weights=path)
    text = str(caught.value)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text


def test_weights_of_another_model_size_are_rejected(save: Any, state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(
        WeightsError, match=r"does not have the size of vit_b \(embed_dim 32, 2 blocks\); load it as 'sam'"
    ):
        load_model("vit_b", weights=save(state))


def test_folder_with_the_official_file(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, tmp_path / "sam_vit_l_0b3195.pth")
    with pytest.raises(WeightsError, match=r"sam_vit_l_0b3195\.pth' does not have the size of vit_l"):
        load_model("vit_l", weights=tmp_path)
    with pytest.raises(WeightsMissingError, match=r"'sam_vit_b_01ec64\.pth' \(375 MB\) is not in the folder"):
        load_model("vit_b", weights=tmp_path)


def test_loading_reports_progress(save: Any, state: dict[str, torch.Tensor]) -> None:
    reports: list[Progress] = []
    loaded = run(load_model_job("sam", weights=save(state)), reports.append)
    assert loaded.name == "sam"
    assert [report.message for report in reports] == ["Loading sam"]


def test_names_and_devices_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'vit_b'"):
        load_model("vitb")
    with pytest.raises(ConfigError, match="no device 'cuda:77'"):
        load_model("sam", device="cuda:77")
    with pytest.raises(WeightsMissingError, match="your own weights file"):
        load_model("sam")
    with pytest.raises(WeightsMissingError, match="no weights file"):
        load_model("sam", weights=tmp_path / "absent.pth")


def test_prefixes_of_keys_are_removed(state: dict[str, torch.Tensor]) -> None:
    prefixed = {f"a.b.{key}": value for key, value in state.items()}
    assert sam_keys(prefixed, "x").keys() == state.keys()
    assert digest(sam_keys(prefixed, "x")) == digest(state)

"""A decoder that is trained with embeddings of crops follows texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import napari_sampath as ns
from napari_sampath.arrays import BoolArray, LocalMask, Prompts
from napari_sampath.cli import main
from napari_sampath.config import load_config
from napari_sampath.encoders import EncoderParts
from napari_sampath.encoders.sam.prompt_parts import with_text
from napari_sampath.encoders.text.text_model import TextModel
from napari_sampath.encoders.text_projection import TextProjection
from napari_sampath.encoders.tiny import tiny
from napari_sampath.errors import ConfigError, PromptError, SampathError, WeightsError
from napari_sampath.files.tensor_file import dump_tensors, read_tensors
from napari_sampath.geometry import whole
from napari_sampath.jobs import run
from napari_sampath.predict import Model
from napari_sampath.predict.decoder.candidates import best_first
from napari_sampath.predict.text.crops import crop_object
from napari_sampath.predict.text.settings import TextSettings
from napari_sampath.store import Store
from napari_sampath.training.data.instances import InstanceImage, Kind
from napari_sampath.training.data.stain import StainChange
from napari_sampath.training.prompts.adaptation.dataset import save_adapted
from napari_sampath.training.prompts.clip_prompts import ClipPrompts, CropEmbeddings
from napari_sampath.training.prompts.config import PromptTuningConfig
from napari_sampath.training.prompts.interactive import FirstPrompts, Plan, embed_on_window, train_objects
from napari_sampath.training.prompts.tune import read_training_record, tune_model
from napari_sampath.training.prompts.windows import Pools, Window, compose
from support.models.small_clip import WEIGHTS, save_small_clip
from support.models.small_vits import one_sentence

# open_clip leaves its vocabulary file open.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
SIDE = 128
OFFSET = (28, 28)
"""Position of windows in the frame, in tokens."""
KIND = Kind("shape", 1.0, 1.0, separate=True)
TEXTS = ("a dark disc", "a green square")


def shapes(seed: int) -> InstanceImage:
    """A light image with a dark disc (1) and a green square (2), one at the left and one at the right."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices((SIDE, SIDE))
    left, right = ((rng.integers(36, 92), rng.integers(*span)) for span in ((28, 36), (92, 100)))
    disc, square = (left, right) if seed % 2 else (right, left)
    instances = np.zeros((SIDE, SIDE), np.int32)
    instances[np.hypot(rows - disc[0], cols - disc[1]) < 22] = 1
    instances[(abs(rows - square[0]) < 20) & (abs(cols - square[1]) < 20)] = 2
    colours = np.array([(235, 215, 225), (90, 50, 130), (110, 170, 90)])
    pixels = colours[instances] + rng.normal(0, 4, (SIDE, SIDE, 3))
    return InstanceImage(f"shapes {seed}", KIND, pixels.clip(0, 255).astype(np.uint8), instances, 20)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text model with the same embedding for crops of discs and their text, and another one for squares.

    Its weights are random, except for the last layers of both encoders, which solve this as least squares.
    """
    folder = save_small_clip(tmp_path_factory.mktemp("models") / "clip", embed_dim=32)
    state = load_file(folder / WEIGHTS)
    state |= {"visual.proj": torch.eye(32), "text_projection": torch.eye(16, 32)}
    save_file(state, folder / WEIGHTS)
    model = ns.load_text_model(str(folder), device="cpu")
    settings = [
        TextSettings(margin, outside=outside) for margin in (0, 0.5, 1) for outside in ("keep", "grey")
    ]
    masks = [
        [LocalMask.from_dense(shapes(seed).instances == number) for seed in range(4)] for number in (1, 2)
    ]
    crops = [
        crop_object(shapes(seed).pixels, mask, setting)
        for row in masks
        for seed, mask in enumerate(row)
        for setting in settings
    ]
    kinds = np.eye(2, 32, dtype=np.float32)
    for name, found, wanted in (
        ("visual.proj", model.embed_images(crops), kinds.repeat(len(crops) // 2, axis=0)),
        ("text_projection", model.embed_texts(TEXTS)[:, :16], kinds),
    ):
        state[name] = torch.from_numpy(np.linalg.lstsq(found, wanted, rcond=None)[0]).contiguous()
    save_file(state, folder / WEIGHTS)
    return folder


def config(clip: Path, **changes: object) -> PromptTuningConfig:
    fast = PromptTuningConfig(
        steps=1, side_px=64, full_frame_share=0.0, prompts=2, iterations=2, precision="float32", average=0.0
    )
    return replace(fast, **{"prompt": "clip", "text_model": str(clip), "clip_share": 1.0, **changes})


@pytest.fixture(scope="module")
def tuned(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of `sampath-tiny` after two steps with crops of two images."""
    path = tmp_path_factory.mktemp("weights") / "tuned.safetensors"
    return run(tune_model([shapes(0), shapes(1)], path, config(clip, steps=2, average=0.9)))


def iou(mask: BoolArray, truth: BoolArray) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.fixture(scope="module")
def model(tuned: Path) -> Model:
    return ns.load_model(weights=tuned, device="cpu")


@pytest.fixture(scope="module")
def text_model(clip: Path) -> TextModel:
    return ns.load_text_model(str(clip), device="cpu")


def embed(parts: EncoderParts, images: list[InstanceImage]) -> Tensor:
    """Return the embeddings (N, 256, 8, 8) of images as windows."""
    frame = whole((SIDE, SIDE), input_px=SIDE)
    with torch.no_grad():
        pixels = torch.stack([parts.encoder.preprocess(image.pixels, frame) for image in images])
        embeddings: Tensor = parts.encoder(pixels)["embedding"]
    return embeddings


def train(parts: EncoderParts, clip: ClipPrompts, images: list[InstanceImage], steps: int) -> None:
    """Train the mask decoder and the layer for text prompts with crops of both objects of each image."""
    rng, embeddings = np.random.default_rng(0), embed(parts, images)
    windows = []
    for image in images:
        ids = image.instances[2::4, 2::4]
        kinds = np.zeros(ids.shape, np.uint8)
        windows.append(Window(torch.from_numpy(image.pixels), ids, kinds, (1, 2), ((0, image),)))
    parts.mask_decoder.requires_grad_(True)
    weights = [*parts.mask_decoder.parameters(), *clip.projection.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-3)
    plan = Plan(PromptTuningConfig(), 2, 1, 1 / len(images), clip)
    decoder = parts.prompt_encoder, parts.mask_decoder
    for _ in range(steps):
        first = FirstPrompts.sample(windows, OFFSET, plan, False, rng, torch.device("cpu"))
        report = train_objects(*decoder, embeddings, first, OFFSET, plan, rng)
        assert set(report) == {"loss", "clip IoU"}
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def test_the_mask_follows_the_text(text_model: TextModel) -> None:
    """On shapes that were not trained on, the mask of a text contains the object that it describes, not the other."""
    torch.manual_seed(0)
    clip = ClipPrompts(CropEmbeddings(text_model, 0), TextProjection(text_model.identity))
    parts = tiny.SAMPATH_TINY.build()
    train(parts, clip, [shapes(seed) for seed in range(4)], steps=36)
    model = Model(replace(parts, text_projection=clip.projection))
    text = torch.from_numpy(np.stack([ns.text_prompt(words, model, text_model) for words in TEXTS]))[:, None]
    part = slice(OFFSET[0], OFFSET[0] + 8), slice(OFFSET[1], OFFSET[1] + 8)
    sparse, dense = with_text(*embed_on_window(parts.prompt_encoder, None, None, None, part), text)
    position = parts.prompt_encoder.get_dense_pe()[:, :, *part]
    ious = []
    for seed in range(100, 104):
        embedding = embed(parts, [shapes(seed)])
        with torch.inference_mode():
            logits, scores = parts.mask_decoder.predict_masks(embedding, position, sparse, dense)
        best = (logits[torch.arange(2), 1 + scores[:, 1:].argmax(dim=1)] > 0).numpy()
        truth = [shapes(seed).instances[2::4, 2::4] == number for number in (1, 2)]
        ious.append([[iou(mask, wanted) for wanted in truth] for mask in best])
    (disc, not_disc), (not_square, square) = np.mean(ious, axis=0)
    assert min(disc, square) > 0.4
    assert max(not_disc, not_square) < 0.2


def test_the_number_of_candidates_depends_on_the_other_prompts(model: Model, text_model: TextModel) -> None:
    features, prompt = model.encode(shapes(5).pixels), ns.text_prompt(TEXTS[0], model, text_model)
    assert len(best_first(model, features, Prompts.make(text=prompt))[0]) == 3
    for more in ({"points": [(30, 60)]}, {"box": (9, 9, 60, 90)}, {"mask": np.zeros((256, 256))}):
        assert len(best_first(model, features, Prompts.make(text=prompt, **more))[0]) == 1


def test_weights_store_the_layer_and_the_text_model(
    tuned: Path, clip: Path, model: Model, text_model: TextModel, tmp_path: Path
) -> None:
    """Training with clicks, and saving an adapted decoder, keep them; stored features stay valid."""
    stored = {"name": str(clip), "width": 32, "fingerprint": text_model.identity.fingerprint}
    save_adapted(model, tmp_path / "adapted.safetensors")
    clicks, shipped = config(clip, prompt="clicks", text_model=""), ns.load_model(device="cpu")
    run(tune_model([shapes(0)], tmp_path / "clicks.safetensors", clicks, start=tuned))
    for path in (tmp_path / "adapted.safetensors", tmp_path / "clicks.safetensors"):
        assert read_training_record(path)["text_prompts"] == stored
        again = ns.load_model(weights=path, device="cpu")
        assert again.encoder.weights_digest == model.encoder.weights_digest == shipped.encoder.weights_digest
        for text in TEXTS:
            expected, prompt = (ns.text_prompt(text, m, text_model) for m in (model, again))
            assert prompt.shape == (256,)
            np.testing.assert_allclose(prompt, expected, atol=2e-2)
    assert "text_prompts" not in read_training_record(tiny.SAMPATH_TINY.weights)
    assert shipped.text_projection is None


def test_weights_in_sams_format_may_contain_the_layer(
    tuned: Path, model: Model, text_model: TextModel, tiny_sam_file: Path, tmp_path: Path
) -> None:
    stored = read_tensors(tuned)
    layer = {name: value for name, value in stored.tensors.items() if name.startswith("text_projection.")}
    weights = torch.load(tiny_sam_file, weights_only=True)
    path = tmp_path / "sam.safetensors"
    path.write_bytes(dump_tensors(weights | layer, stored.metadata))
    expected = ns.text_prompt("a gland", model, text_model)
    prompt = ns.text_prompt("a gland", ns.load_model("sam", "cpu", path), text_model)
    np.testing.assert_array_equal(prompt, expected)
    path.write_bytes(dump_tensors(weights | dict(list(layer.items())[:1]), stored.metadata))
    with pytest.raises(WeightsError, match=r"layer for text prompts in .* cannot be read") as caught:
        ns.load_model("sam", "cpu", path)
    one_sentence(caught.value)


@pytest.mark.parametrize("part", [False, True])
def test_objects_of_a_window_are_found_in_their_images(part: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    unchanged = StainChange.sample(np.random.default_rng(0), strength=0.0)
    monkeypatch.setattr(StainChange, "sample", lambda rng: unchanged)
    first, second = shapes(0), replace(shapes(1), pixels=255 - shapes(1).pixels)
    second = replace(second, instances=second.instances * 5)
    pools, seen = Pools([first, second]), set()
    for seed in range(12):
        window = compose(pools, SIDE, np.random.default_rng(seed))
        window = window.part(0, 2, 6) if part else window
        for number in window.prompted:
            image, own = window.source(number)
            inside = (window.instances == number).repeat(4, axis=0).repeat(4, axis=1)
            colour = np.median(window.pixels.numpy()[inside], axis=0)
            np.testing.assert_allclose(
                colour, np.median(image.pixels[image.instances == own], axis=0), atol=12
            )
            seen.add((image.name, own))
    assert seen == {("shapes 0", 1), ("shapes 0", 2), ("shapes 1", 5), ("shapes 1", 10)}


def test_each_object_is_embedded_once(text_model: TextModel, monkeypatch: pytest.MonkeyPatch) -> None:
    crops: list[np.ndarray] = []
    embed = text_model.embed_images
    monkeypatch.setattr(text_model, "embed_images", lambda images: crops.extend(images) or embed(images))
    images = [shapes(seed) for seed in range(8)]
    embeddings = CropEmbeddings(text_model, seed=0)
    objects = [(image, number) for image in images for number in (1, 2)]
    first = embeddings.embed(objects[:4])
    everything = embeddings.embed(objects + objects[::-1])
    assert len(crops) == len(objects)
    np.testing.assert_array_equal(everything[:4], first)
    np.testing.assert_array_equal(everything, everything[::-1])
    np.testing.assert_allclose(np.linalg.norm(everything, axis=1), 1, atol=1e-5)
    # Crops are one to two times as large as the object, and the surroundings of some are grey.
    assert all(39 <= len(crop) <= 88 for crop in crops)
    assert len({len(crop) for crop in crops}) > 4
    assert 0 < sum(bool((crop[0, 0] == 128).all()) for crop in crops) < len(crops)


def test_wrong_text_prompts_are_refused_in_one_sentence(
    tuned: Path, clip: Path, model: Model, text_model: TextModel, tmp_path: Path
) -> None:
    shipped, other = ns.load_model(device="cpu"), save_small_clip(tmp_path / "other")

    def sentence(kind: type[SampathError], words: str, *arguments: object, **options: object) -> None:
        with pytest.raises(kind, match=words) as caught:
            arguments[0](*arguments[1:], **options)  # type: ignore[operator]
        one_sentence(caught.value)

    def tune(settings: PromptTuningConfig, *start: object) -> None:
        run(tune_model([shapes(0)], tmp_path / "x.safetensors", settings, "sampath-tiny", *start))

    sentence(PromptError, "were not trained with text prompts", ns.text_prompt, "a disc", shipped, text_model)
    sentence(PromptError, "The text is empty", ns.text_prompt, " ", model, text_model)
    another = ns.load_text_model(str(other), device="cpu")
    sentence(
        WeightsError, r"trained with the text model '.*clip' .*choose", ns.text_prompt, "a", model, another
    )
    sentence(PromptError, r"shape \(3,\); give the result of text_prompt", Prompts.make, text=np.zeros(3))
    sentence(PromptError, "give the result of text_prompt", Prompts.make, text="a disc")
    sentence(WeightsError, "trained with the text model", tune, config(other), tuned)
    sentence(WeightsError, "differ in their text prompts", tune, config(clip), None, [tuned])
    assert not (tmp_path / "x.safetensors").exists()
    for fields, words in (
        ({"text_model": ""}, "prompt is 'clip', which needs a text model"),
        ({"steps": 0, "warmup_steps": 1}, "prompt is 'clip', which needs .* steps with prompts"),
        ({"prompt": "clicks"}, "prompt is 'clicks', which uses no text model"),
        ({"prompt": "text"}, "prompt is 'text'; give one of clicks, clip"),
        ({"clip_share": 0.0}, "clip_share is 0.0"),
    ):
        sentence(ConfigError, words, config, clip, **fields)


def test_the_command_line_trains_and_prompts(
    tuned: Path,
    clip: Path,
    model: Model,
    text_model: TextModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The mask is that of the Python functions; the weights file names the text model."""
    image = shapes(101)
    for folder, values in (("images", image.pixels), ("labels", image.instances.astype(np.uint8))):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for name in "ab":
            Image.fromarray(values).save(tmp_path / "data" / folder / f"{name}.png")
    (tmp_path / "data" / "index.csv").write_text("name,group,split\na,slide 1,train\nb,slide 2,val")
    output, mask = tmp_path / "own.safetensors", tmp_path / "mask.tif"
    words = ["tune", "--data", str(tmp_path / "data"), "-o", str(output), "--steps", "1", "--side-px", "64"]
    words += ["--full-frame-share", "0", "--iterations", "1", "--prompts", "1", "--json", "--quiet"]
    assert main([*words, "--prompt", "clip", "--text-model", str(clip), "--clip-share", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["text_prompts"]["name"] == str(clip)
    assert ns.load_model(weights=output, device="cpu").text_projection is not None

    picture = str(tmp_path / "data" / "images" / "a.png")
    words = ["prompt", picture, "-o", str(mask), "--weights", str(tuned), "--text", TEXTS[0]]
    assert main([*words, "--quiet"]) == 0
    prompt = ns.text_prompt(TEXTS[0], model, text_model)
    stored = ns.load_model("sampath-tiny", "cpu", tuned, Store.from_config(load_config()))
    expected = stored.predict(stored.encode(image.pixels), text=prompt)
    np.testing.assert_array_equal(tifffile.imread(mask) > 0, expected.masks[expected.best])
    other = save_small_clip(tmp_path / "other")
    assert main([*words, "--text-model", str(other)]) == 1
    assert "were trained with the text model" in capsys.readouterr().err.strip().splitlines()[-1]

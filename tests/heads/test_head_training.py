"""Training of heads that read the image or SAM's decoder, from a dataset to a segmented image; wrapped encoders."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from napari_sampath.arrays import IMAGE, FeatureMap, FeatureSpec
from napari_sampath.encoders import EncoderParts, registry
from napari_sampath.encoders.wrappers.aliased import AliasedEncoder
from napari_sampath.encoders.wrappers.double_norm import DoubleNormEncoder
from napari_sampath.encoders.wrappers.min_max import MinMaxEncoder
from napari_sampath.encoders.wrappers.pair import PairEncoder
from napari_sampath.errors import DatasetError, UnknownNameError
from napari_sampath.geometry import Frame, whole
from napari_sampath.heads import load_head
from napari_sampath.jobs import run
from napari_sampath.predict import Model, segment
from napari_sampath.predict.segmentation import tile_probabilities
from napari_sampath.store import MemoryTier, Store
from napari_sampath.training import TrainingConfig, open_dataset, train
from napari_sampath.training.heads.tiles import TileSet
from support.disc_folder import write_folder
from support.models.patches import INFO, PatchEncoder, disc_image, patch_model
from support.models.wide_encoder import WideEncoder, promptable

ONE_STEP = TrainingConfig(epochs=1, batch_size=1, max_images=1, max_validation_images=1, learning_rate=1e-3)


@pytest.fixture
def discs(tmp_path):
    return open_dataset(write_folder(tmp_path / "discs", count=4, groups=4))


@pytest.mark.parametrize("kind", ["sampath", "autosam", "prompt_generator", "surrogate", "unet", "instance"])
def test_trained_head_segments_an_image(kind, discs, tmp_path):
    model = promptable()
    path = train(discs, kind, ONE_STEP, model, tmp_path / "h.safetensors")
    loaded = load_head(path)
    assert loaded.head.kind == kind
    pixels, _ = disc_image(5)
    found = segment(pixels, path, model)
    assert found.labels.shape == pixels.shape[:2]
    features = model.read(pixels, whole((96, 96)), loaded.head.spec)
    expected, _ = tile_probabilities(loaded.head, features)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-3)
    assert (found.depth is not None) == loaded.head.predicts_depth
    if kind in ("sampath", "autosam", "prompt_generator"):
        frozen = model.decoder.state_dict()["mask_decoder.mask_tokens.weight"]
        own = loaded.head.decoder.mask_tokens.weight
        assert torch.equal(own, frozen.half().float()) is (kind == "prompt_generator")


def test_heads_that_read_the_image_run_no_encoder(discs):
    model = promptable()
    spec = FeatureSpec((FeatureMap(IMAGE, 3, INFO.name),))
    maps = model.read(disc_image(1)[0], whole((96, 96)), spec).maps
    assert maps[IMAGE].shape == (3, 1024, 1024)
    assert model.encoder.passes == 0


def test_forest_segments_discs(discs, tmp_path):
    model = patch_model()
    config = dataclasses.replace(ONE_STEP, max_images=0, head_arguments={"trees": 10}, half=True)
    path = train(discs, "forest", config, model, tmp_path / "forest.safetensors")
    again = train(discs, "forest", config, model, tmp_path / "again" / "forest.safetensors")
    assert path.read_bytes() == again.read_bytes()
    pixels, labels = disc_image(77)
    found = segment(pixels, path, model).labels
    assert (found & labels).sum() / (found | labels).sum() > 0.7


def test_prompt_generator_requires_a_prompt_decoder(discs, tmp_path):
    model = Model(EncoderParts(WideEncoder()), torch.device("cpu"), Store(MemoryTier(2**26)))
    with pytest.raises(DatasetError, match="does not have"):
        train(discs, "prompt_generator", ONE_STEP, model, tmp_path / "h.safetensors")


def test_windows_of_the_image_match_those_of_the_maps(discs):
    """The maps of the encoder follow from the mean colours of the image patches."""
    model = patch_model()
    tiles = TileSet(discs, model, model.store)
    run(tiles.add_job(discs.samples[:2], "dihedral", ""))
    names = ["embedding", IMAGE]
    maps, targets = tiles.batch(tiles.tiles[3:7], names, np.random.default_rng(4), 16)
    assert maps[IMAGE].shape == (4, 3, 256, 256)
    assert targets.shape == (4, 64, 64)
    with torch.no_grad():
        expected = model.encoder(maps[IMAGE])["embedding"]
    torch.testing.assert_close(maps["embedding"], expected, atol=0.02, rtol=0.02)


class TestPairs:
    def test_second_sees_its_own_normalisation(self):
        """Both encoders of a pair give the same maps as alone, outside the padding."""
        second = PatchEncoder(seed=3)
        second.pixel_mean, second.pixel_std = second.pixel_mean + 7, second.pixel_std * 2
        second.info = dataclasses.replace(INFO, name="other")
        first = WideEncoder()
        pair = PairEncoder(first, second)
        assert [m.name for m in pair.spec.maps] == ["embedding", "tokens", "other.embedding"]
        pixels, frame = disc_image(2)[0], Frame(0, 0, 96, 96)
        alone = second(second.preprocess(pixels, frame)[None])["embedding"]
        maps = pair(pair.preprocess(pixels, frame)[None])
        torch.testing.assert_close(maps["other.embedding"], alone, atol=1e-4, rtol=1e-4)
        assert torch.equal(maps["tokens"], first(first.preprocess(pixels, frame)[None])["tokens"])

    def test_another_second_is_another_digest(self):
        digests = {PairEncoder(WideEncoder(), PatchEncoder(seed)).weights_digest for seed in (1, 2)}
        assert len(digests) == 2

    def test_names(self):
        info = registry["vit_b+hipt-s16"].info
        assert (info.name, info.promptable) == ("vit_b+hipt-s16", True)
        assert "Commons Clause" in info.licence
        with pytest.raises(UnknownNameError, match="hipt-s16"):
            registry["vit_b+hipt-s17"]


def test_min_max_encoder_is_registered():
    info = registry["minmax01:vit_b"].info
    assert (info.name, info.promptable) == ("minmax01:vit_b", True)
    encoder = MinMaxEncoder(WideEncoder())
    assert {one.encoder for one in encoder.spec.maps} == {f"minmax01:{INFO.name}"}
    image = (disc_image(2)[0] // 4 + 30)[:, :60]
    image[40, 20], image[41, 21] = 7, 240
    frame = whole((96, 60))
    pixels = encoder.preprocess(image, frame)
    assert pixels.shape == (3, 1024, 1024)
    assert (pixels[:, :, 640:] == 0).all()
    seen = torch.nn.functional.interpolate(pixels[None, :, :, :640], (96, 60), mode="area")[0]
    expected = (image.astype(np.float32) - 7) / 233
    assert np.abs(seen.permute(1, 2, 0).numpy() - expected).mean() < 0.02
    assert encoder.preprocess(np.full((9, 9, 3), 80, np.uint8), whole((9, 9))).abs().max() == 0
    direct, model = promptable(), promptable(encoder)
    maps = [one.encode(image, frame).maps["embedding"] for one in (direct, model)]
    assert not torch.allclose(*maps)


def test_aliased_encoder_is_registered():
    """Alone and first of a pair; without resizing it equals the inner encoder."""
    assert registry["aliased:vit_b"].info.name == "aliased:vit_b"
    pair = registry["aliased:vit_b+hipt-s16"].info
    assert (pair.name, pair.promptable) == ("aliased:vit_b+hipt-s16", True)
    with pytest.raises(UnknownNameError, match="a pair preprocesses the pixels once for both"):
        registry["minmax01:vit_b+hipt-s16"]
    plain, encoder = WideEncoder(), AliasedEncoder(WideEncoder())
    noise = np.random.default_rng(0).integers(0, 255, (96, 60, 3), np.uint8)
    same = Frame(0, 0, 96, 60, 96)
    torch.testing.assert_close(encoder.preprocess(noise, same), plain.preprocess(noise, same))
    half = Frame(0, 0, 96, 60, 48)
    seen = encoder.preprocess(noise, half)
    assert seen.shape == (3, 48, 48)
    # Without antialiasing, halving averages four pixels; with it, more pixels, which reduces noise.
    mean = noise.reshape(48, 2, 30, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    expected = (torch.as_tensor(mean, dtype=torch.float32) - encoder.pixel_mean) / encoder.pixel_std
    torch.testing.assert_close(seen[:, :, :30], expected, atol=1e-4, rtol=1e-4)
    assert seen[:, :, :30].std() > 1.1 * plain.preprocess(noise, half)[:, :, :30].std()
    assert (seen[:, :, 30:] == 0).all()


def test_double_norm_encoder_is_registered():
    assert registry["double-norm:vit_h"].info.name == "double-norm:vit_h"
    model = promptable(DoubleNormEncoder(WideEncoder()))
    pixels, frame = disc_image(2)[0], whole((96, 96))
    contrasts = [
        one.encode(pixels, frame).maps["embedding"].std(dim=(1, 2)).mean() for one in (promptable(), model)
    ]
    assert contrasts[0] > 10 * contrasts[1]

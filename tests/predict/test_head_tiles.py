"""Tiles on which heads run: as large as the images that the head was trained on, in pixels or in micrometres."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_sampath.errors import ConfigError
from napari_sampath.heads import LoadedHead, list_bundles, load_head, save_bundle
from napari_sampath.predict import segment
from napari_sampath.predict.head_tiles import head_tile_px, head_tiles, trained_tile_px
from predict.test_segmentation import make_head
from support.models.patches import disc_image, patch_model


def trained_on(data: Any, mpp: float | None = None) -> LoadedHead:
    head = make_head()
    return LoadedHead(head.head, replace(head.metadata, data=data, mpp=mpp), head.source)


@pytest.mark.parametrize("name", list_bundles())
def test_shipped_heads_know_the_size_of_their_training_images(name: str) -> None:
    expected = 224 if name.startswith("gland") else 680
    assert trained_tile_px(load_head(name)) == expected


@pytest.mark.parametrize("data", [{}, {"tile_px": "wide"}, {"tile_px": 0}, {"tile_px": None, "name": 3}])
def test_a_head_without_a_valid_size_runs_on_tiles_of_1024_px(data: Any) -> None:
    assert trained_tile_px(trained_on(data)) == 1024


def test_the_size_is_kept_in_the_bundle(tmp_path: Any) -> None:
    head = trained_on({"tile_px": 300})
    save_bundle(tmp_path / "head.safetensors", head.head, head.metadata)
    assert trained_tile_px(load_head(tmp_path / "head.safetensors")) == 300


@pytest.mark.parametrize(
    ("trained_mpp", "mpp", "expected"),
    [(0.5, 0.25, 600), (0.25, 0.5, 150), (None, 0.25, 300), (0.5, None, 300), (0.5, 20.0, 128)],
)
def test_tiles_show_as_much_tissue_as_in_training(
    trained_mpp: float | None, mpp: float | None, expected: int
) -> None:
    assert head_tile_px(trained_on({"tile_px": 300}, trained_mpp), mpp) == expected


def test_the_user_chooses_the_size() -> None:
    head = trained_on({"tile_px": 300}, 0.5)
    assert head_tile_px(head, 0.5, tile_px=700) == 700
    assert head_tile_px(head, None, magnification=2) == 600
    for side in (0, 127, 4097):
        with pytest.raises(
            ConfigError, match=rf"The tile side is {side} px; give a number from 128 to 4096\."
        ):
            segment(np.zeros((64, 64, 3), np.uint8), head, patch_model(), tile_px=side)


def test_only_images_that_are_larger_than_in_training_are_tiled() -> None:
    assert len(head_tiles((224, 224), 224)) == len(head_tiles((300, 336), 224)) == 1
    frames = head_tiles((896, 896), 224)
    assert {frame.hw for frame in frames} == {(224, 224)}
    covered = np.zeros((896, 896), bool)
    for frame in frames:
        covered[frame.top : frame.top + 224, frame.left : frame.left + 224] = True
    assert covered.all()


def test_a_mosaic_of_training_sized_images_is_segmented_like_these() -> None:
    """Away from its borders, each piece has the classes that it has alone, as the tiles fall on the pieces."""
    model, head = patch_model(), trained_on({"tile_px": 256})
    pieces = [disc_image(seed, (256, 256))[0] for seed in range(4)]
    mosaic = np.block([[[pieces[0]], [pieces[1]]], [[pieces[2]], [pieces[3]]]])
    assert mosaic.shape == (512, 512, 3)
    result = segment(mosaic, head, model)
    assert result.tile_px == 256
    whole = segment(mosaic, head, model, tile_px=512)
    assert whole.tile_px == 512
    for number, piece in enumerate(pieces):
        alone = segment(piece, head, model)
        place = np.s_[256 * (number // 2) :, 256 * (number % 2) :]
        # The corners of the mosaic are covered by one tile each, which is the piece.
        corner = np.s_[:60, :60] if number == 0 else np.s_[196:, 196:] if number == 3 else None
        if corner is not None:
            assert np.array_equal(result.labels[place][:256, :256][corner], alone.labels[corner])


def test_separated_objects_use_the_scale_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """`segment_instances` runs the head on the same tiles as `segment`."""
    from napari_sampath.predict.instances import instances

    sides: list[int] = []

    def separate(segmentation: Any, *_: Any) -> Any:
        sides.append(segmentation.tile_px)
        return []
        yield

    monkeypatch.setattr(instances, "check_promptable", lambda _: None)
    monkeypatch.setattr(instances, "separate_touching_job", separate)
    head, image = trained_on({"tile_px": 150}, 0.5), disc_image(1, (500, 500))[0]
    for choice in ({}, {"mpp": 0.25}, {"tile_px": 200}):
        instances.segment_instances(image, head, patch_model(), **choice)
        assert sides[-1] == segment(image, head, patch_model(), **choice).tile_px
    assert sides == [150, 300, 200]

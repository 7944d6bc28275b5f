"""Warning that an image is unlike the training images of a head: scale, stain and tissue, before and after the run."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from napari_sampath.arrays import IMAGE, ClassInfo
from napari_sampath.cli import main
from napari_sampath.heads import LoadedHead, list_bundles, load_head
from napari_sampath.jobs import run
from napari_sampath.predict import load_model
from napari_sampath.predict.foreign.compare import Comparison, check_image
from napari_sampath.predict.foreign.describe import colours, mean_octave, texture
from napari_sampath.predict.foreign.statistics import (
    KEY,
    TrainingStatistics,
    make_statistics,
    statistics_of,
    with_limits,
)
from napari_sampath.store import MemoryTier, Store
from napari_sampath.training.data.dataset import Dataset, Item, Sample
from napari_sampath.training.data.stain import shift_colours
from napari_sampath.training.heads.tile_statistics import tile_statistics
from napari_sampath.training.heads.tiles import TileSet

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 96
LABELS = np.zeros((SIDE, SIDE), np.uint8)


def tissue(seed: int, scale: float = 1.0) -> np.ndarray:
    """Purple blobs on pink, their size in proportion to `scale`."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 3.0 * scale)
    blobs = (noise > noise.std() * 0.5)[..., None]
    pixels = np.where(blobs, (120, 60, 140), (225, 150, 190)) + rng.normal(0, 6, (SIDE, SIDE, 3))
    return (pixels + rng.normal(0, 4, 3)).clip(0, 255).astype(np.uint8)


@cache
def statistics() -> TrainingStatistics:
    images = [tissue(seed) for seed in range(60)]
    groups = [f"slide {number // 3}" for number in range(60)]
    made = make_statistics([colours(i) for i in images], [texture(i) for i in images], groups)
    assert made is not None
    return made


def sentence(*images: np.ndarray) -> str:
    comparison = Comparison("a head", statistics(), "embedding")
    for image in images:
        comparison.add(image)
    return comparison.sentence


def test_images_like_the_training_images_give_no_warning_and_others_do() -> None:
    assert sum(bool(sentence(tissue(seed))) for seed in range(100, 120)) <= 2
    enlarged = np.array(
        Image.fromarray(tissue(200)[:48, :48]).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    )
    assert "structures are" in sentence(enlarged)
    assert mean_octave(texture(enlarged)) > mean_octave(texture(tissue(200)))
    assert "structures are smaller" in sentence(tissue(200, 0.4))
    assert "the stain" in sentence(shift_colours(tissue(200), 1.3))
    assert sentence(np.full((SIDE, SIDE, 3), 250, np.uint8)) == "", "no tissue"
    assert sentence() == ""
    assert sentence(tissue(201), tissue(202), enlarged) == "", "most tiles are alike"


def test_too_few_tiles_or_slides_give_no_statistics() -> None:
    described = [colours(tissue(0))] * 40
    textures = [texture(tissue(0))] * 40
    assert make_statistics(described[:5], textures[:5], list("abcde")) is None
    assert make_statistics(described, textures, ["one slide"] * 40) is None


@pytest.mark.parametrize(("count", "most"), [(14, 0.25), (300, 0.09)])
def test_few_samples_of_the_same_distribution_exceed_any_limit(count: int, most: float) -> None:
    rng = np.random.default_rng(0)
    mixings = [rng.normal(size=(5, size)) for size in (40, 8, 6)]
    groups = [str(n % 10) for n in range(count)]
    values, others = ([rng.normal(size=(n, 5)) @ mixing for mixing in mixings] for n in (count, 400))
    limited = with_limits(values, groups, 0.05)
    beyond = [
        [normal.distance(value) > normal.limit for value in kind]
        for normal, kind in zip(limited, others, strict=True)
    ]
    assert np.any(beyond, axis=0).mean() <= most
    for normal, kind in zip(limited, values, strict=True):
        assert normal.distance(kind.mean(axis=0)) < 0.1
        assert normal.distance(kind.mean(axis=0) + 50) > normal.limit


def with_statistics(content: object) -> LoadedHead:
    head = load_head("gland-cnn")
    return replace(head, metadata=replace(head.metadata, data={KEY: content}))


def test_statistics_are_stored_in_bundles_or_beside_shipped_ones() -> None:
    stored = json.loads(json.dumps(statistics().to_json()))
    assert statistics_of(with_statistics(stored)) == statistics()
    for name in list_bundles():
        shipped = statistics_of(load_head(name))
        assert shipped is not None
        assert shipped.tiles >= 60
        assert shipped.features is not None


@pytest.mark.parametrize(
    "content",
    [None, {}, 3, {"schema": 9}, {"colours": "red"}, "complete"],
    ids=["none", "empty", "a number", "newer", "damaged", "newer and complete"],
)
def test_bundles_without_usable_statistics_say_nothing(content: object) -> None:
    if content == "complete":
        content = statistics().to_json() | {"schema": 2}
    head = with_statistics(content)
    assert statistics_of(head) is None
    assert check_image(tissue(0), head) == ""
    short = statistics().to_json()
    short["texture"]["axes"][0].pop()
    assert statistics_of(with_statistics(short)) is None
    for name in ("colours", "texture"):
        other = statistics().to_json()
        for values in (other[name]["mean"], *other[name]["axes"]):
            values.pop()
        without = statistics().to_json()
        without[name] |= {"axes": [], "variances": []}
        assert statistics_of(with_statistics(other)) is None
        assert statistics_of(with_statistics(without)) is None


def test_training_tiles_are_described() -> None:
    images = [tissue(seed) for seed in range(14)]
    samples = tuple(
        Sample(
            str(n), None, None, f"slide {n // 2}", "train", load=lambda s: Item(images[int(s.name)], LABELS)
        )  # type: ignore[arg-type]
        for n in range(14)
    )
    dataset = Dataset("set", samples, (ClassInfo(0, "background", (0, 0, 0)),), {0: 0})
    tiles = TileSet(
        dataset, load_model("sampath-tiny", device="cpu"), Store(MemoryTier(2**20), None), encodes=False
    )
    run(tiles.add_job(samples, "none", "Reading"))
    made = tile_statistics(tiles, IMAGE)
    assert made is not None
    assert made.tiles == 14
    assert made.features is None
    assert made.colours.mean == pytest.approx(np.mean([colours(i) for i in images], axis=0), rel=1e-3)


def test_segment_warns_before_and_after_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 120, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    words = [
        "segment",
        str(tmp_path / "noise.png"),
        "--head",
        "gland-cnn",
        "-o",
        str(tmp_path / "labels.png"),
    ]
    assert main([*words, "--json", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    warning = json.loads(captured.out)["warning"]
    assert warning.startswith("'gland-cnn' was trained on images unlike this one: ")
    assert captured.err.startswith("sampath: 'gland-cnn' was trained on images unlike this one"), (
        "before the run"
    )

"""Find similar: from one nucleus to the others, on the shipped model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import napari_sampath as ns
from napari_sampath.arrays import LocalMask
from napari_sampath.cli import main
from napari_sampath.errors import ConfigError, PromptError
from napari_sampath.geometry import whole
from napari_sampath.jobs import run
from napari_sampath.predict.similar.find_similar import (
    find_similar_job,
    measure_exemplars_job,
    own_parts,
    search_tiles,
)
from napari_sampath.predict.similar.settings import GLANDS, NUCLEI, SimilarSettings
from napari_sampath.predict.similar.shipped_heads import ShippedHeads
from napari_sampath.predict.similar.windows import decode_points, window_side

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sampath.predict import Model
    from napari_sampath.predict.similar.selection import SimilarResult

HW = (256, 256)
CENTRES = [(row, col) for row in (40, 100, 160, 220) for col in (40, 100, 160, 220)]
RADIUS = 14
GLAND_CENTRES = [(row, col) for row in (64, 192) for col in (64, 192)]
AREA = np.pi * RADIUS**2
"""Area of a nucleus in pixels of the image, and of the logits, which are as large as the image."""


def nucleus(number: int) -> LocalMask:
    return disc(*CENTRES[number], RADIUS)


def gland(number: int) -> LocalMask:
    return disc(*GLAND_CENTRES[number], 42)


def disc(row: int, col: int, radius: int) -> LocalMask:
    rows, cols = np.mgrid[: HW[0], : HW[1]]
    return LocalMask.from_dense((rows - row) ** 2 + (cols - col) ** 2 <= radius**2)


def tissue() -> np.ndarray:
    """Purple nuclei on pink tissue, with noise."""
    rng = np.random.default_rng(0)
    image = np.full((*HW, 3), (225, 170, 205), np.float64)
    for number in range(len(CENTRES)):
        image[nucleus(number).to_dense(HW)] = (95, 60, 140)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def gland_tissue() -> np.ndarray:
    """Glands on pink tissue: a pale lumen in a ring of purple nuclei, with noise."""
    rng = np.random.default_rng(0)
    image = np.full((*HW, 3), (225, 150, 195), np.float64)
    for row, col in GLAND_CENTRES:
        for radius, colour in (
            (42, (200, 130, 185)),
            (38, (120, 70, 150)),
            (30, (185, 130, 185)),
            (12, (240, 232, 240)),
        ):
            image[disc(row, col, radius).to_dense(HW)] = colour
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> Model:
    return ns.load_model("sampath-tiny", device="cpu")


@pytest.fixture(scope="module")
def result(model: Model) -> SimilarResult:
    features = {}

    def tile(frame: object) -> object:
        return features.setdefault(frame, model.encode(tissue(), frame))

    return run(find_similar_job(HW, [nucleus(5)], model, tile))


def matches(found: list[LocalMask]) -> set[int]:
    numbers = set()
    for mask in found:
        dense = mask.to_dense(HW)
        for number in range(len(CENTRES)):
            other = nucleus(number).to_dense(HW)
            if (dense & other).sum() / (dense | other).sum() > 0.5:
                numbers.add(number)
    return numbers


def test_one_nucleus_finds_the_others(result: SimilarResult) -> None:
    found = [obj.mask for obj in result.select()]
    assert len(matches(found)) >= 12
    assert len(found) <= 17, "no object twice, and no background"
    assert 5 not in matches(found), "the exemplar is not found again"


def test_a_higher_threshold_keeps_fewer_objects_without_a_new_search(result: SimilarResult) -> None:
    counts = [len(result.select(SimilarSettings(min_similarity=value / 10))) for value in (2, 6, 10)]
    assert counts == sorted(counts, reverse=True)
    assert all(obj.similarity >= 0.6 for obj in result.select(SimilarSettings(min_similarity=0.6)))


def test_objects_do_not_overlap_and_have_the_size_of_the_exemplar(result: SimilarResult) -> None:
    settings = SimilarSettings(max_overlap=0.0)
    used = nucleus(5).to_dense(HW)
    for obj in result.select(settings):
        mask = obj.mask.to_dense(HW)
        assert not (used & mask).any()
        used |= mask
        assert 0.1 <= obj.mask.area_px / result.area_px <= 10


def test_a_rejected_object_lowers_the_similarity_of_those_like_it(result: SimilarResult) -> None:
    # An object with the exact feature of another one is rejected: the other must fall below the rest.
    first, *others = result.select()
    lowered = result.rejecting([first])
    after = {id(obj.mask): obj.similarity for obj in lowered.candidates}
    assert after[id(first.mask)] < first.similarity
    assert all(after[id(obj.mask)] <= obj.similarity + 1e-6 for obj in others)


def test_only_the_searched_part_is_searched(model: Model) -> None:
    features = model.encode(tissue(), whole(HW))
    found = ns.find_similar(tissue(), [nucleus(5)], model, within=(128, 0, 256, 256))
    assert features.frame.hw == HW
    assert matches([obj.mask for obj in found]) <= set(range(8, 16))
    assert found


def test_windows_answer_like_the_whole_tile(model: Model) -> None:
    features = model.encode(tissue(), whole(HW))
    points = np.array([[col * 4.0, row * 4.0] for row, col in CENTRES])
    side = window_side(model.decoder, 2 * RADIUS * 4)
    assert window_side(model.decoder, 40) < side < 64
    embedding = features.maps["embedding"]
    answers = [
        answer for batch in decode_points(model.decoder, embedding, points, side, AREA) for answer in batch
    ]
    complete = [
        answer for batch in decode_points(model.decoder, embedding, points, 64, AREA) for answer in batch
    ]
    shares = []
    for answer, reference in zip(answers, complete, strict=True):
        (row, col), size = answer.origin_rc, len(answer.logits)
        window = np.zeros((256, 256), dtype=bool)
        window[row : row + size, col : col + size] = answer.logits > 0
        whole_mask = reference.logits > 0
        shares.append((window & whole_mask).sum() / (window | whole_mask).sum())
    assert np.mean(shares) > 0.7


@pytest.mark.parametrize("hw", [(256, 256), (900, 3000), (2000, 2000), (40, 700)])
@pytest.mark.parametrize("diameter", [8, 60, 700])
def test_each_pixel_is_searched_once(hw: tuple[int, int], diameter: int) -> None:
    frames = search_tiles(hw, diameter, diameter < 30)
    count = np.zeros(hw, dtype=int)
    for frame, (r0, c0, r1, c1) in zip(frames, own_parts(frames, hw), strict=True):
        count[r0:r1, c0:c1] += 1
        assert frame.top <= r0
        assert r1 <= frame.top + frame.height
        assert frame.left <= c0
        assert c1 <= frame.left + frame.width
    assert (count == 1).all()


def test_small_exemplars_are_searched_on_high_resolution_tiles(model: Model) -> None:
    assert [frame.height for frame in search_tiles((1024, 1024), 20, True)] == [525] * 4
    assert search_tiles((4000, 4000), 20, True)[0].height == 512
    assert search_tiles((1024, 1024), 200, False)[0].height == 1024
    image = np.tile(tissue(), (2, 2, 1))
    for radius, high_resolution in ((14, True), (40, False)):
        exemplar = disc(100, 100, radius)
        measured = run(measure_exemplars_job((512, 512), [exemplar], partial(model.encode, image)))
        assert measured.high_resolution == high_resolution


def test_nuclei_of_the_head_are_the_candidates_for_a_nucleus(model: Model) -> None:
    image = np.tile(tissue(), (2, 2, 1))
    heads, tile = ShippedHeads(model, image), partial(model.encode, image)
    nuclei = heads.on_tile(NUCLEI, tile(whole((512, 512))))
    assert all(0.5 <= found.probability <= 1 for found in nuclei)
    searched = run(
        find_similar_job((512, 512), [nucleus(5)], model, tile, within=(0, 0, 256, 256), heads=heads)
    )
    assert {id(obj.mask) for obj in searched.candidates} <= {id(found.mask) for found in nuclei}
    assert len(matches([obj.mask for obj in searched.candidates])) >= 12
    # A threshold still chooses by similarity, and a rejected nucleus still lowers the similarity of the others.
    first = searched.select()[0]
    assert not searched.select(SimilarSettings(min_similarity=1)) or first.similarity >= 1
    lowered = {id(obj.mask): obj.similarity for obj in searched.rejecting([first]).candidates}
    assert lowered[id(first.mask)] < first.similarity


@pytest.mark.parametrize(("row", "radius"), [(70, 14), (128, 60)], ids=["tissue", "large"])
def test_no_head_is_used_for_other_objects(model: Model, row: int, radius: int) -> None:
    image = np.tile(tissue(), (2, 2, 1))
    heads, tile = ShippedHeads(model, image), partial(model.encode, image)
    exemplar = disc(row, 70, radius)
    assert run(measure_exemplars_job((512, 512), [exemplar], tile, heads=heads)).head is None
    assert run(measure_exemplars_job((512, 512), [nucleus(5)], tile, heads=heads)).head == NUCLEI


def test_glands_of_the_head_are_the_candidates_for_a_gland(model: Model) -> None:
    image = gland_tissue()
    heads, tile = ShippedHeads(model, image), partial(model.encode, image)
    result = run(find_similar_job(HW, [gland(0)], model, tile, heads=heads))
    glands = heads.on_tile(GLANDS, tile(whole(HW)))
    assert {id(obj.mask) for obj in result.candidates} <= {id(found.mask) for found in glands}
    found = np.any([obj.mask.to_dense(HW) for obj in result.select()], axis=0)
    for number in range(1, len(GLAND_CENTRES)):
        other = gland(number).to_dense(HW)
        assert (found & other).sum() > 0.5 * other.sum(), f"gland {number} is found"
    # Half of a gland and the tissue between glands are not glands of the head.
    half = gland(0).to_dense(HW)
    half[GLAND_CENTRES[0][0] - 5 :] = False
    between = disc(128, 128, 20)
    for exemplar in (LocalMask.from_dense(half), between):
        assert run(measure_exemplars_job(HW, [exemplar], tile, heads=heads)).head is None


def test_an_exemplar_that_the_head_for_nuclei_finds_better_is_no_gland(model: Model) -> None:
    # Both heads find the large nuclei of an enlarged image.
    large = np.asarray(Image.fromarray(tissue()[:128, :128]).resize(HW))
    heads, tile = ShippedHeads(model, large), partial(model.encode, large)
    features = tile(whole(HW))
    found = heads.on_tile(NUCLEI, features)[0].mask
    assert heads.finds(replace(GLANDS, rival=None), found, features)
    assert run(measure_exemplars_job(HW, [found], tile, heads=heads)).head is None
    found = heads.on_tile(GLANDS, features)[0].mask
    assert run(measure_exemplars_job(HW, [found], tile, heads=heads)).head == GLANDS


def test_a_model_that_the_head_was_not_trained_on_gets_no_objects(model: Model) -> None:
    features = model.encode(tissue(), whole(HW))
    other = ns.load_model("sampath-tiny", device="cpu")
    other.encoder.weights_digest = "other"
    assert ShippedHeads(other, tissue()).on_tile(NUCLEI, features) == []
    assert ShippedHeads(model, tissue()).on_tile(NUCLEI, features)


def test_errors_say_what_to_do(model: Model) -> None:
    with pytest.raises(PromptError, match="no exemplar"):
        ns.find_similar(tissue(), [], model)
    with pytest.raises(PromptError, match="empty"):
        ns.find_similar(tissue(), [np.zeros(HW, dtype=bool)], model)
    with pytest.raises(PromptError, match="image's size"):
        ns.find_similar(tissue(), [np.ones((3, 3), dtype=bool)], model)
    with pytest.raises(PromptError, match="outside the image"):
        ns.find_similar(tissue(), [replace(nucleus(5), row=250)], model)
    with pytest.raises(ConfigError, match="min_size"):
        SimilarSettings(min_size=2, max_size=1)


def test_the_command_writes_an_instance_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(tissue()).save(tmp_path / "tissue.png")
    row, col = CENTRES[5]
    target = tmp_path / "similar.png"
    command = ["similar", str(tmp_path / "tissue.png"), "--object", f"{col},{row}", "-o", str(target)]
    assert main([*command, "--quiet"]) == 0
    ids = np.asarray(Image.open(target))
    assert ids[row, col] == 1, "the given object comes first"
    assert len(np.unique(ids)) > 10
    assert "similar object" in capsys.readouterr().out


def test_the_command_refuses_a_place_outside_the_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(tissue()).save(tmp_path / "tissue.png")
    command = ["similar", str(tmp_path / "tissue.png"), "--object", "999,5", "-o", str(tmp_path / "x.png")]
    assert main(command) == 1
    assert "outside the image" in capsys.readouterr().err

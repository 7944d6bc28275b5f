"""Objects are classified by the similarity of their crops to texts."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_sampath as ns
from napari_sampath.arrays import LocalMask
from napari_sampath.errors import ConfigError, PromptError
from napari_sampath.jobs import run
from napari_sampath.predict.text.classify import classify_by_text_job
from napari_sampath.predict.text.crops import MAX_SIDE_PX, crop_object
from napari_sampath.predict.text.settings import TextSettings
from support.models.small_clip import save_small_clip
from support.models.small_vits import one_sentence

if TYPE_CHECKING:
    from napari_sampath.encoders.text.text_model import TextModel

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
PROMPTS = {"nucleus": "a dark nucleus", "fat": ["adipose tissue", "a fat vacuole"], "gland": "a gland"}
PLACES = list(product(range(4, 100, 24), range(4, 148, 24)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return ns.load_text_model(str(save_small_clip(tmp_path_factory.mktemp("clip"))), device="cpu")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Return an image whose squares of 16 px have different colours and textures."""
    rng = np.random.default_rng(0)
    pixels = np.full((110, 160, 3), 230, dtype=np.uint8)
    for row, col in PLACES:
        noise = rng.normal(0, rng.uniform(0, 60), (16, 16, 3))
        pixels[row : row + 16, col : col + 16] = np.clip(rng.integers(0, 256, 3) + noise, 0, 255)
    return pixels


def squares() -> list[LocalMask]:
    return [LocalMask(row, col, np.ones((16, 16), dtype=bool)) for row, col in PLACES]


def test_class_and_score_follow_the_similarity_of_crop_and_texts(model: TextModel, image: np.ndarray) -> None:
    """Compare with the formulas of CLIP, computed here from crops that are cut out here."""
    settings = TextSettings(margin=0.5, min_crop_px=8, templates=("an image of {}", "{}"))
    found = ns.classify_by_text(image, squares(), PROMPTS, model, ["empty glass"], settings)
    crops = [
        np.pad(image, ((9, 9), (9, 9), (0, 0)), "edge")[r + 5 : r + 29, c + 5 : c + 29] for r, c in PLACES
    ]
    texts = [["a dark nucleus"], ["adipose tissue", "a fat vacuole"], ["a gland"], ["empty glass"]]
    means = [
        model.embed_texts([words for t in group for words in (f"an image of {t}", t)]).mean(0)
        for group in texts
    ]
    directions = np.stack([mean / np.linalg.norm(mean) for mean in means])
    cosines = np.stack([model.embed_images([crop])[0] for crop in crops]) @ directions.T
    shares = np.exp(model.scale * cosines)
    shares /= shares.sum(axis=1, keepdims=True)
    names = ["nucleus", "fat", "gland", None]
    assert [match.name for match in found] == [names[column] for column in cosines.argmax(axis=1)]
    np.testing.assert_allclose([match.similarity for match in found], cosines.max(axis=1), atol=1e-5)
    np.testing.assert_allclose([match.score for match in found], shares.max(axis=1), atol=1e-4)
    assert len({match.name for match in found}) > 1
    ranked = sorted(range(len(found)), key=lambda n: -found[n].similarity)
    assert ranked == np.argsort(-cosines.max(axis=1), kind="stable").tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batch_size_does_not_matter(model: TextModel, image: np.ndarray, batch_size: int) -> None:
    masks = squares()
    expected = ns.classify_by_text(image, masks, PROMPTS, model)
    found = ns.classify_by_text(image, masks, PROMPTS, model, settings=TextSettings(batch_size=batch_size))
    assert [match.name for match in found] == [match.name for match in expected]
    np.testing.assert_allclose(
        [match.similarity for match in found], [match.similarity for match in expected], atol=1e-5
    )


def test_one_class_scores_by_similarity_and_masks_may_be_arrays(model: TextModel, image: np.ndarray) -> None:
    masks = np.zeros((3, *image.shape[:2]), dtype=bool)
    for mask, (row, col) in zip(masks, PLACES, strict=False):
        mask[row : row + 16, col : col + 16] = True
    found = ns.classify_by_text(image, list(masks), {"nucleus": "a nucleus"}, model)
    again = ns.classify_by_text(image, squares()[:3], {"nucleus": "a nucleus"}, model)
    assert found == again
    assert [match.score for match in found] == [max(0.0, match.similarity) for match in found]


def test_job_reports_batches_and_can_be_cancelled(model: TextModel, image: np.ndarray) -> None:
    settings = TextSettings(batch_size=10)
    job = classify_by_text_job(image, squares(), PROMPTS, model, settings=settings)
    assert [progress.done for progress in job] == [0, 10, 20, 24]
    job = classify_by_text_job(image, squares(), PROMPTS, model, settings=settings)
    next(job)
    job.close()
    assert run(classify_by_text_job(image, [], PROMPTS, model)) == []


@pytest.mark.parametrize(("row", "col"), [(40, 60), (0, 0), (94, 150), (0, 150)])
@pytest.mark.parametrize("outside", ["keep", "grey", "blur"])
def test_crops_are_square_and_keep_the_object(image: np.ndarray, row: int, col: int, outside: str) -> None:
    height, width = 16, 10
    bitmap = np.ones((height, width), dtype=bool)
    bitmap[:4, :4] = False
    mask = LocalMask(row, col, bitmap)
    crop = crop_object(image, mask, TextSettings(margin=1.0, min_crop_px=8, outside=outside))
    assert crop.shape == (32, 32, 3)
    inside = mask.window((row - 8, col - 11, row + 24, col + 21))
    assert inside.sum() == bitmap.sum()
    np.testing.assert_array_equal(crop[inside], image[row : row + height, col : col + width][bitmap])
    padded = np.pad(image, ((40, 40), (40, 40), (0, 0)), "edge")
    original = padded[row + 32 : row + 64, col + 29 : col + 61][~inside]
    if outside == "keep":
        np.testing.assert_array_equal(crop[~inside], original)
    elif outside == "grey":
        assert (crop[~inside] == 128).all()
    else:
        assert (crop[~inside] != original).any()


def test_large_objects_are_read_with_a_step_and_masks_may_be_coarse() -> None:
    pixels = np.arange(3000 * 2200 * 3, dtype=np.uint32).astype(np.uint8).reshape(3000, 2200, 3)
    mask = LocalMask(0, 0, np.ones((750, 560), dtype=bool), step=4)  # reaches beyond the image on the right
    crop = crop_object(pixels, mask, TextSettings(margin=0, outside="grey"))
    assert crop.shape[0] == crop.shape[1] <= MAX_SIDE_PX
    np.testing.assert_array_equal(crop[:, 500], pixels[::3, 500 * 3 - 400])


@pytest.mark.parametrize(
    ("prompts", "rejected", "advice"),
    [
        ({}, (), "give at least one class"),
        ({"nucleus": " "}, (), "has no text"),
        ({"nucleus": []}, (), "has no text"),
        ({" ": "a nucleus"}, (), "has no text"),
        ({"nucleus": "a nucleus"}, ("",), "unwanted objects is empty"),
    ],
)
def test_missing_texts_are_explained(
    model: TextModel, image: np.ndarray, prompts: dict, rejected: tuple, advice: str
) -> None:
    with pytest.raises(PromptError, match=advice) as caught:
        ns.classify_by_text(image, squares(), prompts, model, rejected)
    one_sentence(caught.value)


@pytest.mark.parametrize(
    "mask",
    [
        LocalMask(4, 4, np.zeros((0, 0), dtype=bool)),
        LocalMask(4, 4, np.zeros((3, 3), dtype=bool)),
        LocalMask(500, 4, np.ones((3, 3), dtype=bool)),
        np.ones((5, 5), dtype=bool),
    ],
)
def test_objects_outside_of_the_image_are_explained(
    model: TextModel, image: np.ndarray, mask: LocalMask | np.ndarray
) -> None:
    with pytest.raises(PromptError) as caught:
        ns.classify_by_text(image, [mask], PROMPTS, model)
    one_sentence(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"margin": -0.1},
        {"margin": float("nan")},
        {"min_crop_px": 0},
        {"batch_size": 0},
        {"outside": "black"},
        {"templates": ()},
        {"templates": ("an image",)},
    ],
)
def test_settings_are_checked(settings: dict) -> None:
    with pytest.raises(ConfigError) as caught:
        TextSettings(**settings)
    one_sentence(caught.value)

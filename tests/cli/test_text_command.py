"""`sampath text`: objects of a label file become proposals with the classes that texts give them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sampath.cli import main
from napari_sampath.config import load_config
from napari_sampath.formats import import_objects
from napari_sampath.session import Session, journal_path
from support.models.small_clip import save_small_clip

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
PIXELS = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
TEXTS = ("--prompt", "nucleus=a dark nucleus", "--prompt", "fat", "--prompt", "fat=a vacuole")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """Return the arguments for an image with eight objects, and a small model."""
    Image.fromarray(PIXELS).save(tmp_path / "tissue.png")
    numbers = np.zeros(PIXELS.shape[:2], dtype=np.uint16)
    for number in range(8):
        numbers[8 + 40 * (number % 2) :, 4 + 30 * (number // 2) :][:30, :24] = number + 1
    tifffile.imwrite(tmp_path / "objects.tif", numbers)
    save_small_clip(tmp_path / "clip")
    return (
        *("text", str(tmp_path / "tissue.png"), "--objects", str(tmp_path / "objects.tif")),
        *("--model", str(tmp_path / "clip"), "-o", str(tmp_path / "classes"), *TEXTS),
    )


def test_objects_get_classes_and_are_imported_as_proposals(
    files: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], own_cache: Path
) -> None:
    assert main([*files, "--json", "--quiet", "--batch-size", "3"]) == 0
    result = json.loads(capsys.readouterr().out)
    similarities = [row["similarity"] for row in result["objects"]]
    assert similarities == sorted(similarities, reverse=True)
    assert sorted(row["id"] for row in result["objects"]) == list(range(1, 9))
    written = import_objects(next((tmp_path / "classes").glob("*.geojson")), hw=PIXELS.shape[:2])
    names = {info.id: info.name for info in written.classes}
    stored = sorted((names[obj.class_id], obj.details["score"]) for obj in written.items)
    assert stored == sorted((row["class"], row["score"]) for row in result["objects"])
    assert main(["import", str(tmp_path / "classes"), str(tmp_path / "tissue.png")]) == 0
    session = Session(PIXELS, "tissue", journal=journal_path(PIXELS, load_config().sessions_dir))
    objects = session.document.objects.values()
    assert {(obj.source, obj.trust) for obj in objects} == {("text", 0)}
    assert sorted(obj.score for obj in objects) == sorted(row["score"] for row in result["objects"])
    session.close()


def test_unwanted_objects_and_low_scores_are_left_out(
    files: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*files, "--quiet", "--min-score", "2"]) == 0
    assert "8 left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--model", "quiltnett"), "did you mean 'quiltnet'?"),
        (("--template", "an image"), "write {} where the text belongs"),
        (("--outside", "black"), "choose keep, blur, grey"),
    ],
)
def test_errors_are_one_sentence(
    files: tuple[str, ...], capsys: pytest.CaptureFixture[str], more: tuple[str, ...], sentence: str
) -> None:
    assert main([*files, *more]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in error

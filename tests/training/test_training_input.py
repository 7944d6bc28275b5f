"""Bad training data raises one sentence that names the file, before anything is encoded."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from napari_sampath.errors import DatasetError, SampathError
from napari_sampath.training import TrainingConfig, open_dataset, train
from support.models.patches import disc_image, patch_model


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / "d" / name).mkdir(parents=True)
    for number in range(5):
        pixels, labels = disc_image(number)
        Image.fromarray(pixels).save(tmp_path / "d" / "images" / f"p{number}.png")
        Image.fromarray(labels).save(tmp_path / "d" / "labels" / f"p{number}.png")
    rows = [f"p{number},slide {number},{'val' if number == 4 else 'train'}" for number in range(5)]
    (tmp_path / "d" / "index.csv").write_text("\n".join(["name,group,split", *rows]))
    (tmp_path / "d" / "classes.json").write_text('[{"id": 1, "name": "disc", "color": [255, 0, 0]}]')
    return tmp_path / "d"


def sentence(folder, tmp_path):
    """Return the error message of training, and check that nothing was encoded or written."""
    model = patch_model()
    with pytest.raises(SampathError) as caught:
        train(folder, "cnn", TrainingConfig(epochs=1), model, tmp_path / "h.safetensors")
    assert model.encoder.passes == 0
    assert not (tmp_path / "h.safetensors").exists()
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith((".", "training stops."))
    return text


def test_missing_mask(folder, tmp_path):
    (folder / "labels" / "p3.png").unlink()
    assert "'p3' has no label map" in sentence(folder, tmp_path)


def test_mask_deleted_after_opening(folder, tmp_path):
    dataset = open_dataset(folder)
    (folder / "labels" / "p3.png").unlink()
    text = sentence(dataset, tmp_path)
    assert "p3.png" in text
    assert "no label map" in text


def test_sizes_that_differ(folder, tmp_path):
    Image.fromarray(disc_image(0)[1][:50]).save(folder / "labels" / "p3.png")
    text = sentence(folder, tmp_path)
    assert "p3.png" in text
    assert "96 x 50 px" in text


def test_unknown_class(folder, tmp_path):
    Image.fromarray(disc_image(0)[1] * 9).save(folder / "labels" / "p2.png")
    text = sentence(folder, tmp_path)
    assert "p2.png" in text
    assert "[9]" in text


def test_class_without_pixels(folder, tmp_path):
    listed = '[{"id": 1, "name": "disc", "color": [1, 1, 1]}, {"id": 2, "name": "fat", "color": [1, 1, 1]}]'
    (folder / "classes.json").write_text(listed)
    assert "contains the class 'fat'" in sentence(folder, tmp_path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_all_ignored(folder, tmp_path, split):
    for number in range(5):
        if (number == 4) == (split == "val"):
            Image.fromarray(np.full((96, 96), 255, np.uint8)).save(folder / "labels" / f"p{number}.png")
    text = sentence(folder, tmp_path)
    assert "all are ignored" in text
    assert ("p4.png" if split == "val" else "p0.png") in text


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_corrupt_png(folder, tmp_path, kind):
    path = folder / kind / "p3.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    text = sentence(folder, tmp_path)
    assert f"{kind}/p3.png" in text.replace("\\", "/")
    assert "truncated" in text


def test_several_files_are_counted(folder, tmp_path):
    for number in (1, 3):
        Image.fromarray(disc_image(0)[1][:50]).save(folder / "labels" / f"p{number}.png")
    text = sentence(folder, tmp_path)
    assert "p1.png" in text
    assert "1 more file cannot be used" in text


def test_rgb_labels(folder, tmp_path):
    Image.fromarray(disc_image(3)[0]).save(folder / "labels" / "p3.png")
    text = sentence(folder, tmp_path)
    assert "p3.png" in text
    assert "3 channels (colours, not labels)" in text


def test_a_single_image_is_used_for_both_splits(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / "d" / name).mkdir(parents=True)
    Image.fromarray(disc_image(0)[0]).save(tmp_path / "d" / "images" / "p.png")
    Image.fromarray(disc_image(0)[1]).save(tmp_path / "d" / "labels" / "p.png")
    with pytest.raises(DatasetError, match="add images of another one"):
        open_dataset(tmp_path / "d")

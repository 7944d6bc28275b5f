"""Saves of settings, bundles, cached features and projects for `killed_saves`, see `saves`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sampath.arrays import ClassInfo
from napari_sampath.config import write_setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sampath.session import Project
    from napari_sampath.store.disk import DiskTier

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)),)
ENTRY_BYTES = 1200
"""Somewhat more than one entry of the store has."""


def use_settings(folder: Path) -> None:
    os.environ["XDG_CONFIG_HOME"] = str(folder)


def prepare_config(folder: Path) -> None:
    use_settings(folder)
    write_setting("precision", "float32")


def save_config(folder: Path) -> None:
    use_settings(folder)
    write_setting("device", "cpu")


def prepare_keys(folder: Path) -> None:
    from napari_sampath.widgets.viewer.key_settings import save_key

    use_settings(folder)
    assert save_key("merge", "Alt-J") == ""


def save_keys(folder: Path) -> None:
    from napari_sampath.widgets.viewer.key_settings import save_key

    use_settings(folder)
    assert save_key("split", "Alt-D") == ""


def save_head(folder: Path, name: str) -> None:
    import torch

    from napari_sampath.arrays import FeatureMap, FeatureSpec
    from napari_sampath.heads import EncoderRef, Metadata, create, save_bundle

    torch.manual_seed(1)
    classes = (ClassInfo(0, "background", (0, 0, 0)), *CLASSES)
    head = create("linear", FeatureSpec((FeatureMap("embedding", 4, "patches"),)), classes)
    save_bundle(folder / "head.safetensors", head, Metadata(name, (EncoderRef("patches", "ab", 1),), 0.5))


def tier(folder: Path) -> DiskTier:
    """A store in which three entries fit, so that the fourth one evicts another."""
    from napari_sampath.store.disk import DiskTier

    return DiskTier(folder, 3 * ENTRY_BYTES)


def prepare_store(folder: Path) -> None:
    from support.store_contract import make_key, make_maps

    for number in range(3):
        tier(folder).put(make_key(number), make_maps(number))


def save_features(folder: Path) -> None:
    from support.store_contract import make_key, make_maps

    for number in (3, 4):
        tier(folder).put(make_key(number), make_maps(number))


def pixels(number: int) -> Any:
    return np.full((20, 30, 3), number, np.uint8)


def prepare_project(folder: Path) -> None:
    from napari_sampath.session import Project

    project = Project.create(folder / "project", "glands", CLASSES)
    for number in (1, 2):
        put(project, number)


def put(project: Project, number: int) -> None:
    from napari_sampath.annotations import pixel_digest
    from napari_sampath.formats import Snapshot

    digest = pixel_digest(pixels(number))
    image = project.add(digest, (20, 30), f"image {number}", pixels=pixels(number))
    labels = np.ones((20, 30), np.uint8)
    sample = Snapshot(
        image.name, pixels(number), labels, labels.astype(np.int32), labels > 0, CLASSES, digest=digest
    )
    project.dataset.save_image(sample)
    with project.editing() as draft:
        draft.put(dataclasses.replace(draft.image(digest), sample=image.name))


def digest_of(number: int) -> str:
    from napari_sampath.annotations import pixel_digest

    return pixel_digest(pixels(number))


def add_image(folder: Path) -> None:
    from napari_sampath.session import Project

    Project(folder / "project").add(digest_of(3), (20, 30), "image 3", pixels=pixels(3))


def rename_image(folder: Path) -> None:
    from napari_sampath.session import Project

    Project(folder / "project").rename_image(digest_of(1), "renamed")


def remove_image(folder: Path) -> None:
    from napari_sampath.session import Project

    Project(folder / "project").remove(digest_of(1))


SCENARIOS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "config": (prepare_config, save_config),
    "keys": (prepare_keys, save_keys),
    "bundle": (lambda folder: save_head(folder, "old"), lambda folder: save_head(folder, "new")),
    "store": (prepare_store, save_features),
    "project image": (prepare_project, add_image),
    "renamed project image": (prepare_project, rename_image),
    "removed project image": (prepare_project, remove_image),
}

"""Run the Python blocks of the pages, in the order of each page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import tifffile
from benchmarks.slides.large_slide import write_large_slide

from cli.test_readme import blocks, needs_weights
from support.paths import ROOT

NOT_RUN = {
    "ns.import_head(": "the checkpoints of other authors are not here; tests/heads imports files of the same form",
    "SLURMCluster(": "tests/docs/test_cluster_and_server_pages.py runs it with scripts in place of SLURM",
    "ns.adapt(": "tests/training/test_adaptation.py calls it with few steps",
    "ns.train(": "tests/training/test_training.py calls it with few steps",
    "ns.segment_everything(": "takes minutes; tests/predict calls it with few points",
    "ns.segment_instances(": "takes ten seconds; tests/predict/test_instances.py calls it",
    "objects_of(": "tests/cli/test_segment_slide.py reads such a result",
    "add_result(": "tests/annotations/test_object_files.py adds the objects of such a result",
}
"""Text of a block -> why it does not run here; its names are checked all the same."""
INSTEAD = {'"vit_b"': '"sampath-tiny"'}
"""Weights that are not in the repository -> shipped ones."""


def tissue() -> np.ndarray:
    """An image of 5,500 x 3,500 px that shows 512 px of tissue again and again."""
    return np.tile(skimage.data.immunohistochemistry(), (7, 11, 1))[:3500, :5500]


def programs(page: str) -> list[str]:
    """Return the blocks of a page that can run here, with the weights that are here."""
    found = blocks(ROOT / "docs" / page, "python")
    chosen = [text for text in found if not any(part in text for part in NOT_RUN)]
    for old, new in INSTEAD.items():
        chosen = [text.replace(old, new) for text in chosen]
    return chosen


def test_python_and_exports_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_weights()
    monkeypatch.chdir(tmp_path)
    square = np.zeros((300, 300), np.bool_)
    square[170:190, 240:260] = True
    names: dict[str, Any] = {"Path": Path, "image": tissue()[:300, :300], "mask": square}
    names |= {
        "points": np.array([[250.0, 180.0], [60.0, 90.0]]),
        "boxes": np.array([[230.0, 160.0, 270.0, 200.0]]),
    }
    names |= {"instance_map": square.astype(np.uint16)}
    for program in programs("python.md"):
        # One block is about an image that is larger than a tile.
        exec(program, {**names, "image": tissue()} if "tile_for" in program else names)
    assert names["result"].labels.shape == (300, 300)
    assert len(names["session"].document.objects) == 1
    assert list((tmp_path / "labels").iterdir())
    (adopting,) = programs("exports.md")
    exec(adopting, names | {"masks": names["instance_map"]})
    assert len(names["session"].document.objects) == 2
    names["session"].close()


def test_slides_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_weights()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAMPATH_USER_DATA", str(tmp_path / "user"))
    tifffile.imwrite("tissue.tif", tissue()[:1024, :1024], tile=(256, 256), photometric="rgb")
    write_large_slide(Path("tissue.tif"), Path("biopsy.svs"), side_px=50_176, levels=6)
    reading, session = programs("slides.md")
    names: dict[str, Any] = {}
    exec(reading, names)
    assert names["window"].shape == (1024, 1024, 3)
    exec(session, names)
    assert list((tmp_path / "labels").iterdir())


def test_every_block_that_is_left_out_exists() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert [part for part in NOT_RUN if part not in text] == []

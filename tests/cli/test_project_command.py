"""`sampath project`: create, fill, change, check and share a project without a window."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sampath.arrays import LocalMask
from napari_sampath.cli import main
from napari_sampath.config import load_config
from napari_sampath.images.slides import open_slide
from napari_sampath.session import Project, Session, journal_path
from support.models.project_images import image_file, square
from support.slide_files import write_large_tiff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def sampath(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any, str]]:
    """Run `sampath project ...`; return the exit code, the JSON result (None if there is none) and stderr."""

    def call(*args: object) -> tuple[int, Any, str]:
        code = main(["--json", "--quiet", "project", *map(str, args)])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return call


def test_a_project_from_empty_to_shared(sampath: Callable[..., Any], tmp_path: Path) -> None:
    project = tmp_path / "glands"
    code, created, _ = sampath("create", project, "--name", "Glands", "--preset", "glands")
    assert code == 0
    assert [c["name"] for c in created["classes"]] == ["benign gland", "malignant gland", "lumen"]
    files = [image_file(tmp_path / folder, "tile.png", seed) for seed, folder in enumerate("xy")]
    twin = image_file(tmp_path, "twin.png", 1)
    code, added, _ = sampath("add", project, *files, twin, "--slide", "case 7")
    assert (code, added["added"]) == (0, ["tile", "tile (2)"])
    assert "same pixels as 'tile (2)'" in added["skipped"][str(twin)]
    assert sampath("training", project, "tile (2)", "out")[0] == 0
    assert sampath("rename", project, "tile", "Gland 1")[0] == 0
    assert sampath("rename", project, "Glands 2026")[0] == 0
    assert sampath("notes", project, "From the archive.")[0] == 0
    _, shown, _ = sampath("show", project)
    assert (shown["name"], shown["notes"]) == ("Glands 2026", "From the archive.")
    assert {image["name"]: image["training"] for image in shown["images"]} == {
        "Gland 1": True,
        "tile (2)": False,
    }
    assert {image["slide"] for image in shown["images"]} == {"case 7"}
    code, _, _ = sampath("pack", project, "-o", tmp_path / "glands.zip")
    assert code == 0
    code, unpacked, _ = sampath("unpack", tmp_path / "copy", tmp_path / "glands.zip")
    assert (code, unpacked["images"]) == (0, 2)
    assert sampath("merge", project, tmp_path / "glands.zip")[0] == 0
    files[0].unlink()
    code, report, _ = sampath("check", project)
    assert (code, report["problems"]) == (1, ["the file of 'Gland 1' is missing; use --search FOLDER"])
    code, report, _ = sampath("check", project, "--search", tmp_path / "copy")
    assert (code, list(report["found"])) == (0, ["Gland 1"])
    assert sampath("remove", project, "Gland 1")[0] == 0
    assert [image["name"] for image in sampath("show", project)[1]["images"]] == ["tile (2)"]


def test_common_flags_follow_the_action(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["project", "create", str(tmp_path / "glands"), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "glands"


def test_class_lists(sampath: Callable[..., Any], tmp_path: Path) -> None:
    project = tmp_path / "p"
    sampath("create", project)
    assert sampath("classes", project, "--preset", "nuclei")[0] == 0
    assert sampath("classes", project, "--rename", "dead", "apoptotic")[0] == 0
    assert sampath("classes", project, "--remove", "connective", "--into", "inflammatory")[0] == 0
    assert sampath("classes", project, "--write", tmp_path / "classes.csv")[0] == 0
    _, listed, _ = sampath("classes", project)
    names = {entry["id"]: entry["name"] for entry in listed["classes"]}
    assert names == {1: "neoplastic", 2: "inflammatory", 4: "apoptotic", 5: "epithelial"}
    assert (tmp_path / "classes.csv").read_text().splitlines()[3] == "4,apoptotic,#f0e442"
    other = tmp_path / "q"
    sampath("create", other, "--classes", tmp_path / "classes.csv")
    assert sampath("show", other)[1]["classes"] == listed["classes"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("show", "missing"), "dataset.json"),
        (("remove", "glands", "nothing"), "There is no image"),
        (("classes", "glands", "--remove", "nothing"), "There is no class 'nothing'"),
        (("classes", "glands", "--read", "missing.csv"), "cannot be opened"),
        (("training", "glands", "nothing", "in"), "There is no image"),
        (("unpack", "new", "missing.zip"), "There is no file"),
        (("merge", "glands", "missing.zip"), "There is no file"),
        (("create", "glands"), "already"),
    ],
)
def test_wrong_input_is_one_sentence(
    sampath: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    sampath("create", "glands")
    code, result, error = sampath(*args)
    assert (code, result) == (1, None)
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_a_project_holds_a_slide_and_exports_its_annotations(
    sampath: Callable[..., Any], own_cache: Path, tmp_path: Path
) -> None:
    project, file = tmp_path / "project", write_large_tiff(tmp_path / "biopsy.tif")
    sampath("create", project, "--preset", "glands")
    assert sampath("add", project, file)[1] == {"added": ["biopsy"], "skipped": {}}
    (image,) = Project(project).images.values()
    assert (image.hw, image.training) == ((8300, 8200), True)
    with open_slide(file) as slide:
        journal = journal_path(slide, load_config().sessions_dir)
        session = Session(slide, "biopsy", None, Project(project).classes, journal)
        session.paint_mask(LocalMask(6400, 6400, np.ones((50, 20), bool), 32), 1)
        session.close()
    assert sampath("check", project)[0] == 0
    assert sampath("export", project, "-o", tmp_path / "out", "--formats", "geojson")[0] == 0
    (geojson,) = (tmp_path / "out").rglob("*.geojson")
    assert len(json.loads(geojson.read_text())["features"]) == 1


@pytest.fixture
def annotated(sampath: Callable[..., Any], tmp_path: Path) -> Path:
    """Return the folder of a project with three images of two slides, one square in each."""
    from napari_sampath.config import sessions_folder
    from napari_sampath.images import read
    from napari_sampath.session import Session, journal_path

    project = tmp_path / "glands"
    sampath("create", project, "--preset", "glands")
    for number in range(3):
        path = image_file(tmp_path, f"image {number}.png", number)
        sampath("add", project, path, "--slide", f"case {number // 2}")
        pixels = read(path).pixels
        session = Session(pixels, path.stem, journal=journal_path(pixels, sessions_folder()))
        square(session, 10)
        session.close()
    return project


def test_a_project_is_exported_as_a_dataset_and_updated(
    annotated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def export(*args: object) -> tuple[int, Any, str]:
        code = main(
            ["--json", "--quiet", "export", str(annotated), "-o", str(tmp_path / "out"), *map(str, args)]
        )
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    code, _, error = export()
    assert code == 1
    assert "add --layout" in error
    code, result, _ = export("--layout", "coco", "--split", "new", "--val-share", "0.3", "--patch-px", "32")
    assert code == 0
    assert {name: result["splits"][name] for name in result["splits"]}.keys() == {"case 0", "case 1"}
    assert "PROBLEM" not in result["check"]
    code, _, error = export("--layout", "coco")
    assert (code, "earlier export" in error) == (1, True)
    code, result, _ = export("--update")
    assert (code, result["layout"], result["changes"]["changed"]) == (0, "coco", 0)
    code, result, _ = export("--update", "--layout", "yolo", "--patch-px", "0")
    assert (code, result["layout"], sum(result["files"].values())) == (0, "yolo", 3)
    assert not (tmp_path / "out" / "annotations").exists()


def test_figure_and_report(annotated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(tmp_path / "image 0.png")
    assert main(["figure", image, "-o", str(tmp_path / "a.svg"), "--region", "5", "5", "20", "20"]) == 0
    assert "<path" in (tmp_path / "a.svg").read_text()
    figure = ["figure", str(annotated), "--image", "image 1", "-o", str(tmp_path / "b.png"), "--mpp", "0.5"]
    assert main(figure) == 0
    assert (tmp_path / "b.png").is_file()
    assert main(["project", "report", str(annotated), "-o", str(tmp_path / "report.html")]) == 0
    assert "benign gland" in (tmp_path / "report.html").read_text()
    capsys.readouterr()
    for wrong, words in (
        (["figure", str(annotated), "-o", "c.png"], "add --image"),
        (["figure", image, "-o", "c.jpg"], "must end in .png or .svg"),
        (
            ["figure", image, "-o", str(tmp_path / "c.png"), "--hide", "nothing"],
            "There is no class 'nothing'",
        ),
        (["figure", image, "-o", str(tmp_path / "c.png"), "--region", "900", "0", "5", "5"], "no pixels"),
    ):
        assert main(wrong) == 1
        error = capsys.readouterr().err
        assert words in error
        assert len(error.strip().splitlines()) == 1

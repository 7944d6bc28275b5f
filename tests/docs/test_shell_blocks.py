"""Run the commands of the pages on small files, in the order of each page."""

from __future__ import annotations

import glob
import importlib.util
import re
import shlex
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image

from cli.test_readme import PAGES, needs_weights
from napari_sampath.annotations import pixel_digest
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.cli import main
from napari_sampath.config import sessions_folder
from napari_sampath.heads.bundle import locate_bundle
from napari_sampath.jobs import run
from napari_sampath.session import Project, Session, journal_path
from support.models.patches import disc_image
from support.paths import ROOT

NOT_RUN = {
    "sampath demo": "opens a window; tests/package/test_demo.py runs it",
    "sampath serve": "runs until it is stopped; tests/server",
    "sampath bench": "measures for minutes; tests/package/test_benchmarks.py",
    "sampath doctor": "tests/cli/test_doctor.py runs it",
    "sampath everything": "decodes thousands of prompts; tests/predict calls it with few",
    "sampath tune": "trains for hours; tests/cli/test_training_commands.py runs it with few steps",
    "sampath text": "the text models are not here; tests/cli/test_text_command.py uses a small one",
    "my-text.safetensors": "the text models are not here; tests/cli/test_text_command.py uses a small one",
    "vit_b": "the weights are not here",
    "sampath-tiny+sampath-tiny-path": "takes minutes; tests/heads builds the network, tests/training trains it",
    "--runs-on": "needs a server; tests/server starts one",
    "--scheduler": "needs a scheduler; tests/cluster starts one",
    '"$SAMPATH_DATA"': "trains for hours on 2,000 images; tests/training does so on few",
    "BCSS/": "the dataset is not here; tests/training runs the recipes with few images",
    "CRAG/": "the dataset is not here; tests/training computes the scores of the papers",
    "torchrun": "needs two devices; tests/training trains in two processes",
    "--part $": "a job script; tests/docs/test_cluster_and_server_pages.py",
    "evaluate --prompts": "simulates users for minutes; tests/training calls it with few clicks",
    "/archive": "a folder of the reader; tests/cli/test_project_command.py searches one",
}
"""Part of a command -> why it does not run here; its words are parsed in tests/cli/test_readme.py all the same."""
FEW_EPOCHS = "--epochs", "2"
SIDES = 256, 256
"""Size of the images of a project; a head reads other images in tiles of this size."""
RUN_ELSEWHERE = ("README.md", "cluster.md")
"""Pages whose commands tests/cli/test_readme.py and tests/docs/test_cluster_and_server_pages.py run."""
OTHER_PROGRAMS = {"napari", "conda", "hf", "ssh", "dask", "sudo", "torchrun", "export", "for", "done"}
"""First words of commands that are neither ours nor checked below."""


def commands(page: Path) -> list[str]:
    """Return the commands of the blocks of a page, without comments, prompts and settings of variables."""
    fenced = re.findall(
        r"^```([a-z]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    lines = (
        "".join(text for language, text in fenced if language in ("", "bash"))
        .replace("\\\n", " ")
        .splitlines()
    )
    stripped = (re.sub(r"^\$ |\s#.*|^#.*", "", line.strip()) for line in lines)
    return [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line).strip() for line in stripped if line]


def runnable(page: Path) -> list[str]:
    """Return the commands of sampath on a page that can run here."""
    ours = (command for command in commands(page) if command.startswith("sampath "))
    return [command for command in ours if not any(part in command for part in NOT_RUN)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_sam_file: Path) -> Path:
    """The current folder, with the files that the commands name."""
    needs_weights()
    monkeypatch.chdir(tmp_path)
    tissue = skimage.data.immunohistochemistry()[:320, :320]
    for name in ("tissue.png", "tissue.tif", "nuclei.png", "slides/a.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(tissue).save(name)
    square = np.zeros(tissue.shape[:2], np.uint8)
    square[100:200, 140:240] = 1
    Image.fromarray(square * 255).save("rough.png")
    for name in ("labels.tif", "nuclei_cp_masks.png"):
        Image.fromarray(square).save(name)
    text = "Aperio Image Library v11|AppMag = 20|MPP = 0.5"
    for name in ("biopsy.svs", "slides/biopsy.svs", "CMU-1-Small-Region.svs", "scan.tif"):
        tifffile.imwrite(name, tissue[:256, :256], photometric="rgb", tile=(128, 128), description=text)
    ring = "[[9, 9], [90, 9], [90, 90], [9, 9]]"
    geojson = f'{{"type": "Feature", "geometry": {{"type": "Polygon", "coordinates": [{ring}]}}}}'
    for name in ("nuclei.geojson", "biopsy.geojson"):
        Path(name).write_text(f'{{"type": "FeatureCollection", "features": [{geojson}]}}', encoding="utf-8")
    for name, head in (("my-nuclei", "nucleus-cnn"), ("crag", "gland-cnn")):
        shutil.copy(locate_bundle(head), f"{name}.safetensors")
    shutil.copy(tiny_sam_file, "medsam_vit_b.pth")
    return tmp_path


def annotated_project(name: str) -> None:
    """Make a project of three annotated images of two slides; the first slide trains, the other one validates."""
    classes = (ClassInfo(1, "gland", (200, 30, 60)), ClassInfo(2, "lumen", (30, 200, 60)))
    Path(name).parent.mkdir(exist_ok=True)
    project = Project.create(name, classes=classes)
    Path("scans").mkdir(exist_ok=True)
    for number, image in enumerate(("case 7 a", "case 7 b", "case 8")):
        pixels, disc = disc_image(number, SIDES)
        Image.fromarray(pixels).save(f"scans/{image}.png")
        file = Path(f"scans/{image}.png").resolve()
        project.add(pixel_digest(pixels), SIDES, image, file, slide=image[:6], mpp=0.5)
        session = Session(pixels, image, None, project.classes, journal_path(pixels, sessions_folder()))
        session.paint_mask(LocalMask(0, 0, disc.astype(np.bool_)), 1)
        session.area.mark((0, 0, *SIDES))
        run(session.files.save_job(name, image[:6], 0.5))
        session.close()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in RUN_ELSEWHERE and runnable(page)],
    ids=lambda page: page.name,
)
def test_commands_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The other images and slides have the same pixels, and thereby the same annotations.
    for labels, image in (("labels.tif", "tissue.png"), ("biopsy.geojson", "biopsy.svs")):
        assert main(["import", labels, image, "--quiet"]) == 0
    for project in ("my-glands", "project", "tissue/ebhi_glands"):
        annotated_project(project)
    if page.name == "projects.md":  # creates my-glands
        assert main(["project", "pack", "my-glands", "-o", "from-a-colleague.zip"]) == 0
        shutil.rmtree("my-glands")
    for command in runnable(page):
        if page.name == "projects.md" and command.startswith("sampath train"):
            shutil.rmtree("my-glands")  # what the reader annotates meanwhile
            annotated_project("my-glands")
        words = shlex.split(
            command.split(" || ")[0].replace("${image%.png}", "a").replace("$image", "slides/a.png")
        )[1:]
        words = list(
            chain(*(sorted(glob.glob(word)) if "*" in word and "/" in word else [word] for word in words))
        )
        words += FEW_EPOCHS if words[0] == "train" else ()
        assert main([*words, "--quiet"]) == 0, f"{command}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_other_commands_name_what_exists(page: Path) -> None:
    """Targets of make, modules, files and extras; the programs of others are only listed."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for command in commands(page):
        words = shlex.split(command, comments=True)
        if not words or words[0] == "sampath" or "px (width x height)" in command:
            continue
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), command
        elif words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]) is not None, command
        elif words[:2] == ["pip", "install"]:
            for extra in re.findall(r"napari-sampath\[(\w+)\]|\.\[(\w+)\]", command):
                assert re.search(rf"^{''.join(extra)} = \[", extras, re.MULTILINE), command
        elif words[0].startswith(".venv/bin/"):
            assert Path(words[0]).name in ("pytest", "pre-commit"), command
        else:
            assert words[0] in OTHER_PROGRAMS, command


def test_what_is_left_out_exists_and_is_tested_elsewhere() -> None:
    text = "\n".join("\n".join(commands(page)) for page in PAGES)
    assert [part for part in NOT_RUN if part not in text] == []
    elsewhere = [path for reason in NOT_RUN.values() for path in re.findall(r"tests/[\w/.]*\w", reason)]
    assert [path for path in elsewhere if not (ROOT / path).exists()] == []

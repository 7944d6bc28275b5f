"""Figures with outlines, legend and scale bar, and the report of a project."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import DatasetError, ImageError
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.jobs import run
from napari_sampath.session import Session
from napari_sampath.session.figures import FigureSettings, make_figure, write_figure
from napari_sampath.session.figures.figure import scale_bar
from napari_sampath.session.report import report_job
from napari_sampath.session.report.writing import area_text
from napari_sampath.training import TrainingConfig, open_dataset, train
from support.models.patches import disc_image, patch_model
from support.models.project_exports import Study

if TYPE_CHECKING:
    from collections.abc import Iterator

SVG = "{http://www.w3.org/2000/svg}"
HW = (100, 150)
RED, BLUE = ClassInfo(1, 'a <gland> & "x"', (255, 0, 0)), ClassInfo(2, "lumen", (0, 0, 255))


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session(np.full((*HW, 3), 200, np.uint8), "case 7", classes=(RED, BLUE))
    rows, cols = np.indices(HW)
    ring = (np.hypot(rows - 50, cols - 50) <= 30) & (np.hypot(rows - 50, cols - 50) > 10)
    session.paint(*np.nonzero(ring), 1)
    session.paint(*np.nonzero((rows > 20) & (rows <= 40) & (cols > 100) & (cols <= 130)), 2)
    yield session
    session.close()


def figure_of(session: Session, box: Any = (0, 0, *HW), mpp: float | None = 0.5, **values: Any) -> Any:
    settings = FigureSettings(**{"width_px": 600, **values})
    return make_figure(session.image, session.document, box, session.name, mpp, settings)


def test_outlines_in_svg_are_vectors_in_class_colours(session: Session, tmp_path: Path) -> None:
    write_figure(tmp_path / "figure.svg", figure_of(session))
    root = ElementTree.parse(tmp_path / "figure.svg").getroot()
    paths = list(root.iter(f"{SVG}path"))
    assert [path.get("stroke") for path in paths] == ["#ff0000", "#0000ff"]
    assert paths[0].get("d", "").count("M") == 2  # the hole
    numbers = np.array(re.findall(r"[\d.]+", paths[1].get("d", "")), float).reshape(-1, 2)
    assert np.allclose(numbers.min(axis=0), (101 * 4, 21 * 4))
    assert np.allclose(numbers.max(axis=0), (131 * 4, 41 * 4))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == ["10 µm", "10 µm", 'a <gland> & "x" (1)', "lumen (1)"]
    (image,) = root.iter(f"{SVG}image")
    data = base64.b64decode(image.get("href", "").partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (600, 400)


def test_png_shows_outlines_legend_and_scale_bar(session: Session, tmp_path: Path) -> None:
    write_figure(tmp_path / "figure.png", figure_of(session, line_px=4))
    pixels = np.asarray(Image.open(tmp_path / "figure.png")).astype(int)
    assert pixels.shape[1] == 600
    assert pixels.shape[0] > 400  # the legend
    # The left edge of the ring is at x = 20 * 4 and is smoothed by at most 3 px; straight edges stay in place.
    assert (pixels[200, 74:90] == (255, 0, 0)).all(axis=-1).any()
    assert tuple(pixels[84, 470]) == (0, 0, 255)  # upper edge of the lumen
    assert tuple(pixels[200, 200]) == (200, 200, 200)  # in the hole
    assert tuple(pixels[200, 120]) == (200, 200, 200)  # no fill
    legend = pixels[400:]
    assert (legend == (255, 0, 0)).all(axis=-1).any()
    assert (legend == (0, 0, 255)).all(axis=-1).any()
    # A white bar of 10 um at 0.125 um per figure pixel is 80 px long.
    row = pixels[400 - 17 - 3]
    white = np.flatnonzero((row[450:] > 250).all(axis=-1))
    assert 70 <= white.max() - white.min() + 1 <= 90


def test_fill_leaves_holes_free(session: Session, tmp_path: Path) -> None:
    write_figure(tmp_path / "figure.png", figure_of(session, line_px=0, fill=0.5, legend=False, mpp=None))
    pixels = np.asarray(Image.open(tmp_path / "figure.png")).astype(int)
    assert pixels.shape == (400, 600, 3)
    assert abs(pixels[200, 120] - (227, 100, 100)).max() <= 3
    assert tuple(pixels[200, 200]) == (200, 200, 200)
    assert tuple(pixels[390, 10]) == (200, 200, 200)


def test_a_part_of_the_image(session: Session) -> None:
    figure = figure_of(session, (30, 90, 60, 150))
    assert figure.image.shape == (300, 600, 3)
    assert [entry.text for entry in figure.legend] == ["lumen (1)"]
    assert figure_of(session, (-50, -50, 500, 500)).image.shape == (400, 600, 3)
    with pytest.raises(ImageError, match="no pixels"):
        figure_of(session, (200, 0, 300, 10))


def test_an_unknown_scale_is_said(session: Session) -> None:
    figure = figure_of(session, mpp=None)
    assert figure.scale_bar is None
    assert "no scale bar" in figure.notes[0]


@pytest.mark.parametrize(
    ("mpp", "width", "text"),
    [(0.125, 600, "10 µm"), (0.5, 1000, "100 µm"), (20, 800, "2 mm"), (0.01, 90, "0.2 µm")],
)
def test_scale_bars_are_round_and_at_most_a_quarter(mpp: float, width: int, text: str) -> None:
    bar = scale_bar(mpp, width)
    assert bar.text == text
    assert width / 10 <= bar.length_px <= width / 4 + 1e-6
    value, unit = text.split()
    assert bar.length_px * mpp == pytest.approx(float(value) * (1000 if unit == "mm" else 1))


def test_other_suffixes_are_refused(session: Session, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"\.png or \.svg"):
        write_figure(tmp_path / "figure.jpg", figure_of(session))


class Page(HTMLParser):
    """Collects the cells of tables, and everything that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.loaded: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        values = dict(attrs)
        self.loaded += [values[key] for key in ("src", "href", "srcset") if values.get(key)]
        if tag in ("script", "link", "iframe"):
            self.loaded.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.cells[-1] += data


def test_the_report_counts_objects_and_areas_and_loads_nothing(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    study.add("a", seed=1, mpp=0.5)
    study.add("b <b>", seed=2, mpp=None)
    study.propose("a")
    study.project.set_notes("From <the> archive & more.")
    heads = study.project.path / "heads"
    heads.mkdir()
    (heads / "cnn-1.safetensors").write_bytes(b"no head")
    (heads / "cnn-1.csv").write_text("epoch,loss,dice\n1,0.9,0.2\n2,0.5,0.6\n3,0.4,0.7\n")
    path = run(report_job(study.project, tmp_path / "report.html", study.journals))
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert all(source.startswith("data:image/") for source in page.loaded)
    assert len(page.loaded) == 2
    assert not re.search(r"https?://", text.replace("http://www.w3.org/2000/svg", ""))
    row = page.cells[page.cells.index("gland") :][:6]
    class_map, _ = study.maps("a")
    other, _ = study.maps("b <b>")
    glands = int((class_map == 1).sum())
    assert row[1:4] == ["5", "2", f"{glands + int((other == 1).sum()):,}"]
    assert row[4] == f"{glands * 0.25:,.0f} µm²"
    assert row[5] == f"{glands * 0.25 / 3:,.0f} µm²"
    assert "The scale of 1 image is unknown" in text
    assert "1 of 7 objects were never reviewed" in text
    assert "From &lt;the&gt; archive &amp; more." in text
    assert "b &lt;b&gt;" in text
    assert "Training loss" in text
    assert "cnn-1" in text
    with pytest.raises(DatasetError, match="html"):
        run(report_job(study.project, tmp_path / "report.pdf", study.journals))


@pytest.mark.parametrize("slides", [1, 2])
def test_the_report_gives_no_score_of_training_images(tmp_path: Path, slides: int) -> None:
    study = Study(tmp_path / "study")
    folder = DatasetFolder.create(tmp_path / "discs", (ClassInfo(1, "object", (0, 158, 115)),))
    for number in range(slides):
        folder.save_image(Snapshot(f"case{number}", *disc_image(number, (64, 80))))
    config = TrainingConfig(epochs=2, batch_size=2)
    bundle = study.project.path / "heads" / "linear-1.safetensors"
    bundle.parent.mkdir()
    train(open_dataset(folder.path), "linear", config, patch_model(), bundle)
    text = run(report_job(study.project, tmp_path / "report.html", study.journals)).read_text()
    assert "Training loss" in text
    assert ("mean Dice" in text, "Dice on the validation images" in text) == (slides > 1, slides > 1)
    assert ("quality not measured" in text) == (slides == 1)


def test_an_empty_project_has_a_report(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    text = run(report_job(study.project, tmp_path / "report.html", study.journals)).read_text()
    assert "No head was trained" in text


@pytest.mark.parametrize(
    ("area", "text"), [(12.4, "12 µm²"), (99_999, "99,999 µm²"), (2_500_000, "2.50 mm²")]
)
def test_areas_have_units(area: float, text: str) -> None:
    assert area_text(area) == text

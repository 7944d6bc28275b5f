"""The tutorial 'I have 20 JPEGs': a folder of images, a project, a trained head, and labels."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt

from ..demo.sample import Sample, open_sample
from ..demo.walk import TIMEOUT_S
from ..gui_driver import RIGHT, wait_until
from .walks import Tutorial

CASES, IMAGES_OF_CASE = 10, 2
BY_HAND = 6
"""Number of images that are annotated without a head."""
CORRECTED = 2
"""Number of corrected images that are added before the second training."""
CLASS = "gland"
SLOW, FAST = 900, 350
PAUSE_S = 2.0
"""Time between two pictures of a training."""


class ImagesTutorial(Tutorial):
    """Annotates glands in 20 JPEGs of 10 cases, trains a head, corrects its proposals, and exports."""

    def prepare(self, data: Path) -> None:
        """Copy 20 images of EBHI-Seg into the folder `my-images`, named after their case."""
        self.folder = self.work / "my-images"
        self.folder.mkdir(parents=True)
        self.samples: dict[str, Sample] = {}
        for name, source in _choose(data / "ebhi_glands"):
            image = data / "ebhi_glands" / "images" / f"{source}.jpg"
            mask = data / "ebhi_glands" / "masks" / f"{source}.png"
            shutil.copy(image, self.folder / f"{name}.jpg")
            self.samples[name] = open_sample(image, mask)

    def plan(self) -> list[tuple[str, Callable[[], str]]]:
        """List the steps."""
        return [
            ("Start", self._start),
            ("Create a project", self._create),
            ("Choose the folder", self._open),
            ("Name the class", self._name),
            ("First object", self._first),
            ("Find similar", self._similar),
            ("More images", self._more),
            ("Train", self._train),
            ("Let the head propose", self._propose),
            ("Train again", self._retrain),
            ("Export", self._export),
        ]

    def _start(self) -> str:
        start = self.tab("Project").start
        wait_until(start.isVisible, TIMEOUT_S, "the start page")
        self.recorder.picture("tutorial-images-start")
        return start.text.text()

    def _create(self) -> str:
        project = self.work / "my-glands"
        project.mkdir()
        self.choose(self.panel.docks["Project"].start.new_button, project)  # type: ignore[attr-defined]
        wait_until(lambda: self.state.training.project is not None, TIMEOUT_S, "the project")
        return self.message_of("Project")

    def _open(self) -> str:
        dock = self.tab("Project")
        self.choose(dock.folder_button, self.folder)
        wait_until(lambda: dock.controller.session is not None, TIMEOUT_S, "the first image")
        self.follow_image()
        wait_until(lambda: not dock.thumbnail_runner.busy, TIMEOUT_S, "the thumbnails")
        self._put_in()
        self.driver.settle()
        self.recorder.picture("tutorial-images-folder")
        train = self.tab("Train")
        self.select(train.dataset.slides, "-")
        self.tab("Project")
        return dock.progress.text()

    def _name(self) -> str:
        self.tab("Annotate")
        self.name_class(CLASS)
        return "named"

    def _first(self) -> str:
        dock, sample = self.tab("Annotate"), self._sample()
        frame = self.recorder.frame
        target = sample.targets[0]
        self.driver.move(*target.click)
        wait_until(lambda: self.state.prompts.idle, TIMEOUT_S, "the preview")
        frame(SLOW, "Move the mouse: a preview")
        self.click(*target.click)
        frame(SLOW, "Click: the mask")
        x0, y0, x1, _ = target.box
        self.click((x0 + x1) / 2, max(3.0, y0 - 8), RIGHT)
        frame(SLOW, "Right-click where it is too large")
        self.commit()
        frame(SLOW, "Enter: an object, saved")
        for target in sample.targets[1:3]:
            self.click(*target.click)
            frame(FAST, "Click")
            self.commit()
            frame(FAST, "Enter")
        return dock.status.message.text()

    def _similar(self) -> str:
        frame = self.recorder.frame
        self.find_similar("image", frame)
        self.recorder.move(self.driver.native, self.driver.at(*self._sample().targets[0].click))
        frame(3 * SLOW, "Proposals are dashed")
        self.recorder.save_animation("tutorial-images-click-and-find")
        return self.message_of("Annotate")

    def _more(self) -> str:
        self._complete()
        for _ in range(BY_HAND - 1):
            self._next()
            self._put_in()
            self.tab("Annotate")
            self._complete()
        self._next()
        dock = self.tab("Project")
        wait_until(lambda: not dock.thumbnail_runner.busy, TIMEOUT_S, "the thumbnails")
        self.recorder.picture("tutorial-images-done")
        return dock.progress.text()

    def _train(self) -> str:
        text = self._train_head("tutorial-images-train")
        return f"{text} {self.message_of('Train')}"

    def _train_head(self, name: str) -> str:
        """Train a head, record it, and accept it; return the checklist and the verdict."""
        training, dock, frame = self.state.training, self.tab("Train"), self.recorder.frame
        wait_until(lambda: not training._timer.isActive() and not training.runner.busy, TIMEOUT_S, "saving")
        wait_until(lambda: dock.summary is not None, TIMEOUT_S, "the dataset")
        frame(2 * SLOW, "The checklist says that you can train")
        self.press(dock.train_button)
        frame(FAST, "Train")
        begin = time.monotonic()
        while dock.runner.busy and time.monotonic() - begin < 3 * TIMEOUT_S:
            pause = time.monotonic() + PAUSE_S
            wait_until(
                lambda pause=pause: time.monotonic() > pause or not dock.runner.busy, TIMEOUT_S, "epochs"
            )
            frame(FAST, "Train")
        frame(3 * SLOW, "The verdict, on images that it was not trained on")
        verdict, before = dock.comparison.verdict.text(), training.heads.current  # type: ignore[union-attr]
        self.press(dock.accept_button)
        if training.heads.current is before:  # type: ignore[union-attr]
            self.press(dock.accept_button)  # "Accept anyway"
        frame(2 * SLOW, "Accept")
        self.recorder.save_animation(name)
        return f"{' '.join(dock.checklist.lines)} {verdict}"

    def _propose(self) -> str:
        dock, frame = self.tab("Project"), self.recorder.frame
        self.select(dock.stage, "semi-automatic")
        frame(SLOW, "Stage: head proposes, I correct")
        self._wait_for_proposals()
        session = self.annotator.session
        frame(2 * SLOW, "The head has found these")
        records = sorted(session.document.objects.values(), key=lambda record: record.area_px)
        r0, c0, r1, c1 = records[0].box
        self.driver.move((c0 + c1) / 2, (r0 + r1) / 2)
        frame(FAST)
        self.driver.key(Qt.Key.Key_Delete)
        frame(SLOW, "Delete: removes the object under the mouse")
        self._next()
        self._wait_for_proposals()
        frame(2 * SLOW, "Done, next: the head proposes again")
        self.recorder.save_animation("tutorial-images-correct")
        return f"{len(records)} proposals. {dock.progress.text()}"

    def _wait_for_proposals(self) -> None:
        session, controller = self.annotator.session, self.panel.docks["Project"].controller  # type: ignore[attr-defined]
        wait_until(lambda: len(session.document.objects) > 0, TIMEOUT_S, "the proposals")
        wait_until(lambda: not controller.apply_queue.busy, TIMEOUT_S, "the proposals")

    def _retrain(self) -> str:
        for _ in range(CORRECTED):
            self._wait_for_proposals()
            self._put_in()
            self.tab("Annotate")
            self._complete()
            self._next()
        return self._train_head("tutorial-images-retrain")

    def _export(self) -> str:
        dock = self.tab("Export")
        dock.project.folder.setText(str(self.work / "my-glands-dataset"))
        self.press(dock.project.export_button)
        wait_until(lambda: not dock.runner.busy, TIMEOUT_S, "the export")
        self.recorder.picture("tutorial-images-export")
        files = sorted(path.name for path in (self.work / "my-glands-dataset").iterdir())
        return f"{self.message_of('Export')} {files}"

    def _sample(self) -> Sample:
        return self.samples[self.annotator.session.name]

    def _put_in(self) -> None:
        header = self.panel.header
        self.press(header.put_in_button)
        wait_until(header.training_button.isVisible, TIMEOUT_S, "the image to be in the project")
        wait_until(header.training_button.isEnabled, TIMEOUT_S, "the end of the change")

    def _complete(self) -> None:
        """Delete proposals, and click on the objects that are missing."""
        session = self.annotator.session
        for target in self._sample().targets:
            x, y = target.click
            covered = [record for record in session.document.objects.values() if _holds(record.box, x, y)]
            if not covered:
                self.click(x, y)
                self.commit()

    def _next(self) -> None:
        """Press *Done, next* and wait for the next image."""
        dock = self.tab("Project")
        before = self.annotator.session
        self.press(dock.done_button)
        wait_until(
            lambda: dock.controller.session is not None and self.annotator.session is not before,
            TIMEOUT_S,
            "the next image",
        )
        self.follow_image()


def _holds(box: tuple[int, int, int, int], x: float, y: float) -> bool:
    r0, c0, r1, c1 = box
    return r0 <= y < r1 and c0 <= x < c1


def _choose(folder: Path) -> list[tuple[str, str]]:
    """Choose two images of each of ten cases; return their new names, such as `case01-1`, and their names."""
    cases: dict[str, list[str]] = {}
    with (folder / "index.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["class"] in ("Polyp", "Low-grade IN") and float(row["fg_fraction"]) < 0.75:
                cases.setdefault(row["case_group"], []).append(row["name"])
    chosen: list[tuple[str, str]] = []
    for names in cases.values():
        good = [name for name in names if _is_good(folder, name)]
        if len(good) >= IMAGES_OF_CASE and len(chosen) < CASES * IMAGES_OF_CASE:
            case = len(chosen) // IMAGES_OF_CASE + 1
            chosen += [(f"case{case:02}-{number}", name) for number, name in enumerate(good[:2], start=1)]
    return chosen


def _is_good(folder: Path, name: str) -> bool:
    """Whether an image has three to nine separate glands."""
    try:
        sample = open_sample(folder / "images" / f"{name}.jpg", folder / "masks" / f"{name}.png")
    except Exception:  # noqa: BLE001  (images with too few objects are refused)
        return False
    return 3 <= len(sample.targets) <= 9

"""Membership of the image in use in the open project: adding, removing, training set, class list."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtCore import QObject

from ....arrays import ClassInfo
from ....errors import SampathError
from ....jobs import Job, Progress
from ...background.workers import JobRunner

if TYPE_CHECKING:
    from ....annotations import Box
    from ....session import Project, Session
    from ....session.project.content import ProjectImage


class ProjectHolder(Protocol):
    """The parts of `TrainingState` that this module uses."""

    project: Project | None
    session: Session | None
    message: Any
    project_changed: Any
    saved: Any

    def mark_changed(self) -> None:
        """Record that the image in use may have unsaved changes."""

    def attempt(self, call: Callable[[], object]) -> bool:
        """Call a function; if it raises a `SampathError`, show the message and return False."""


class Membership(QObject):
    """Adds the image in use to the open project or removes it, and keeps their class lists equal.

    Opening an image never adds it.

    Args:
        training: The training state with the project.
        parent: The Qt parent.
    """

    def __init__(self, training: ProjectHolder, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._training = training
        self.file: Path | None = None
        """The file of the image in use; None if it has none."""
        self.runner = JobRunner(self)
        """Runner of the changes to the project, which are made one after another."""
        self._waiting: deque[tuple[Job[Any], str, Callable[[Any], object]]] = deque()
        self._classes: tuple[ClassInfo, ...] = ()
        self._session: Session | None = None
        self._joining = False
        self._listed: tuple[object, dict[Path, ProjectImage]] = (None, {})
        """Content of the project when its images were last listed, and these images by their files."""
        self.runner.failed.connect(training.message)
        self.runner.finished.connect(self._next)

    @property
    def image(self) -> ProjectImage | None:
        """The image in use, as it is in the project; None if it is not in a project."""
        project, session = self._training.project, self._training.session
        return None if project is None or session is None else project.find(session.digest)

    @property
    def files(self) -> Mapping[Path, ProjectImage]:
        """File -> image of the open project; empty without a project."""
        project = self._training.project
        if project is None:
            return {}
        if self._listed[0] is not project.content:
            paths = ((project.file_of(image), image) for image in project.images.values())
            self._listed = (
                project.content,
                {path.resolve(): image for path, image in paths if path is not None},
            )
        return self._listed[1]

    def follow(self, session: Session | None, file: Path | None) -> None:
        """Follow another session, of an image with this file."""
        if self._session is not None:
            self._session.classes_changed.disconnect(self._on_classes)
        self._session, self.file = session, file
        if session is not None:
            self._classes = session.classes.snapshot
            session.classes_changed.connect(self._on_classes)
            self.join()

    def close(self) -> None:
        """Stop following and cancel changes that have not begun."""
        self.follow(None, None)
        self._waiting.clear()
        self.runner.cancel()

    def join(self) -> None:
        """Give the image in use the classes of the project, if it is in it, and the annotations of its sample."""
        project, session = self._training.project, self._session
        if project is None or session is None:
            return
        if project.find(session.digest) is None:
            session.begin_with(project.classes)
            return
        if session.untouched:
            job = _sample_job(project, session.digest)
            self.edit(job, "reading the training sample", partial(self._restore, project, session))
        else:
            self._adopt(project, session)

    def put_in(self, copy: bool = False, training: bool = True) -> None:
        """Add the image in use to the project.

        Args:
            copy: Copy its file into the project, instead of using it in place.
            training: Whether heads are trained on it.
        """
        project, session = self._training.project, self._session
        if project is None or session is None:
            self._training.message.emit("No project is open; open or create one in the Project tab first.")
            return
        job = _put_in_job(project, session, self.file, copy, training)
        self.edit(job, "adding the image", lambda image: self._on_put_in(image, project, session))

    def take_out(self) -> None:
        """Remove the image in use from the project; its annotations are kept in its journal."""
        self._change(
            lambda project, digest: project.remove(digest),
            "removing the image",
            "Removed '{name}' from the project; its annotations are kept.",
        )

    def set_training(self, training: bool) -> None:
        """Add the image in use to the training set, or remove it."""
        text = "Heads are trained on '{name}'." if training else "Heads are not trained on '{name}' any more."
        self._change(
            lambda project, digest: project.set_training(digest, training), "changing the training set", text
        )

    def restrict(self, box: Box | None) -> None:
        """Restrict training to a box (r0, c0, r1, c1) of the image in use; None means the whole image."""
        text = (
            "Training uses the whole of '{name}'."
            if box is None
            else "Training uses this region of '{name}' only."
        )
        regions = () if box is None else (box,)
        self._change(
            lambda project, digest: project.set_regions(digest, regions), "changing the training set", text
        )

    def rename(self, name: str) -> None:
        """Rename the image in use in the project."""
        self._change(
            lambda project, digest: project.rename_image(digest, name),
            "renaming the image",
            "Renamed '{name}'.",
        )

    def put_in_file(self, path: Path) -> None:
        """Add an image file that is not open to the project and its training set."""
        project = self._training.project
        if project is not None and path == self.file:
            self.put_in()
        elif project is not None:
            self.edit(_put_in_file_job(project, path), f"adding {path.name}", self._say_put_in)

    def change_file(self, path: Path, training: bool | None) -> None:
        """Add the image of a file to the training set, or remove it; None removes it from the project."""
        image = self.files.get(path.resolve())
        if image is not None:
            self.change_image(image, training)

    def change_image(self, image: ProjectImage, training: bool | None) -> None:
        """Add an image of the project to the training set, or remove it; None removes it from the project."""
        text = "Removed '{name}' from the project; its annotations are kept."
        if training is not None:
            text = "'{name}' is " + ("in" if training else "not in") + " the training set."

        def change(project: Project, digest: str) -> None:
            if training is None:
                project.remove(digest)
            else:
                project.set_training(digest, training)

        self._change(change, "changing the project", text, image)

    def set_split(self, image: ProjectImage, split: str) -> None:
        """Move the slide or case of an image to a split: "train", "val" or "test"."""
        purpose = {"train": "training", "val": "validation"}.get(split, "tests")
        self._change(
            lambda project, _digest: project.set_split(project.slide_of(image), split),
            "changing the training set",
            f"All images of the slide or case of '{{name}}' are used for {purpose}.",
            image,
        )

    def _say_put_in(self, image: ProjectImage) -> None:
        self._training.message.emit(f"'{image.name}' is in the project, in the training set.")

    def edit(self, job: Job[Any], doing: str, then: Callable[[Any], object] = lambda _result: None) -> None:
        """Run a job that changes the project, after the changes that were started before.

        Args:
            job: The job.
            doing: Short description of the activity that can follow "while".
            then: Called with its result, unless it failed.
        """
        self._waiting.append((job, doing, then))
        self._next()

    def _next(self) -> None:
        if self.runner.busy or not self._waiting:
            return
        job, doing, then = self._waiting.popleft()

        def done(result: Any) -> None:
            then(result)
            self._training.project_changed.emit()
            self._training.saved.emit()

        self.runner.start(job, doing, done)

    def _change(
        self,
        change: Callable[[Project, str], object],
        doing: str,
        text: str,
        image: ProjectImage | None = None,
    ) -> None:
        """Change an image of the project, by default the one in use."""
        project, image = self._training.project, image or self.image
        if project is None or image is None:
            self._training.message.emit("The image in use is not in a project; add it first.")
            return

        def done(_result: object) -> None:
            self._training.message.emit(text.format(name=image.name))
            self._training.mark_changed()

        self.edit(_call_job(lambda: change(project, image.digest)), doing, done)

    def _on_put_in(self, image: ProjectImage, project: Project, session: Session) -> None:
        where = "in place" if self.file is not None and not image.file.startswith("sources/") else "as a copy"
        role = "; heads are trained on its verified area" if image.training else ""
        self._training.message.emit(f"'{image.name}' is in the project '{project.name}' {where}{role}.")
        if session is self._session:
            self._adopt(project, session)
            self._training.mark_changed()

    def _restore(self, project: Project, session: Session, sample: Any) -> None:
        from ....session.project.membership import restore_sample

        if session is not self._session:
            return
        restored = self._training.attempt(lambda: restore_sample(session, sample))
        if restored and session.document.objects:
            self._training.message.emit("Restored the annotations of the training sample of this image.")
        self._adopt(project, session)

    def _adopt(self, project: Project, session: Session) -> None:
        from ....session.project.membership import join_project

        self._joining = True
        try:
            note = join_project(session, project)
        except SampathError as error:
            note = str(error)
        finally:
            self._joining = False
            self._classes = session.classes.snapshot
        if note:
            self._training.message.emit(note)

    def _on_classes(self) -> None:
        """Apply an edit of the class list of an image in the project to the project."""
        session, project = self._session, self._training.project
        if session is None or self._joining or session.classes.snapshot == self._classes:
            return
        before, self._classes = self._classes, session.classes.snapshot
        if project is None or self.image is None:
            return
        from ....session.project.membership import follow_classes

        try:
            note = follow_classes(project, before, self._classes)
        except SampathError as error:
            note = str(error)
        if note:
            self._training.message.emit(note)
        self._training.project_changed.emit()


def _put_in_file_job(project: Project, path: Path) -> Job[ProjectImage]:
    from ....annotations import pixel_digest
    from ....images import read

    yield Progress(0, 0, f"Adding {path.name}")
    image = read(path)
    hw = (image.pixels.shape[0], image.pixels.shape[1])
    return project.add(pixel_digest(image.pixels), hw, image.name, path, mpp=image.mpp)


def _call_job(call: Callable[[], object]) -> Job[Any]:
    yield Progress(0, 0, "Changing the project")
    return call()


def _sample_job(project: Project, digest: str) -> Job[Any]:
    from ....session.project.membership import read_sample

    yield Progress(0, 0, "Reading the training sample")
    return read_sample(project, digest)


def _put_in_job(
    project: Project, session: Session, file: Path | None, copy: bool, training: bool
) -> Job[ProjectImage]:
    """Add an image; if its file has other pixels than the layer, for example another page, save the pixels."""
    from ....annotations import pixel_digest
    from ....images import open_image

    yield Progress(0, 0, "Adding the image")
    digest = session.digest
    if file is not None:
        try:
            with open_image(file) as image:
                if pixel_digest(image.pixels) != digest:
                    file = None
        except SampathError:
            file = None
    pixels = None if session.slide is not None else session.image
    return project.add(
        digest, session.hw, session.name, file, copy, training, session.files.mpp, pixels=pixels
    )

"""Audit of the labels in a dataset folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...annotations import Verify
from ...arrays import LocalMask
from ...formats import Labels, Objects
from ...jobs import Job, Progress
from ..editor import Editor
from ..objects.audit import Finding, audit_job
from ..proposals.new_objects import from_file
from ..proposals.plan import plan_import

if TYPE_CHECKING:
    from ...annotations import Document
    from ...formats import DatasetFolder, DatasetItem


def audit_dataset_job(folder: DatasetFolder) -> Job[list[tuple[str, Finding, str]]]:
    """Make a job that looks for probable mistakes in the labels of all images of a dataset.

    Returns:
        The name of the image, the finding, and a sentence that describes it.

    Raises:
        DatasetError: If a file cannot be read.
    """
    found: list[tuple[str, Finding, str]] = []
    for done, name in enumerate(folder.images):
        yield Progress(done, len(folder.images), "Auditing the labels", "images")
        document = _document(folder, folder.read(name))
        findings = yield from audit_job(document)
        found += [(name, finding, finding.sentence(document)) for finding in findings]
    yield Progress(len(folder.images), len(folder.images), "Auditing the labels", "images")
    return found


def _document(folder: DatasetFolder, item: DatasetItem) -> Document:
    """Return a document with the labels and the verified area of an image."""
    instances = item.instances if item.instances is not None else np.zeros_like(item.labels)
    editor = Editor((item.labels.shape[0], item.labels.shape[1]), folder.classes, None)
    objects = Objects.of(Labels(item.labels, instances.astype(np.int32), folder.classes))
    operation = plan_import(editor.document, from_file(objects))
    if operation is not None:
        editor.do(operation)
    area = LocalMask.from_dense(item.annotated)
    if area.bitmap.size and not item.annotated.all():
        editor.do(Verify(area))
    return editor.document

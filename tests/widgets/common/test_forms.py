"""The forms of the docks: each edits one value object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from napari_sampath.arrays import ClassInfo
from napari_sampath.predict import EverythingSettings
from napari_sampath.session import ResultFilter
from napari_sampath.settings import setting
from napari_sampath.widgets.annotate.mask_rules import MaskRules, MaskRulesForm
from napari_sampath.widgets.annotate.model_form import ModelForm
from napari_sampath.widgets.common.settings_form import SettingsForm
from napari_sampath.widgets.export.format_list import FormatList
from napari_sampath.widgets.objects.filters import ObjectFilter, ObjectFilterForm
from napari_sampath.widgets.segment.result_filter_form import DELAY_MS, ResultFilterForm
from napari_sampath.widgets.train.jobs import TrainingSettings
from napari_sampath.widgets.train.text_table import TextTable
from napari_sampath.widgets.viewer.jobs import Catalogue
from napari_sampath.widgets.viewer.viewer_state import ModelChoice

pytestmark = pytest.mark.gui


def model_form() -> Any:
    form = ModelForm()
    encoders = (("sampath-tiny", "small"), ("vit_b", "large"))
    form.show_catalogue(Catalogue(encoders, ("auto", "cpu"), ()), ModelChoice())
    return form


def object_filter_form() -> Any:
    form = ObjectFilterForm()
    form.show_classes((ClassInfo(4, "stroma", (0, 0, 255)),))
    return form


def result_filter_form() -> Any:
    form = ResultFilterForm()
    form.show_classes(("gland", "stroma"))
    return form


FORMS = [
    (model_form, ModelChoice("vit_b", "cpu", Path("own.pth"))),
    (MaskRulesForm, MaskRules("semantic", "ask")),
    (object_filter_form, ObjectFilter(4, "brush", True)),
    (result_filter_form, ResultFilter(50, {"stroma": 0.3}, True)),
    (lambda: SettingsForm(TrainingSettings()), TrainingSettings("cnn", 7, True)),
    (FormatList, ("tiff", "coco-polygons")),
    (lambda: SettingsForm(EverythingSettings()), EverythingSettings(8, pred_iou_thresh=0.5)),
]


@pytest.mark.parametrize(("make", "value"), FORMS)
def test_a_form_returns_the_value_that_it_shows(qtbot: Any, make: Callable[[], Any], value: Any) -> None:
    form = make()
    qtbot.addWidget(form)
    emitted: list[Any] = []
    form.valueChanged.connect(emitted.append)
    assert form.value() != value
    form.setValue(value)
    qtbot.wait(2 * DELAY_MS)
    assert form.value() == value
    assert not emitted, "showing a value emits no signal"


@dataclass(frozen=True)
class Settings:
    """Settings of every kind."""

    count: int = setting(3, min=1, max=5, label="Count")
    """Number of things."""
    share: float = setting(0.25, min=0, max=1, step=0.05, label="Share")
    on: bool = setting(True, label="On", tooltip="Whether it is on")
    kind: str = setting("b", choices=("a-one", "b"), label="Kind")
    hidden: int = 9


def test_editing_a_settings_form_emits_the_new_settings(qtbot: Any) -> None:
    form = SettingsForm(Settings())
    qtbot.addWidget(form)
    emitted: list[Settings] = []
    form.valueChanged.connect(emitted.append)
    assert list(form.widgets) == ["count", "share", "on", "kind"]
    form.widgets["count"].native.setValue(4)
    form.widgets["share"].native.setValue(0.3)
    form.widgets["on"].native.click()
    form.widgets["kind"].native.setCurrentText("a one")
    assert emitted[-1] == form.value() == Settings(4, 0.3, False, "a-one")
    assert len(emitted) == 4
    form.widgets["count"].native.setValue(99)
    assert form.value().count == 5, "the maximum of the field"


def test_labels_and_tooltips_come_from_the_fields(qtbot: Any) -> None:
    form = SettingsForm(Settings(), ("on", "count"), {"count": {"max": 4}})
    qtbot.addWidget(form)
    assert [label.text() for label in form.findChildren(QLabel)] == ["Count"]
    assert form.widgets["on"].native.text() == "On"
    assert form.widgets["on"].native.toolTip() == "Whether it is on"
    assert form.widgets["count"].native.toolTip() == "Number of things."
    form.setValue(replace(Settings(), count=4, hidden=2))
    assert form.value() == Settings(count=4, hidden=2), "fields that are not shown keep their value"
    assert form.widgets["count"].max == 4


def test_a_text_table_replaces_its_rows(qtbot: Any) -> None:
    table = TextTable()
    qtbot.addWidget(table)
    table.show()
    table.show_rows([(None, ("", "train")), ((255, 0, 0), ("<b>gland</b>", "3"))])
    assert table.text() == "train <b>gland</b> 3"
    table.show_rows([(None, ("images", "7"))])
    qtbot.waitUntil(
        lambda: [label.text() for label in visible_labels(table)] == ["images", "7"], timeout=60_000
    )


def visible_labels(table: TextTable) -> list[QLabel]:
    return [label for label in table.findChildren(QLabel) if label.isVisible()]


def test_a_download_is_asked_for_before_it_starts(qtbot: Any) -> None:
    form = ModelForm()
    qtbot.addWidget(form)
    form.show()
    downloads = {"vit_b": "358 MB, licence Apache-2.0"}
    encoders = (("sampath-tiny", "small"), ("vit_b", "large"))
    form.show_catalogue(Catalogue(encoders, ("auto",), (), (), downloads), ModelChoice())
    emitted: list[Any] = []
    form.valueChanged.connect(emitted.append)

    def choose(name: str) -> None:
        form.model.setCurrentIndex(form.model.findData(name))
        form.model.activated.emit(form.model.currentIndex())

    choose("vit_b")
    assert not emitted
    assert form.consent.isVisible()
    assert form.question.text() == "'vit_b' is not on this machine (358 MB, licence Apache-2.0). Download it?"
    qtbot.mouseClick(form.cancel_button, Qt.MouseButton.LeftButton)
    assert not emitted
    assert form.model.currentData() == "sampath-tiny"
    assert not form.consent.isVisible()
    choose("vit_b")
    qtbot.mouseClick(form.download_button, Qt.MouseButton.LeftButton)
    assert emitted == [ModelChoice("vit_b")]
    choose("sampath-tiny")
    assert len(emitted) == 2, "a model that is here is used at once"

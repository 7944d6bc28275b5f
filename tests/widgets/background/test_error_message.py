"""Messages about unexpected errors name a log file that exists, and `sampath doctor`."""

from __future__ import annotations

from napari_sampath.config import load_config
from napari_sampath.errors import ImageError
from napari_sampath.widgets.background.workers import error_message


def test_unexpected_error_leads_to_a_log_that_exists() -> None:
    log = load_config().log_file
    assert not log.exists()
    try:
        raise KeyError("surprise")
    except KeyError as error:
        message = error_message(error, "opening the image")
    assert message.startswith("An unexpected error occurred while opening the image (KeyError)")
    assert "sampath doctor" in message
    assert str(log) in message
    assert "KeyError: 'surprise'" in log.read_text()
    assert "While opening the image" in log.read_text()


def test_expected_errors_are_not_logged() -> None:
    assert error_message(ImageError("'a.tif' is no image."), "opening the image") == "'a.tif' is no image."
    assert not load_config().log_file.exists()

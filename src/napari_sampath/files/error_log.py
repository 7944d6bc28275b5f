"""Log file of unexpected errors, for reports of bugs."""

from __future__ import annotations

import contextlib
import logging
import platform
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_BYTES = 500_000
"""Size at which a log file is renamed to "errors.log.1" and a new one is begun."""
DOCTOR = "run 'sampath doctor'"
"""What to do about an unexpected error."""


def record_error(doing: str, error: BaseException, file: Path) -> str:
    """Append an unexpected error with its traceback to a log file.

    Args:
        doing: Description of the activity that can follow "while".
        error: The exception.
        file: The log file; it and its folder are created.

    Returns:
        A sentence that tells the user where the log is, or why it could not be written, and what to do.
    """
    record = logging.makeLogRecord(
        {
            "name": "napari_sampath",
            "levelno": logging.ERROR,
            "levelname": "ERROR",
            "msg": "While %s, on %s with Python %s",
            "args": (doing, platform.platform(), platform.python_version()),
            "exc_info": (type(error), error, error.__traceback__),
        }
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(
            _Handler(file, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8")
        ) as handler:
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            handler.emit(record)
    except OSError as refused:
        reason = f"no log was written, '{file}': {refused.strerror or refused}"
        return f"If it happens again, please report this bug: {DOCTOR} and attach its output ({reason})."
    return f"If it happens again, please report this bug: {DOCTOR}, and attach its output and the log file '{file}'."


class _Handler(RotatingFileHandler):
    """Handler that raises errors of the disk instead of printing them."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise the current exception."""
        error = sys.exception()
        raise error if error is not None else OSError("the record could not be written")

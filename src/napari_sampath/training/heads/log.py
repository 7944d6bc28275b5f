"""Training log: a CSV file beside the bundle, and TensorBoard events if TensorBoard is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import StorageError
from ...files import write_atomically

logger = logging.getLogger(__name__)


class TrainingLog:
    """Log of a training run in a CSV file that is named like the bundle."""

    def __init__(self, bundle: Path) -> None:
        self.path = bundle.with_suffix(".csv")
        self._board_dir = bundle.with_name(f"{bundle.stem}-tensorboard")
        self._board: Any = None
        self._failed = False

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the rows, one per epoch, of all epochs so far; after a failure, log one warning and stop writing."""
        if not rows or self._failed:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        try:
            write_atomically(self.path, lambda stream: stream.write(text.getvalue().encode("utf-8")))
            self._add_to_tensorboard(rows[-1])
        except (StorageError, OSError) as error:
            self._failed = True
            logger.warning("The training log is no longer written: %s", error)

    def close(self) -> None:
        """Close the TensorBoard log."""
        if self._board is not None:
            self._board.close()

    def _add_to_tensorboard(self, row: dict[str, Any]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            return
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._board_dir))
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self._board.add_scalar(name, value, row["epoch"])

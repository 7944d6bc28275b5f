"""Time from the start of napari to the first object of a new user who reads and follows the tutorial."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .startup import ROOT
from .table import Row, limited

PAGE = ROOT / "docs" / "tutorial-images.md"
STEP, NEXT_HEADING = "First object", "## 5."
LIMIT_MIN = 5.0
WORDS_PER_MINUTE, ACTION_S = 200, 5
"""How fast a new user reads, and how long one finds and presses what was read about; assumed, not measured."""


def rows(quick: bool = False) -> Iterator[Row]:
    """Follow the tutorial in a window; add the time to read its text, and to find each button."""
    if not (data_folder() / "ebhi_glands").is_dir():
        return
    with tempfile.TemporaryDirectory() as folder:
        own = {"SAMPATH_CACHE": f"{folder}/cache", "SAMPATH_USER_DATA": f"{folder}/data"}
        command = ["bash", str(ROOT / "scripts" / "under_display.sh"), sys.executable]
        command += ["-m", f"{__package__}.tutorials", "images", "--until", STEP, "--output", folder]
        output = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | own, cwd=ROOT
        ).stdout
    values = json.loads(output.strip().splitlines()[-1])
    words, actions, program_s = words_to_read(), values["actions"], values["first_object_s"]
    minutes = (program_s + actions * ACTION_S) / 60 + words / WORDS_PER_MINUTE
    note = (
        f"{program_s:.0f} s of the program, measured; assumed: {words} words at {WORDS_PER_MINUTE} a minute, "
        f"{actions} presses and clicks at {ACTION_S} s"
    )
    yield limited(
        "first object, following the tutorial after the installation", minutes, LIMIT_MIN, "min", note
    )


def data_folder() -> Path:
    """Return the folder of the images of the tutorials."""
    return Path(os.environ.get("SAMPATH_DATA", ROOT.parent / "shared" / "data"))


def words_to_read() -> int:
    """Count the words of the tutorial up to the first object, without pictures."""
    text = PAGE.read_text(encoding="utf-8").partition(NEXT_HEADING)[0]
    return len(re.sub(r"!\[[^]]*]\([^)]*\)|```|#|\]\([^)]*\)", " ", text).split())

"""The model card of `sampath-tiny`, written from its weights file and from measured scores, never by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..encoders import tiny
from ..files import write_atomically
from .prompt_evaluation import PromptScore
from .tune import read_facts

_ATTRIBUTION = """\
| set | used for | licence and attribution |
|---|---|---|
| EBHI-Seg | glands | CC BY 4.0: Shi et al. 2023, Front. Med. 10:1114673, figshare 21540159; JPEG q90 |
| BBBC038v1 | nuclei | CC0: Caicedo et al. 2019, Nat. Methods 16, Broad Bioimage Benchmark Collection |
| histolytics 0.3.0 example (HGSC) | nuclei | BSD-3-Clause; its masks were made by a model, not by hand |
| BCSS (two regions) | tumour nests | CC0: Amgad et al. 2019, Bioinformatics 35(18) |
"""

_LIMITS = """\
- **Not a medical device.** Not for diagnosis, grading, counting or any decision about a patient.
- Trained on colorectal glands, a few dozen fields of nuclei and one tumour region; other organs, stains
  (immunohistochemistry, frozen sections) and scanners have not been measured.
- Validation splits are small: 8 images of nuclei, 237 of glands. Treat differences of a few points as noise.
- One point in a large, irregular gland is ambiguous; add a second point or draw a box.
- It knows objects of 10 to 600 px at the scale of the tile; very small nuclei in an overview are missed.
"""


def write_model_card(path: Path, weights: Path, scores: list[PromptScore]) -> Path:
    """Write the card as Markdown.

    Args:
        path: File to write.
        weights: The weights file the scores belong to.
        scores: From `evaluate_prompts`.

    Returns:
        `path`.
    """
    facts = read_facts(weights)
    text = f"""# Model card: {tiny.INFO.name}

Written by `sampath evaluate --prompts --data FOLDER --card FILE`; do not edit.

| | |
|---|---|
| what it is | promptable segmentation of H&E tissue with SAM's interface: 1,024 px in, embedding (256, 64, 64) |
| encoder | timm `{tiny.BACKBONE}` fused on the 64 x 64 grid, from random weights |
| decoder | SAM's prompt encoder (prompts also drawn as maps) and mask decoder, from random weights |
| file | `{weights.name}`, {weights.stat().st_size / 1e6:.1f} MB, float16 safetensors |
| sha256 | `{hashlib.sha256(weights.read_bytes()).hexdigest()}` |
| licence | {tiny.INFO.licence} |
| trained on | {json.dumps(facts.get("data", {}))} images (train splits only) |
| hardware, time | {facts.get("hardware", "unknown")}, {facts.get("hours", "unknown")} h |

## Scores

Mean IoU over all objects of the validation splits (split by case or parent field, never by file).
Box: the object's outer edges. Point: the pixel farthest from the object's edge, best of three candidates by
predicted IoU. Nuclei of at least 20 px; glands are connected components of at least 400 px.

{score_table(scores)}
## Data

{_ATTRIBUTION}
## Recipe

{_recipe(facts)}

## Limits

{_LIMITS}"""
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def _recipe(facts: dict[str, object]) -> str:
    """Write each stage of a training as its command and settings, the first stage first."""
    start = facts.get("start")
    before = _recipe(start) + "\n\nthen, from those weights, " if isinstance(start, dict) else ""
    stopped = f", stopped after {facts['stopped_after']} steps" if "stopped_after" in facts else ""
    settings = json.dumps(facts.get("recipe", {}), indent=1)
    begin = " --start FILE" if isinstance(start, dict) else ""
    command = f"sampath tune --recipe pretrain{begin} --data FOLDER -o FILE"
    return f"{before}`{command}` with{stopped}:\n\n```json\n{settings}\n```"


def score_table(scores: list[PromptScore]) -> str:
    """Render scores as a Markdown table, one row a kind and prompt, methods side by side in the last column."""
    lines = ["| objects | prompt | method | mean IoU | count |", "|---|---|---|---|---|"]
    for score in sorted(scores, key=lambda s: (s.kind, s.prompt, -s.mean_iou)):
        lines.append(
            f"| {score.kind} | {score.prompt} | {score.method} | {score.mean_iou:.3f} "
            f"| {score.objects} in {score.images} images |"
        )
    return "\n".join(lines) + "\n"

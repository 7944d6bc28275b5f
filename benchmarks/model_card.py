"""The model card of `sampath-tiny`, written from its weights file and from measured scores, never by hand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from napari_sampath.encoders.tiny import tiny
from napari_sampath.files import write_atomically
from napari_sampath.heads import list_bundles, load_head
from napari_sampath.training.evaluation.failures import WorstAnswers
from napari_sampath.training.evaluation.instance_evaluation import InstanceScore
from napari_sampath.training.evaluation.prompt_evaluation import MOST_POINTS, POINTS, PromptScore
from napari_sampath.training.evaluation.report import figure
from napari_sampath.training.prompts.config import recipe
from napari_sampath.training.prompts.tune import read_facts

_ATTRIBUTION = """\
| set | used for | licence and attribution |
|---|---|---|
| EBHI-Seg | glands | CC BY 4.0: Shi et al. 2023, Front. Med. 10:1114673, figshare 21540159; JPEG q90 |
| BBBC038v1 | nuclei | CC0: Caicedo et al. 2019, Nat. Methods 16, Broad Bioimage Benchmark Collection |
| histolytics 0.3.0 example (HGSC) | nuclei, tumour | BSD-3-Clause; its masks were made by a model, not by hand |
| BCSS (two regions) | tumour nests | CC0: Amgad et al. 2019, Bioinformatics 35(18) |
"""

_LIMITS = """\
- **Not a medical device.** Not for diagnosis, grading, counting or any decision about a patient.
- Trained on colorectal glands, a few dozen fields of nuclei and two tumour regions; other organs, stains
  (immunohistochemistry, frozen sections) and scanners have not been measured.
- Validation splits are small: 8 images of nuclei, 237 of glands. Treat differences of a few points as noise.
- One point in a large, irregular gland is ambiguous; add a second point or draw a box.
- It knows objects of 10 to 600 px at the scale of the tile; very small nuclei in an overview are missed; zoom
  in, and they are seen at twice the scale.
- `nucleus-cnn` learned from fields of nuclei alone. In H&E tissue with small nuclei (below some 8 px of a tile of
  224 px) it outlines glands or nests of tumour instead; look at what it found, or prompt nuclei one by one.
"""


def write_model_card(
    path: Path,
    weights: Path,
    scores: list[PromptScore],
    reports: Sequence[Mapping[str, Any]] = (),
    worst: WorstAnswers | None = None,
    told_apart: Sequence[InstanceScore] = (),
) -> Path:
    """Write the card as Markdown.

    Args:
        path: File to write.
        weights: The weights file the scores belong to.
        scores: From `evaluate_prompts`.
        reports: From `evaluate`, of the trained heads in the package.
        worst: The worst answers, drawn into `images/NAME-failures.jpg` beside the card.
        told_apart: From `evaluate_instances`.

    Returns:
        `path`.
    """
    facts = read_facts(weights)
    text = f"""# Model card: {tiny.INFO.name}

Written by `sampath evaluate --prompts --data FOLDER --card FILE`; do not edit.

| | |
|---|---|
| what it is | promptable segmentation of H&E tissue with SAM's interface: 1,024 px in, embedding (256, 64, 64) |
| encoder | timm `{tiny.SAMPATH_TINY.backbone}` fused on the 64 x 64 grid, from random weights |
| decoder | SAM's prompt encoder (prompts also drawn as maps) and mask decoder, from random weights |
| file | `{weights.name}`, {weights.stat().st_size / 1e6:.1f} MB, float16 safetensors |
| sha256 | `{_sha256(weights)}` |
| licence | {tiny.INFO.licence} |
| trained on | {json.dumps(facts.get("data", {}))} images (train splits only) |
| training | {_hours(facts)} |

## Scores

Mean IoU over all objects of the validation splits (split by case or parent field, never by file).
Box: the object's outer edges. Point: the pixel farthest from the object's edge, best of three candidates by
predicted IoU. Nuclei of at least 20 px; glands are connected components of at least 400 px. "{POINTS}":
of some objects of each image, drawn at random, the points until then, each in the middle of the worst mistake, answered
by the mask that obeys most of them, made to follow all after the first; {MOST_POINTS} where that is not reached.
"Closer": nuclei on tiles of half the side, which answer in a session whose user has zoomed in. "Colours x": saturation
and brightness multiplied, the hue turned. Intervals (95 %) are over cases, which are few: nuclei are of five parent
fields, tumour of one patient.

{score_table(scores)}
{_heads(reports)}{_told_apart(told_apart)}{_failures(path, worst)}## Data

{_ATTRIBUTION}
## Recipe

{_recipe(facts, "pretrain")}

{_beside(weights)}## Limits

{_LIMITS}"""
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def _stages(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """List what is known of each stage of a training, the first one first."""
    start = facts.get("start")
    before = _stages(start) if isinstance(start, dict) else []
    return [*before, facts] if "recipe" in facts else before


def _hours(facts: dict[str, Any]) -> str:
    """Add up the stages."""
    known = [float(stage["hours"]) for stage in _stages(facts) if "hours" in stage]
    return f"{sum(known):.1f} h in {len(known)} stages, see Recipe" if known else "unknown"


def _recipe(facts: dict[str, Any], name: str) -> str:
    """Write each stage of a training as its command, the first stage first; all are changes of one recipe."""
    usual = dataclasses.asdict(recipe(name))
    stages = _stages(facts)
    if not stages:
        return "Not known: the file does not say how it was made."
    first = stages[0].get("start")
    start = str(first["file"]) if isinstance(first, dict) else str(first)
    lines = []
    for number, stage in enumerate(stages, start=1):
        words = ["sampath", "tune", "--recipe", name, "--data", "FOLDER", "--start", start]
        start = f"stage{number}.safetensors"
        words += ["-o", start]
        if "merged" in stage:
            words += ["--merge", *(f"stage{len(_stages(one))}.safetensors" for one in stage["merged"])]
        if stage.get("model", tiny.INFO.name) != tiny.INFO.name:
            words += ["--model", stage["model"]]
        for field, value in stage["recipe"].items():
            flag = f"--{field.replace('_', '-')}"
            if value in ("", usual.get(field, value)):
                continue
            words += (
                [flag if value else f"--no-{flag[2:]}"] if isinstance(value, bool) else [flag, str(value)]
            )
        notes = [
            f"{stage[fact]}{unit}" for fact, unit in (("hours", " h"), ("hardware", "")) if fact in stage
        ]
        if "stopped_after" in stage:
            notes.append(f"stopped after {stage['stopped_after']} steps")
        lines += [f"# {', '.join(notes)}", " ".join(words)]
    return "```bash\n" + "\n".join(lines) + "\n```"


def _beside(weights: Path) -> str:
    """List what is shipped beside `sampath-tiny`, and how it was made; nothing for other weights than the shipped."""
    second = tiny.MODELS[tiny.PATH_INFO.name].weights
    if not (weights.samefile(tiny.SAMPATH_TINY.weights) and second.is_file()):
        return ""
    files = [second, *(Path(load_head(name).source) for name in list_bundles())]
    lines = [f"| `{one.stem}` | {one.stat().st_size / 1e6:.1f} MB | `{_sha256(one)}` |" for one in files]
    return (
        "## Files beside it\n\nHeads are trained by `recipes/heads.sh`. The second encoder (timm "
        f"`{tiny.MODELS[tiny.PATH_INFO.name].backbone}`, fused as the first) has seen dense targets alone:\n\n"
        f"{_recipe(read_facts(second), 'dense')}\n\n| file | size | sha256 |\n|---|---|---|\n"
    ) + "\n".join([*lines, "\n"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _failures(card: Path, worst: WorstAnswers | None) -> str:
    """Draw the worst answers beside the card, and say what they show."""
    if worst is None or not worst.rows():
        return ""
    picture = card.parent / "images" / f"{card.stem}-failures.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(worst.picture())
    write_atomically(picture, lambda file: image.save(file, format="JPEG", quality=85))
    rows = "; ".join(worst.rows())
    return (
        "## Known failures\n\nThe worst answers of the scores above, the true outline in green and the answer's in "
        f"yellow. Rows from the top: {rows}. Images: see Data.\n\n![the worst answers](images/{picture.name})\n\n"
    )


def _heads(reports: Sequence[Mapping[str, Any]]) -> str:
    """Write the scores of the heads in the package; nothing where none was measured."""
    if not reports:
        return ""
    lines = ["| head | images | method | mean Dice | mean IoU | pooled Dice |", "|---|---|---|---|---|---|"]
    for report in reports:
        for method, scores in report["scores"].items():
            own, pooled = scores["per_image"]["mean"], scores["pooled"]["mean"]
            lines.append(
                f"| `{report['head']}` | {report['images']} of {report['dataset']} ({report['split']}) | {method} "
                f"| {figure(own['dice'])} | {figure(own['iou'])} | {figure(pooled['dice'])} |"
            )
    title = (
        "## Heads in the package\n\nMean over the images; pooled: the pixels of all images together. Background is "
        "not counted. A `unet` is a baseline, trained from random weights by `recipes/baselines.sh` and not in the "
        "package; that of glands learns from as few images as the heads do, and from all of them in the "
        "[results](results.md). Images without tumour have no Dice of their own, so read the pooled one of tumour; how "
        "much its head's training lets a pixel of tumour count was chosen on these images.\n\n"
    )
    return title + "\n".join(lines) + "\n\n"


def _told_apart(scores: Sequence[InstanceScore]) -> str:
    """Write how well objects are told apart; nothing where that was not measured."""
    if not scores:
        return ""
    lines = ["| objects | method | PQ | F1 | AJI | count |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one.kind} | {one.method} | {figure(one.pq)} | {figure(one.f1)} | {figure(one.aji)} "
        f"| {one.objects} in {one.images} images |"
        for one in scores
    ]
    return (
        "## Objects told apart\n\nNothing is clicked. Panoptic quality, F1 and aggregated Jaccard index; a hit has an "
        'IoU above 0.5. "Everything" asks at 16 x 16 points. How areas are cut was chosen partly on these images.\n\n'
        + "\n".join(lines)
        + "\n\n"
    )


def interval(score: PromptScore) -> str:
    """Write the interval of a score in words."""
    if score.low is None or score.high is None:
        return "one case"
    return f"{score.low:.3f} to {score.high:.3f}"


def score_table(scores: list[PromptScore]) -> str:
    """Render scores as a Markdown table, one row a kind and prompt, methods side by side in the last column."""
    lines = ["| objects | prompt | method | mean (95 % interval) | count |", "|---|---|---|---|---|"]
    for score in scores:
        lines.append(
            f"| {score.kind} | {score.prompt} | {score.method} "
            f"| {score.mean:.3f} ({interval(score)}) "
            f"| {score.objects} in {score.images} images of {score.cases} cases |"
        )
    return "\n".join(lines) + "\n"

"""Scores of the evaluation compared with their definitions, and reports."""

from __future__ import annotations

import base64
import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.distance import cdist

from napari_sampath.arrays import ClassInfo
from napari_sampath.cli import main
from napari_sampath.errors import DatasetError, UnknownNameError
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.heads import load_head
from napari_sampath.jobs import run
from napari_sampath.training import TrainingConfig, evaluate, format_report, open_dataset, train
from napari_sampath.training.data.dataset import IGNORED
from napari_sampath.training.evaluation.html_report import choose_images, write_html_job
from napari_sampath.training.evaluation.panoptic_quality import ObjectCounts, connected
from napari_sampath.training.evaluation.published_results import PAPERS, paper
from napari_sampath.training.evaluation.reference_metrics import (
    ReferenceMetrics,
    prompt_generator_dice,
    prompt_generator_labels,
)
from napari_sampath.training.evaluation.scoring import Calibration, Scorer
from napari_sampath.training.evaluation.surface_distance import surface_distances
from support.models.patches import disc_image, patch_model

CLASSES = (ClassInfo(0, "background", (0, 0, 0)), ClassInfo(1, "disc", (255, 0, 0)))


def blobs(seed, hw=(20, 24)):
    rng = np.random.default_rng(seed)
    return rng.random(hw) < rng.uniform(0.02, 0.5)


def outline(mask):
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inner)


class TestSurfaces:
    @given(first=st.integers(0, 999), second=st.integers(0, 999))
    @settings(deadline=None, max_examples=60)
    def test_every_pair_of_outline_pixels(self, first, second):
        a, b = blobs(first), blobs(second)
        assume(a.any() and b.any())
        found = surface_distances(a, b)
        table = cdist(outline(a), outline(b))
        there, back = table.min(axis=1), table.min(axis=0)
        assert found.hd95 == pytest.approx(np.percentile(np.concatenate([there, back]), 95))
        assert found.assd == pytest.approx((there.mean() + back.mean()) / 2)
        assert surface_distances(b, a).hd95 == pytest.approx(found.hd95)

    def test_shifted_and_empty(self):
        a = np.zeros((40, 40), bool)
        a[10:20, 10:20] = True
        assert surface_distances(a, a).hd95 == 0
        assert surface_distances(a, np.roll(a, 3, axis=1)).hd95 == 3
        assert surface_distances(a, np.zeros_like(a)) is None


class TestObjects:
    @given(first=st.integers(0, 999), second=st.integers(0, 999))
    @settings(deadline=None, max_examples=60)
    def test_counts_by_definition(self, first, second):
        predicted, true = connected(blobs(first)), connected(blobs(second))
        counts = ObjectCounts()
        counts.add(predicted, true)
        pairs, used, overlap, union = [], set(), 0, 0
        for t in range(1, true.max() + 1):
            ious = {}
            for p in range(1, predicted.max() + 1):
                both = ((predicted == p) & (true == t)).sum()
                if both:
                    ious[p] = both / ((predicted == p) | (true == t)).sum()
            pairs += [(p, t, value) for p, value in ious.items() if value > 0.5]
            best = max(ious, key=lambda p: (ious[p], -p), default=None)
            overlap += 0 if best is None else ((predicted == best) & (true == t)).sum()
            union += (true == t).sum() if best is None else ((predicted == best) | (true == t)).sum()
            used.add(best)
        union += sum((predicted == p).sum() for p in range(1, predicted.max() + 1) if p not in used)
        scores = counts.scores()
        objects = predicted.max() + true.max()
        assert scores["f1"] == (pytest.approx(2 * len(pairs) / objects) if objects else None)
        assert scores["aji"] == (pytest.approx(overlap / union) if union else None)
        expected = sum(value for *_, value in pairs) / (objects / 2) if objects else None
        assert scores["pq"] == (pytest.approx(expected) if objects else None)

    def test_touching_objects_are_separated_by_their_numbers(self):
        true = np.zeros((10, 20), np.uint16)
        true[2:8, 2:10], true[2:8, 10:18] = 700, 9
        counts = ObjectCounts()
        counts.add(true, true)
        counts.add(connected(true > 0), true)
        assert (counts.matched, counts.missed, counts.spurious) == (2, 2, 1)


def test_calibration():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    honest, boastful = Calibration(), Calibration()
    honest.add(confidence, rng.random(200_000) < confidence)
    boastful.add(confidence, rng.random(200_000) < confidence - 0.2)
    assert honest.error() < 0.01
    assert boastful.error() == pytest.approx(0.2, abs=0.01)
    assert Calibration().error() is None


class TestScorer:
    def test_ignored_pixels_are_not_scored(self):
        targets = disc_image(0)[1]
        answer = disc_image(1)[1]
        answer = np.where(np.arange(96)[:, None] < 60, targets, answer).astype(np.uint8)
        hidden = targets.copy()
        hidden[60:] = IGNORED
        scorer = Scorer(CLASSES)
        scorer.add("a", "g", answer, hidden, confidence=np.ones((96, 96)))
        scores = scorer.scores()
        assert scores["per_image"]["disc"]["dice"] == 1
        assert scores["outlines"]["disc"]["hd95_px"] == 0
        assert scores["objects"]["disc"]["pq"] == 1
        assert scores["calibration_error"] == 0

    def test_a_class_that_is_never_predicted(self):
        targets = disc_image(0)[1]
        scorer = Scorer(CLASSES)
        scorer.add("a", "g", np.zeros_like(targets), targets)
        scorer.add("b", "g", np.zeros_like(targets), np.zeros_like(targets))
        scores = scorer.scores()
        assert scores["outlines"]["disc"] == {"hd95_px": None, "assd_px": None, "images": 0, "without": 1}
        assert scores["objects"]["disc"]["f1"] == 0
        assert [row["dice"] for row in scorer.rows] == [0, None]
        assert json.loads(json.dumps(scores)) == scores


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A dataset of discs with instances, a head and its model."""
    root = tmp_path_factory.mktemp("evaluation")
    made = DatasetFolder.create(root / "discs", [CLASSES[1]])
    for number in range(10):
        pixels, labels = disc_image(number)
        made.save_image(Snapshot(f"p{number}", pixels, labels, labels, mpp=0.5), group=f"slide {number // 2}")
    model = patch_model()
    recipe = TrainingConfig(
        epochs=8, batch_size=2, window_cells=16, learning_rate=5e-3, head_arguments={"top_channel": 8}
    )
    dataset = open_dataset(made.path)
    return dataset, train(dataset, "cnn", recipe, model, root / "h.safetensors"), model


class TestReports:
    def test_report_lists_all_scores_and_baselines(self, trained):
        dataset, path, model = trained
        report = evaluate(dataset, path, "train", model)
        assert list(report["scores"]) == ["h", "Otsu on haematoxylin", "all disc"]
        head, constant = report["scores"]["h"], report["scores"]["all disc"]
        assert head["outlines"]["disc"]["hd95_px"] < constant["outlines"]["disc"]["hd95_px"]
        assert head["objects"]["mean"]["f1"] > constant["objects"]["mean"]["f1"]
        assert 0 <= head["calibration_error"] < 0.5
        assert len(report["rows"]) == report["images"] == len(dataset.split("train"))
        assert report["sampath"]["SAM-Path 'Dice' (gland Dice, pooled)"] == pytest.approx(
            head["pooled"]["disc"]["dice"]
        )
        text = format_report(report, compat=True)
        for words in ("HD95 px", "object F1", "AutoSAM 'Dice' of disc", "calibration", "all disc"):
            assert words in text
        assert json.loads(json.dumps(report))["head"] == "h"

    @pytest.mark.parametrize("name", list(PAPERS))
    def test_papers_are_printed_with_own_scores(self, trained, name):
        dataset, path, model = trained
        report = evaluate(dataset, path, "val", model)
        if name == "bcss":
            report["sampath"] = dict.fromkeys(PAPERS["bcss"].measured, 0.5)
        text = format_report(report, source=paper(name))
        lines = [line for line in text[text.index(PAPERS[name].title) :].splitlines() if "h, here" in line]
        assert len(lines) == 1
        assert len(re.findall(r"\d+\.\d{3}", lines[0])) == len(PAPERS[name].columns)
        assert ("not available" in text) == (name in ("acdc", "glas", "monuseg"))

    def test_unknown_paper(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'bcss'"):
            paper("bcs")

    def test_html_report_is_self_contained(self, trained, tmp_path):
        dataset, path, model = trained
        report = evaluate(dataset, path, "train", model)
        file = run(
            write_html_job(tmp_path / "r.html", report, dataset, load_head(path), model, paper("crag"))
        )
        text = file.read_text("utf-8")
        pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
        assert len(pictures) == len(report["rows"])
        (tmp_path / "p.jpg").write_bytes(base64.b64decode(pictures[0]))
        with Image.open(tmp_path / "p.jpg") as shown:
            assert shown.size == (3 * 96, 96)
        assert not re.search(r'(src|href)="(?!data:)', text)
        for words in ("Best", "Median", "Worst", "mean over cases", "SAM-Path, Zhang"):
            assert words in text

    @given(count=st.integers(1, 30))
    def test_best_median_worst_never_share_an_image(self, count):
        rows = [{"name": str(n), "dice": n / 30} for n in range(count)]
        chosen = [row["name"] for part in choose_images(rows).values() for row in part]
        assert len(chosen) == len(set(chosen))
        cases = choose_images(rows)
        assert cases["Best"][0]["name"] == str(count - 1)
        if count > 1:
            assert cases["Worst"][-1]["name"] == "0"


class TestReferenceMetrics:
    """Each kind of head is scored with the metrics of its reference."""

    def test_autosam_pools_the_images_of_a_case(self):
        scorer = ReferenceMetrics("linear", {}, CLASSES)
        found, wanted = [], {}
        for number, case in enumerate("aabc"):
            targets = disc_image(number)[1] * (case != "c")
            predicted = np.roll(targets, 5)
            scorer.add(case, predicted, targets, None)
            wanted.setdefault(case, []).append((predicted, targets))
        for images in wanted.values():
            predicted, targets = (np.stack(arrays) for arrays in zip(*images, strict=True))
            both = predicted.sum() + targets.sum()
            found.append(2 * (predicted & targets).sum() / both if both else 1.0)
        assert len(found) == 3
        scores = scorer.scores()
        assert scores == {
            "AutoSAM 'Dice' of disc (mean over cases; cases without the class count as 1)": pytest.approx(
                np.mean(found)
            ),
            "AutoSAM 'Dice', mean of the classes": pytest.approx(np.mean(found)),
        }

    @pytest.mark.parametrize("kind", ["prompt_generator", "surrogate"])
    def test_prompt_generators_leave_out_outlines(self, kind):
        scorer = ReferenceMetrics(kind, {"image_px": 64}, CLASSES)
        expected = []
        for number in range(2):
            targets = disc_image(number)[1]
            share = np.roll(targets, 3).astype(np.float32)
            unknown = targets.copy()
            unknown[:40] = IGNORED
            probabilities = np.stack([1 - share, share])
            scorer.add("a", np.roll(targets, 3), targets, probabilities)
            grid = torch.nn.functional.interpolate(
                torch.from_numpy(share)[None, None], (64, 64), mode="bilinear", align_corners=True
            )
            predicted = (grid[0, 0].numpy() > 0.5).astype(np.uint8)
            expected.append(prompt_generator_dice(predicted, prompt_generator_labels(targets, 64)))
            blind = ReferenceMetrics(kind, {"image_px": 64}, CLASSES)
            blind.add("a", np.where(unknown == IGNORED, 1, targets), unknown, None)
            assert next(iter(blind.scores().values())) == pytest.approx(1.0, abs=0.02)
        dice, iou = np.mean(expected, axis=0)
        assert list(scorer.scores().values()) == [pytest.approx(dice), pytest.approx(iou)]

    def test_sampath_metrics_match_the_released_code(self):
        scorer = ReferenceMetrics("sampath", {}, CLASSES)
        scorer.add("a", *(disc_image(number)[1] for number in (1, 2)), None)
        assert "SAM-Path 'IOU' (gland recall)" in scorer.scores()


def test_three_classes(tmp_path):
    made = DatasetFolder.create(tmp_path / "d", [CLASSES[1], ClassInfo(3, "ring", (0, 0, 255))])
    for number in range(4):
        pixels, labels = disc_image(number)
        labels = labels.copy()
        labels[:30] *= 3
        made.save_image(Snapshot(f"p{number}", pixels, labels), group=f"slide {number}")
    dataset, model = open_dataset(made.path), patch_model()
    recipe = TrainingConfig(epochs=2, batch_size=2, window_cells=16, head_arguments={"top_channel": 4})
    report = evaluate(
        dataset, train(dataset, "cnn", recipe, model, tmp_path / "h.safetensors"), "train", model
    )
    assert set(report["scores"]["h"]["outlines"]) == {"disc", "ring", "mean"}
    accuracy = report["scores"]["h"]["pixel_accuracy"]
    assert report["sampath"]["SAM-Path 'Dice' (pixel accuracy)"] == pytest.approx(accuracy)


def test_command_line(tmp_path, tiny_sam_file, capsys):
    made = DatasetFolder.create(tmp_path / "d", [CLASSES[1]])
    for number in range(3):
        made.save_image(Snapshot(f"p{number}", *disc_image(number)), group=f"slide {number}")
    model = ["--model", "sam", "--weights", str(tiny_sam_file), "--device", "cpu"]
    head, page = str(tmp_path / "h.safetensors"), tmp_path / "r.html"
    words = ["--data", str(made.path), *model]
    quick = ["--epochs", "1", "--batch-size", "2", "--head-argument", "top_channel=4"]
    assert main(["train", "-o", head, *words, *quick]) == 0
    capsys.readouterr()
    arguments = ["evaluate", "--head", head, *words, "--html", str(page), "--paper", "crag"]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["paper"]["rows"]["SAM-Path"] == [0.8841, 0.8831, 0.792]
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert main([*arguments, "--compat"]) == 0
    assert "AutoSAM 'Dice' of disc" in capsys.readouterr().out
    assert main(["evaluate", "--head", head, *words, "--html", str(tmp_path / "r.pdf")]) == 1
    assert "must end in .html" in capsys.readouterr().err


def test_evaluation_needs_the_classes_of_the_head(trained):
    dataset, path, model = trained
    other = dataclasses.replace(dataset, classes=(*dataset.classes, ClassInfo(2, "fat", (1, 1, 1))))
    with pytest.raises(ValueError, match="fat"):
        evaluate(other, path, model=model)
    first, second = dataset.classes
    swapped = (dataclasses.replace(second, id=first.id), dataclasses.replace(first, id=second.id))
    with pytest.raises(DatasetError, match="same class names and numbers"):
        evaluate(dataclasses.replace(dataset, classes=swapped), path, model=model)

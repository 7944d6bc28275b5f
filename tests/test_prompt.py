"""The prompt decoder: SAM's own answers, for single prompts and for batches."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from napari_sampath.encoders.tiny_prompts import MapPromptEncoder
from napari_sampath.predict.prompt import PromptDecoder
from tiny_sam import build_tiny_sam

POINTS = torch.tensor([[[500.0, 400.0], [100.0, 90.0]], [[30.0, 900.0], [700.0, 610.0]]])
LABELS = torch.tensor([[1, 0], [1, 1]])
BOXES = torch.tensor([[200.0, 100.0, 640.0, 480.0], [10.0, 20.0, 300.0, 1000.0]])


@pytest.fixture(scope="module")
def sam() -> Sam:
    return build_tiny_sam(seed=1)


@pytest.fixture(scope="module")
def decoder(sam: Sam) -> PromptDecoder:
    return PromptDecoder(sam.prompt_encoder, sam.mask_decoder).eval()


@pytest.fixture(scope="module")
def embedding() -> Tensor:
    return torch.randn(256, 64, 64, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def masks() -> Tensor:
    return torch.randn(2, 1, 256, 256, generator=torch.Generator().manual_seed(3)) * 4


def sams_answer(
    sam: Sam,
    embedding: Tensor,
    points: tuple[Tensor, Tensor] | None,
    boxes: Tensor | None,
    masks: Tensor | None,
    multimask: bool,
) -> tuple[Tensor, Tensor]:
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
    answer: tuple[Tensor, Tensor] = sam.mask_decoder(
        image_embeddings=embedding[None],
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )
    return answer


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize(
    "kinds", ["points", "boxes", "masks", "points boxes", "points masks", "points boxes masks"]
)
@torch.inference_mode()
def test_batches_equal_sams(
    sam: Sam, decoder: PromptDecoder, embedding: Tensor, masks: Tensor, kinds: str, multimask: bool
) -> None:
    points = (POINTS, LABELS) if "points" in kinds else None
    boxes = BOXES if "boxes" in kinds else None
    given = masks if "masks" in kinds else None
    active = decoder.activate(embedding)
    logits, scores = decoder(active, points, boxes, given, multimask)
    expected, expected_scores = sams_answer(sam, embedding, points, boxes, given, multimask)
    assert logits.shape == (2, 3 if multimask else 1, 256, 256)
    assert torch.equal(logits, expected)
    assert torch.equal(scores, expected_scores)
    for index in range(2):
        one, score = decoder(
            active,
            None if points is None else (POINTS[index : index + 1], LABELS[index : index + 1]),
            None if boxes is None else boxes[index : index + 1],
            None if given is None else given[index : index + 1],
            multimask,
        )
        torch.testing.assert_close(one[0], logits[index], atol=1e-4, rtol=0)
        torch.testing.assert_close(score[0], scores[index], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_each_kind_of_prompt_matters(decoder: PromptDecoder, embedding: Tensor, masks: Tensor) -> None:
    active = decoder.activate(embedding)
    plain = decoder(active, (POINTS[:1], LABELS[:1]))[0]
    assert (plain > 0).any()
    assert (plain < 0).any()
    for other in (
        decoder(active, (POINTS[1:], LABELS[:1]))[0],
        decoder(active, (POINTS[:1], 1 - LABELS[:1]))[0],
        decoder(active, (POINTS[:1], LABELS[:1]), BOXES[:1])[0],
        decoder(active, (POINTS[:1], LABELS[:1]), None, masks[:1])[0],
        decoder(decoder.activate(embedding.flip(1)), (POINTS[:1], LABELS[:1]))[0],
    ):
        assert (other - plain).abs().max() > 0.1


@torch.inference_mode()
def test_points_can_be_filled_up_with_none(decoder: PromptDecoder, embedding: Tensor) -> None:
    """SAM fills up to one point more than there are; label -1 does the same by hand."""
    points = torch.tensor([[[500.0, 400.0], [0.0, 0.0]]])
    sparse, _ = decoder.prompt_encoder((points, torch.tensor([[1, -1]])), None, None)
    assert torch.equal(sparse[0, 1], sparse[0, 2])


def test_position_is_made_once_and_is_not_saved(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = sam.prompt_encoder.get_dense_pe
    monkeypatch.setattr(sam.prompt_encoder, "get_dense_pe", lambda: (calls.append(1), real())[1])
    decoder = PromptDecoder(sam.prompt_encoder, sam.mask_decoder)
    for _ in range(3):
        active = decoder.activate(torch.zeros(256, 64, 64))
    assert len(calls) == 1
    assert torch.equal(active.position, real())
    assert "position" not in decoder.state_dict()
    assert decoder.input_px == 1024


def test_stored_float16_features_are_answered_in_float32(decoder: PromptDecoder, embedding: Tensor) -> None:
    active = decoder.activate(embedding.half())
    assert active.image.dtype == torch.float32
    with torch.inference_mode():
        logits, scores = decoder(active, boxes=BOXES)
    assert logits.dtype == scores.dtype == torch.float32


def test_prompt_encoder_that_draws_gets_all_prompts_together(sam: Sam, embedding: Tensor) -> None:
    torch.manual_seed(0)
    drawing = MapPromptEncoder().eval()
    drawing.load_state_dict(sam.prompt_encoder.state_dict(), strict=False)
    decoder = PromptDecoder(drawing, sam.mask_decoder).eval()
    with torch.inference_mode():
        sparse, dense = drawing((POINTS, LABELS), BOXES, None)
        logits, _ = decoder(decoder.activate(embedding), (POINTS, LABELS), BOXES)
        expected, _ = sam.mask_decoder(
            image_embeddings=embedding[None],
            image_pe=drawing.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        assert torch.equal(logits, expected)
        plain = PromptDecoder(sam.prompt_encoder, sam.mask_decoder).eval()
        assert not torch.equal(plain(plain.activate(embedding), (POINTS, LABELS), BOXES)[0], logits)

"""The prompt decoder equals SAM's, for single prompts and for batches."""

from __future__ import annotations

import pytest
import torch
from benchmarks.tiny_sam import build_tiny_sam
from segment_anything.modeling import Sam
from torch import Tensor

from napari_sampath.encoders.tiny.tiny_prompts import MapPromptEncoder, SpreadingMaskDecoder
from napari_sampath.predict.decoder.prompt_decoder import PromptDecoder

POINTS = torch.tensor([[[500.0, 400.0], [100.0, 90.0]], [[30.0, 900.0], [700.0, 610.0]]])
LABELS = torch.tensor([[1, 0], [1, 1]])
TEXT = torch.randn(2, 1, 256, generator=torch.Generator().manual_seed(4))
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
    text: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
    if text is not None:
        sparse = torch.cat([sparse.expand(len(text), -1, -1), text], dim=1)
    answer: tuple[Tensor, Tensor] = sam.mask_decoder(
        image_embeddings=embedding[None],
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )
    return answer


@pytest.mark.parametrize("multimask", [True, False, None])
@pytest.mark.parametrize(
    "kinds",
    [
        "points",
        "boxes",
        "masks",
        "points boxes",
        "points masks",
        "points boxes masks",
        "text",
        "points masks text",
    ],
)
@torch.inference_mode()
def test_batches_equal_sams(
    sam: Sam, decoder: PromptDecoder, embedding: Tensor, masks: Tensor, kinds: str, multimask: bool | None
) -> None:
    points = (POINTS, LABELS) if "points" in kinds else None
    boxes = BOXES if "boxes" in kinds else None
    mask_prompts = masks if "masks" in kinds else None
    text = TEXT if "text" in kinds else None
    active = decoder.activate(embedding)
    logits, scores = decoder(active, points, boxes, mask_prompts, multimask, text)
    answers = [
        sams_answer(sam, embedding, points, boxes, mask_prompts, several, text)
        for several in ([False, True] if multimask is None else [multimask])
    ]
    expected, expected_scores = (torch.cat(values, dim=1) for values in zip(*answers, strict=True))
    assert logits.shape == (2, {True: 3, False: 1, None: 4}[multimask], 256, 256)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(scores, expected_scores, atol=1e-5, rtol=0)
    for index in range(2):
        single, score = decoder(
            active,
            None if points is None else (POINTS[index : index + 1], LABELS[index : index + 1]),
            None if boxes is None else boxes[index : index + 1],
            None if mask_prompts is None else mask_prompts[index : index + 1],
            multimask,
            None if text is None else text[index : index + 1],
        )
        torch.testing.assert_close(single[0], logits[index], atol=1e-4, rtol=0)
        torch.testing.assert_close(score[0], scores[index], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_each_kind_of_prompt_changes_the_mask(
    decoder: PromptDecoder, embedding: Tensor, masks: Tensor
) -> None:
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
def test_points_can_be_padded(decoder: PromptDecoder, embedding: Tensor) -> None:
    """SAM appends a padding point; a point with label -1 has the same effect."""
    points = torch.tensor([[[500.0, 400.0], [0.0, 0.0]]])
    sparse, _ = decoder.prompt_encoder((points, torch.tensor([[1, -1]])), None, None)
    assert torch.equal(sparse[0, 1], sparse[0, 2])


@pytest.mark.parametrize("multimask", [True, False, None])
@pytest.mark.parametrize("kinds", ["points", "boxes", "points masks"])
def test_only_chosen_candidates_are_upscaled(
    decoder: PromptDecoder, embedding: Tensor, masks: Tensor, kinds: str, multimask: bool | None
) -> None:
    active = decoder.activate(embedding)
    prompts = {
        "points": (POINTS, LABELS) if "points" in kinds else None,
        "boxes": BOXES if "boxes" in kinds else None,
        "masks": masks if "masks" in kinds else None,
    }
    logits, scores = decoder(active, **prompts, multimask=multimask)
    attended = decoder.attend(active, **prompts, multimask=multimask)
    assert torch.equal(attended.scores, scores)
    for pattern in ([1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]):
        chosen = torch.tensor([pattern, [0, 0, 1, 0]])[:, : scores.shape[1]].bool()
        upscaled = decoder.logits(attended, chosen)
        assert upscaled.shape == (int(chosen.sum()), 256, 256)
        torch.testing.assert_close(upscaled, logits[chosen], atol=1e-5, rtol=0)


def test_a_tile_is_prepared_once(sam: Sam, embedding: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = sam.prompt_encoder.get_dense_pe
    monkeypatch.setattr(sam.prompt_encoder, "get_dense_pe", lambda: (calls.append(1), real())[1])
    decoder = PromptDecoder(sam.prompt_encoder, sam.mask_decoder)
    first = decoder.activate(embedding)
    others = [torch.zeros(256, 64, 64) for _ in range(6)]
    for other in others:
        assert decoder.activate(embedding) is first
        assert decoder.activate(other) is decoder.activate(other)
    assert decoder.activate(embedding.clone()) is not first
    for other in others:
        decoder.activate(other)
    assert decoder.activate(embedding) is not first, "only the last few tiles are kept in memory"
    assert len(calls) == 1
    assert torch.equal(decoder.position, real())
    assert "position" not in decoder.state_dict()
    assert decoder.input_px == 1024


def test_changed_weights_change_the_masks(embedding: Tensor) -> None:
    sam = build_tiny_sam(seed=1)
    decoder = PromptDecoder(sam.prompt_encoder, sam.mask_decoder).eval()
    before = decoder(decoder.activate(embedding), boxes=BOXES)[0]
    with torch.no_grad():
        sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image.k_proj.weight.mul_(2)
    decoder.load_state_dict(decoder.state_dict())
    after = decoder(decoder.activate(embedding), boxes=BOXES)[0]
    assert (after - before).abs().max() > 0.1
    with torch.inference_mode():
        expected, _ = sams_answer(sam, embedding, None, BOXES, None, True)
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=0)


def test_float16_features_are_decoded_in_float32(decoder: PromptDecoder, embedding: Tensor) -> None:
    active = decoder.activate(embedding.half())
    assert active.cells.dtype == torch.float32
    with torch.inference_mode():
        logits, scores = decoder(active, boxes=BOXES)
    assert logits.dtype == scores.dtype == torch.float32


@pytest.mark.parametrize("spreads", [False, True])
def test_map_prompt_encoders_give_the_same_masks_as_their_modules(
    sam: Sam, embedding: Tensor, spreads: bool
) -> None:
    torch.manual_seed(0)
    map_encoder = MapPromptEncoder().eval()
    map_encoder.load_state_dict(sam.prompt_encoder.state_dict(), strict=False)
    mask_decoder = sam.mask_decoder
    if spreads:
        mask_decoder = SpreadingMaskDecoder().eval()
        mask_decoder.load_state_dict(sam.mask_decoder.state_dict(), strict=False)
        torch.nn.init.normal_(mask_decoder.join.weight, std=0.1)
    decoder = PromptDecoder(map_encoder, mask_decoder).eval()
    with torch.inference_mode():
        sparse, dense = map_encoder((POINTS, LABELS), BOXES, None)
        logits, _ = decoder(decoder.activate(embedding), (POINTS, LABELS), BOXES)
        expected, _ = mask_decoder(
            image_embeddings=embedding[None],
            image_pe=map_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-5)
        plain = PromptDecoder(sam.prompt_encoder, sam.mask_decoder).eval()
        other, _ = plain(plain.activate(embedding), (POINTS, LABELS), BOXES)
        assert (other - logits).abs().max() > 0.1

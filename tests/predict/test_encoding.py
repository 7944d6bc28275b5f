"""Encoding of tiles: the network compared with SAM's, batches, lack of memory, precision."""

from __future__ import annotations

import functools
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from benchmarks.tiny_sam import tiny_model
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from napari_sampath.arrays import FeatureMap, FeatureSpec
from napari_sampath.config import (
    ConfigError,
    cpu_has_bfloat16,
    load_config,
    resolve_device,
    resolve_precision,
)
from napari_sampath.encoders import Encoder, EncoderInfo, EncoderParts
from napari_sampath.encoders.sam import image_encoder
from napari_sampath.encoders.sam.image_encoder import ImageEncoder
from napari_sampath.encoders.sam.sam_format import Architecture
from napari_sampath.geometry import Frame
from napari_sampath.jobs import Progress, run
from napari_sampath.predict import Model
from napari_sampath.store import FeatureKey, MemoryTier, Store
from napari_sampath.store.base import Maps
from napari_sampath.tiling import tiles

if TYPE_CHECKING:
    pass

CPU = torch.device("cpu")


# The network


def pair(grid: int, window: int, heads: int = 2, width: int = 16) -> tuple[ImageEncoder, ImageEncoderViT]:
    """Build the encoder and SAM's with the same random weights: a windowed, a global and a windowed block."""
    torch.manual_seed(grid * 100 + window)
    sams = ImageEncoderViT(
        img_size=16 * grid,
        embed_dim=width,
        depth=3,
        num_heads=heads,
        out_chans=8,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=window,
        global_attn_indexes=(1,),
    ).eval()
    with torch.no_grad():
        for name, tensor in sams.named_parameters():
            if "pos" in name or name.endswith("bias"):
                tensor.normal_()  # SAM initialises them with zeros, which would hide errors
    encoder = ImageEncoder(Architecture(width, 3, heads, (1,), window, input_px=16 * grid), 8).eval()
    encoder.load_state_dict(sams.state_dict())
    return encoder, sams


@pytest.mark.parametrize("kilobytes", [1, 2**23])
@pytest.mark.parametrize(("grid", "window"), [(8, 3), (9, 3), (5, 7), (14, 5)])
@pytest.mark.parametrize("batch", [1, 3])
def test_network_equals_sams(
    grid: int, window: int, batch: int, kilobytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_encoder, "_BIAS_BYTES", kilobytes * 1000)
    encoder, sams = pair(grid, window)
    pixels = torch.randn(batch, 3, 16 * grid, 16 * grid)
    with torch.no_grad():
        embedding, tokens = encoder(pixels)
        torch.testing.assert_close(embedding, sams(pixels), atol=2e-5, rtol=0)
        torch.testing.assert_close(sams.neck(tokens), embedding, atol=2e-5, rtol=0)


def test_attention_bias_is_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def record(*args: Tensor, attn_mask: Tensor) -> Tensor:
        shapes.append(tuple(attn_mask.shape))
        return fused(*args, attn_mask=attn_mask)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", record)
    limit = 16 * 16 * 4 * 100
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(image_encoder, "_BIAS_BYTES", limit)
    encoder, _ = pair(16, 4)
    with torch.no_grad():
        encoder(torch.randn(1, 3, 256, 256))
    assert max(np.prod(shape) * 4 for shape in shapes) <= limit
    assert (
        len(shapes) == 2 + 2 * 3
    )  # two windowed blocks; two heads of the global block, 256 queries in parts of 100


def test_gradients_equal_sams() -> None:
    encoder, sams = pair(6, 4)
    pixels = torch.randn(1, 3, 96, 96)
    encoder(pixels)[0].square().sum().backward()
    sams(pixels).square().sum().backward()
    for name, parameter in sams.named_parameters():
        gradient = encoder.get_parameter(name).grad
        assert gradient is not None
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-3, rtol=1e-3)


# Batches


class Patches(Encoder):
    """Computes means of patches; raises an out-of-memory error for batches above `capacity`."""

    FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    def __init__(self, capacity: int = 99, error: RuntimeError = FULL) -> None:
        info = EncoderInfo("patches", "For tests.", "none", "", False, 0.0)
        super().__init__(info, FeatureSpec((FeatureMap("tokens", 3, "patches"),)), "0")
        self.capacity, self.error = capacity, error
        self.batches: list[int] = []

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        if len(pixels) > self.capacity:
            raise self.error
        self.batches.append(len(pixels))
        return {"tokens": nn.functional.avg_pool2d(pixels, 16)}


def slide() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2100, 3000, 3), dtype=np.uint8)


def model_of(encoder: Encoder, store: Store | None = None) -> Model:
    return Model(EncoderParts(encoder), CPU, store)


@pytest.mark.parametrize(("capacity", "batches"), [(99, [5, 5, 2]), (3, [2, 3, 2, 2, 2, 1]), (1, [1] * 12)])
def test_batches_equal_single_tiles(capacity: int, batches: list[int]) -> None:
    image, encoder = slide(), Patches(capacity)
    frames = tiles(image.shape[:2])
    assert len(frames) == 12
    reports: list[Progress] = []
    encoded = run(model_of(encoder).encode_job(image, frames, batch=5), reports.append)
    assert encoder.batches == batches, "batches that do not fit are halved"
    single = model_of(Patches())
    for frame, features in zip(frames, encoded, strict=True):
        assert features.frame == frame
        assert torch.equal(features.maps["tokens"], single.encode(image, frame).maps["tokens"])
    assert [report.done for report in reports] == list(range(13))


@pytest.mark.parametrize(
    "error",
    [
        Patches.FULL,
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: ..."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.90 GB)"),
    ],
)
def test_a_single_tile_that_does_not_fit(error: RuntimeError) -> None:
    with pytest.raises(ConfigError, match=r"too little free memory for patches; .*\.$"):
        model_of(Patches(0, error)).encode(slide()[:500, :500])


def test_other_errors_of_an_encoder_are_raised_unchanged() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        model_of(Patches(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))).encode(
            slide()[:500, :500]
        )


def test_stored_tiles_do_not_accumulate_behind_a_partial_batch() -> None:
    image, store, encoder = slide(), Store(MemoryTier(2**30)), Patches()
    frames = tiles(image.shape[:2])
    model = model_of(encoder, store)
    for frame in frames[1:]:
        model.encode(image, frame)
    read: list[Frame] = []
    first = next(model.encode_tiles(image, (read.append(frame) or frame for frame in frames), batch=3))
    assert first.frame == frames[0]
    assert len(read) < len(frames)


def test_only_missing_tiles_are_encoded_and_the_order_is_kept() -> None:
    image, store, encoder = slide(), Store(MemoryTier(2**30)), Patches()
    frames = tiles(image.shape[:2])
    model = model_of(encoder, store)
    for frame in frames[1::3]:
        model.encode(image, frame)
    encoder.batches.clear()
    encoded = run(model.encode_job(image, frames, batch=3))
    assert [features.frame for features in encoded] == frames
    assert sum(encoder.batches) == len(frames) - len(frames[1::3])
    run(model.encode_job(image, frames, batch=3))
    assert sum(encoder.batches) == len(frames) - len(frames[1::3])


def test_tiles_are_yielded_as_soon_as_they_are_computed() -> None:
    encoder = Patches()
    image = slide()
    stream = model_of(encoder).encode_tiles(image, iter(tiles(image.shape[:2])))
    next(stream)
    assert encoder.batches == [1]
    next(stream)
    assert encoder.batches == [1, 1]


# Precision and compilation


def test_precision_is_chosen_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config().precision == "float32"
    assert resolve_precision("bfloat16", CPU) == "bfloat16"
    monkeypatch.setenv("SAMPATH_PRECISION", "float16")
    assert resolve_precision("auto", CPU) == "float16"
    monkeypatch.delenv("SAMPATH_PRECISION")
    assert resolve_precision("auto", CPU) == ("bfloat16" if cpu_has_bfloat16() else "float32")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert resolve_precision("auto", CPU) == "bfloat16"
    cuda = torch.device("cuda")
    for capability, expected in (((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, value=capability: value)
        assert resolve_precision("auto", cuda) == expected
    monkeypatch.setenv("SAMPATH_PRECISION", "half")
    with pytest.raises(ConfigError, match="precision is 'half'; allowed: auto"):
        load_config()


def test_each_launched_process_gets_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda:1")
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "7")
    assert resolve_device("auto") == torch.device("cuda"), "more processes than devices"


def test_compiled_encoder_gives_equal_features(monkeypatch: pytest.MonkeyPatch) -> None:
    # The graph is captured and run without a C++ compiler, which takes 40 s.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    image, encoder = slide()[:200, :300], tiny_model().encoder
    plain = Model(EncoderParts(encoder), CPU).encode(image)
    compiled = Model(EncoderParts(encoder), CPU, compiled=True).encode(image)
    for name, values in plain.maps.items():
        torch.testing.assert_close(compiled.maps[name], values, atol=1e-4, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_features_on_cuda_equal_those_on_the_cpu(precision: str) -> None:
    image = slide()
    frames = [Frame(top, left, 1024, 1024) for top in (0, 1000) for left in (0, 900, 1900)]
    encoder = tiny_model().encoder
    expected = run(Model(EncoderParts(encoder), CPU).encode_job(image, frames))
    on_cuda = Model(EncoderParts(encoder), torch.device("cuda"), precision=precision)
    for batch in (None, 4):
        encoded = run(on_cuda.encode_job(image, frames, batch))
        for cpu, cuda in zip(expected, encoded, strict=True):
            assert cuda.maps["embedding"].device.type == "cuda"
            difference = (cpu.maps["embedding"] - cuda.maps["embedding"].cpu()).abs()
            assert difference.mean() < (1e-3 if precision == "float32" else 0.05)


class BusyPatches(Patches):
    """Keeps the device busy before it computes a batch."""

    cycles = 0
    computed: torch.cuda.Event

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        torch.cuda._sleep(self.cycles)
        maps = super().forward(pixels)
        self.computed = torch.cuda.current_stream().record_event()
        return maps


class WatchedStore(Store):
    """Notes after each tile whether the device has computed everything."""

    encoder: BusyPatches
    idle: list[bool]

    def put(self, key: FeatureKey, maps: Maps) -> dict[str, Tensor]:
        kept = super().put(key, maps)
        self.idle.append(self.encoder.computed.query())
        return kept


@pytest.mark.gpu
@pytest.mark.parametrize("limit_bytes", [None, 2**30, 200_000])
def test_tiles_are_stored_while_the_device_computes_the_next(limit_bytes: int | None) -> None:
    """Without a store, with one for all tiles, and with one that evicts most of them while they are read."""
    image = slide()
    frames = tiles(image.shape[:2])
    expected = [features.maps["tokens"] for features in model_of(Patches()).encode_tiles(image, frames)]
    encoder = BusyPatches()
    store = None if limit_bytes is None else WatchedStore(MemoryTier(limit_bytes))
    if store is not None:
        store.encoder, store.idle = encoder, []
    model = Model(EncoderParts(encoder), torch.device("cuda"), store)
    for cycles in (0, 10**9):  # the first run loads the kernels, during which the device is idle
        encoder.cycles = cycles
        for again in range(2):
            if store is not None and not again:
                store.clear()
                store.idle.clear()
            for features, tokens in zip(model.encode_tiles(image, frames, batch=3), expected, strict=True):
                torch.testing.assert_close(features.maps["tokens"].cpu(), tokens, atol=2e-3, rtol=1e-3)
    if limit_bytes == 2**30:
        assert store is not None
        assert encoder.batches[-4:] == [3, 3, 3, 3]
        assert store.idle == [False] * 9 + [True] * 3

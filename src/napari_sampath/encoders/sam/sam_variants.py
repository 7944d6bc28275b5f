"""Checkpoints in SAM's format: SAM (Kirillov et al. 2023), MedSAM (Ma et al. 2024), PathoSAM (Griebel et al. 2025)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from skimage.transform import resize
from torch import Tensor

from ...arrays import UInt8Array
from ...errors import WeightsMissingError
from ...geometry import Frame
from ...jobs import run
from ..base import EncoderEntry, EncoderInfo, EncoderParts, registry, upload
from ..weights.weights import WeightsFile, locate_job
from .prompt_parts import SingleMaskDecoder, build_mask_decoder
from .sam import SamEncoder, build_file

_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"
_PATHOSAM = "https://owncloud.gwdg.de/index.php/s/{}/download"


class MedSamEncoder(SamEncoder):
    """SAM's image encoder with MedSAM's preprocessing: windows are stretched to a square and scaled to 0..1."""

    preprocessing_version = 1

    def adapt_frame(self, frame: Frame) -> Frame:
        """Return the frame stretched to the whole input."""
        return replace(frame, stretched=True)

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Crop a window, stretch it to the square by cubic splines and scale its values to 0..1.

        As in MedSAM's single-image inference script, minimum and maximum are taken over all channels, and SAM's mean
        and standard deviation are not used.

        Args:
            image: (H, W, 3) uint8 RGB, the whole image.
            frame: The window.

        Returns:
            (3, 1024, 1024) float32 on this encoder's device, 0..1.
        """
        window = image[frame.slices]
        side = frame.input_px
        if window.shape[:2] != (side, side):
            stretched = resize(window, (side, side), order=3, preserve_range=True, anti_aliasing=True)
            window = stretched.astype(np.uint8)
        low, high = int(window.min()), int(window.max())
        pixels = upload(np.ascontiguousarray(window), self.pixel_mean.device).permute(2, 0, 1)
        return (pixels.float() - low) / max(high - low, 1e-8)


def _as_medsam(parts: EncoderParts) -> EncoderParts:
    """Replace SAM's preprocessing and three masks with MedSAM's preprocessing and single mask."""
    decoder = build_mask_decoder(SingleMaskDecoder)
    if not isinstance(parts.encoder, SamEncoder) or parts.mask_decoder is None:
        raise TypeError("MedSAM is built from SAM's parts.")
    decoder.load_state_dict(parts.mask_decoder.state_dict(), assign=True)
    encoder = MedSamEncoder(parts.encoder.info, parts.encoder.image_encoder, parts.encoder.weights_digest)
    return EncoderParts(
        encoder.requires_grad_(False).eval(), parts.prompt_encoder, decoder.requires_grad_(False).eval()
    )


@dataclass(frozen=True, slots=True)
class SamVariant:
    """A published weights file in SAM's format."""

    name: str
    summary: str
    licence: str
    source_url: str
    weights: WeightsFile
    adapt: Callable[[EncoderParts], EncoderParts] | None = None
    """Function that replaces the parts in which the variant differs from SAM; None if there are none."""

    @property
    def info(self) -> EncoderInfo:
        """Description of the encoder."""
        return EncoderInfo(
            self.name, self.summary, self.licence, self.source_url, True, self.weights.size / 1e6
        )


def _pathosam(size: str, share: str, xxh128: str, size_bytes: int) -> SamVariant:
    name = f"vit_{size}_histopathology"
    return SamVariant(
        name=name,
        summary=f"PathoSAM ViT-{size.upper()}: SAM fine-tuned on nuclei in H&E ({size_bytes / 1e9:.1f} GB).",
        licence="not stated by the authors",
        source_url="https://github.com/computational-cell-analytics/patho-sam",
        weights=WeightsFile(f"{name}.pt", _PATHOSAM.format(share), f"xxh128:{xxh128}", size_bytes),
    )


def _official(size: str, code: str, sha256: str, size_bytes: int) -> SamVariant:
    file = f"sam_vit_{size}_{code}.pth"
    return SamVariant(
        name=f"vit_{size}",
        summary=f"Segment Anything ViT-{size.upper()} by Meta AI, downloaded on first use ({size_bytes / 1e9:.1f} GB).",
        licence="Apache-2.0",
        source_url="https://github.com/facebookresearch/segment-anything",
        weights=WeightsFile(file, f"{_SAM}{file}", sha256, size_bytes),
    )


VARIANTS = (
    _official("b", "01ec64", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", 375_042_383),
    _official(
        "l", "0b3195", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622", 1_249_524_607
    ),
    _official(
        "h", "4b8939", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e", 2_564_550_879
    ),
    SamVariant(
        name="medsam",
        summary="MedSAM ViT-B: SAM fine-tuned on medical images, one mask for a box prompt (0.4 GB).",
        licence="Apache-2.0",
        source_url="https://github.com/bowang-lab/MedSAM",
        weights=WeightsFile(
            "medsam_vit_b.pth",
            "https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
            "",
            375_000_000,
        ),
        adapt=_as_medsam,
    ),
    _pathosam("b", "sBB4H8CTmIoBZsQ", "ffd1a2cd84570458b257bd95fdd8f974", 375_000_000),
    _pathosam("l", "IZgnn1cpBq2PHod", "b591833c89754271023e901281dee3f2", 1_250_000_000),
    _pathosam("h", "L7AcvVz7DoWJ2RZ", "bd1856dafc156a43fb3aa705f1a6e92e", 2_564_000_000),
)


def build(variant: SamVariant, path: Path | None = None) -> EncoderParts:
    """Build the parts of a variant with its published weights or from a file.

    Raises:
        WeightsMissingError: If the weights are not on this machine and cannot be downloaded.
        WeightsError: If the file is unreadable or not in SAM's format.
    """
    if path is None or not path.is_file():
        path = run(locate_job(variant.weights, path))
    parts = build_file(path, variant.info)
    return variant.adapt(parts) if variant.adapt else parts


def _build_own(info: EncoderInfo, path: Path | None) -> EncoderParts:
    if path is None:
        raise WeightsMissingError(
            "The encoder 'sam' needs your own weights file in SAM's format; give the path of the file."
        )
    return build_file(path, info)


for _variant in VARIANTS:
    _file = _variant.weights
    registry.register(_variant.name)(
        EncoderEntry(_variant.info, partial(build, _variant), partial(locate_job, _file), _file.name)
    )

_OWN = EncoderInfo(
    name="sam",
    summary="Your own weights file in SAM's format, such as a fine-tuned SAM.",
    licence="depends on the file",
    source_url="",
    promptable=True,
    size_mb=0.0,
)
registry.register("sam")(EncoderEntry(_OWN, partial(_build_own, _OWN)))

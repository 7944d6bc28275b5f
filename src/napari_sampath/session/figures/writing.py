"""Writing of figures as SVG, with outlines and text as vectors, and as PNG."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...arrays import UInt8Array
from ...errors import ImageError
from ...files import write_atomically
from .figure import MARGIN, Figure

SUFFIXES = (".png", ".svg")
_FONTS = ("DejaVuSans.ttf", "Arial.ttf", "Helvetica.ttc", "NotoSans-Regular.ttf")
_OVERSAMPLING = 3
"""Factor by which a PNG is drawn larger and then averaged, so that lines are smooth."""
_BAR = 0.3
"""Thickness of the scale bar, in heights of a line."""


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure; the suffix of the path is the format.

    Raises:
        ImageError: If the suffix is neither `.png` nor `.svg`.
        StorageError: If the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ImageError(f"'{path.name}' must end in .png or .svg; choose another name.")
    content = svg(figure).encode("utf-8", "xmlcharrefreplace") if suffix == ".svg" else png(figure)
    write_atomically(path, lambda stream: stream.write(content))


def svg(figure: Figure) -> str:
    """Return a figure as SVG; the image is embedded as PNG."""
    height, width = figure.image.shape[:2]
    line, settings = figure.line_height_px, figure.settings
    rows = _legend_rows(figure)
    total = height + (len(rows) + MARGIN) * 1.4 * line if rows else height
    stream = io.BytesIO()
    Image.fromarray(figure.image).save(stream, format="PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total:.1f}" '
        f'viewBox="0 0 {width} {total:.1f}" font-family="Arial, Helvetica, sans-serif" font-size="{line:.1f}">',
        f"<title>{_text(figure.title)}</title>",
        f'<rect width="{width}" height="{total:.1f}" fill="white"/>',
        f'<clipPath id="view"><rect width="{width}" height="{height}"/></clipPath>',
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{data}"/>',
        f'<g clip-path="url(#view)" fill-rule="evenodd" fill-opacity="{settings.fill:g}" '
        f'stroke-width="{settings.line_px:g}" stroke-linejoin="round">',
    ]
    for outline in figure.outlines:
        color = _hex(figure.colors[outline.class_id])
        path = "".join(f"M{'L'.join(f'{x:.2f} {y:.2f}' for x, y in ring)}Z" for ring in outline.rings)
        stroke = color if settings.line_px else "none"
        fill = color if settings.fill else "none"
        parts.append(f'<path d="{path}" fill="{fill}" stroke="{stroke}"/>')
    parts.append("</g>")
    if figure.scale_bar is not None:
        x0, y0, x1, y1 = _bar_box(figure)
        place = f'x="{(x0 + x1) / 2:.1f}" y="{y0 - 0.35 * line:.1f}" text-anchor="middle"'
        text = _text(figure.scale_bar.text)
        parts += [
            f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.2f}" height="{y1 - y0:.2f}" fill="white" '
            f'stroke="black" stroke-width="{line / 14:.2f}"/>',
            # The contour is a separate text, because many programs ignore `paint-order`.
            f'<text {place} fill="black" stroke="black" stroke-width="{line / 6:.2f}">{text}</text>',
            f'<text {place} fill="white">{text}</text>',
        ]
    for number, row in enumerate(rows):
        y = height + (number + MARGIN) * 1.4 * line
        for x, entry in row:
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{line:.1f}" height="{line:.1f}" '
                f'fill="{_hex(entry.info.color)}"/>'
                f'<text x="{x + 1.4 * line:.1f}" y="{y + 0.85 * line:.1f}" fill="black">{_text(entry.text)}</text>'
            )
    return "\n".join([*parts, "</svg>\n"])


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    height, width = figure.image.shape[:2]
    line = figure.line_height_px
    rows = _legend_rows(figure)
    total = round(height + (len(rows) + MARGIN) * 1.4 * line) if rows else height
    canvas = Image.new("RGB", (width, total), "white")
    canvas.paste(_with_outlines(figure), (0, 0))
    draw, font = ImageDraw.Draw(canvas), _font(line)
    if figure.scale_bar is not None:
        x0, y0, x1, y1 = _bar_box(figure)
        draw.rectangle((x0, y0, x1, y1), fill="white", outline="black", width=max(1, round(line / 14)))
        draw.text(
            ((x0 + x1) / 2, y0 - 0.35 * line),
            figure.scale_bar.text,
            fill="white",
            font=font,
            anchor="ms",
            stroke_width=max(1, round(line / 12)),
            stroke_fill="black",
        )
    for number, row in enumerate(rows):
        y = height + (number + MARGIN) * 1.4 * line
        for x, entry in row:
            draw.rectangle((x, y, x + line, y + line), fill=entry.info.color)
            draw.text((x + 1.4 * line, y + 0.85 * line), entry.text, fill="black", font=font, anchor="ls")
    stream = io.BytesIO()
    canvas.save(stream, format="PNG")
    return stream.getvalue()


def with_outlines(figure: Figure) -> UInt8Array:
    """Return the image (H, W, 3) with its outlines, without legend and scale bar."""
    return np.asarray(_with_outlines(figure))


def _with_outlines(figure: Figure) -> Image.Image:
    """Draw the outlines band by band, enlarged, so that they are smooth."""
    settings, height = figure.settings, figure.image.shape[0]
    result = Image.fromarray(figure.image)
    band_px = max(64, 4_000_000 // (figure.image.shape[1] * _OVERSAMPLING**2))
    boxes = [
        (min(r[:, 1].min() for r in o.rings), max(r[:, 1].max() for r in o.rings)) for o in figure.outlines
    ]
    reach = settings.line_px + 1
    for top in range(0, height, band_px):
        bottom = min(top + band_px, height)
        members = [
            outline
            for outline, (low, high) in zip(figure.outlines, boxes, strict=True)
            if low - reach < bottom and high + reach > top
        ]
        if members:
            result.paste(_band(figure, members, top, bottom), (0, top))
    return result


def _band(figure: Figure, outlines: list[Any], top: int, bottom: int) -> Image.Image:
    settings, factor = figure.settings, _OVERSAMPLING
    part = Image.fromarray(np.ascontiguousarray(figure.image[top:bottom]))
    size = (part.width * factor, part.height * factor)
    for color in {figure.colors[outline.class_id] for outline in outlines}:
        cover = Image.new("L", size)
        draw = ImageDraw.Draw(cover)
        lines: list[list[tuple[float, float]]] = []
        for outline in outlines:
            if figure.colors[outline.class_id] != color:
                continue
            points = [[(x * factor, (y - top) * factor) for x, y in ring] for ring in outline.rings]
            lines += points
            if settings.fill:
                _fill(cover, points, round(255 * settings.fill))
        if settings.line_px:
            for ring in lines:
                draw.line(
                    [*ring, ring[0]], fill=255, width=max(1, round(settings.line_px * factor)), joint="curve"
                )
        mask = cover.resize(part.size, Image.Resampling.BOX)
        part.paste(Image.new("RGB", part.size, color), (0, 0), mask)
    return part


def _fill(cover: Image.Image, points: list[list[tuple[float, float]]], value: int) -> None:
    """Fill rings by the even-odd rule, so that holes stay empty."""
    corners = np.concatenate([np.asarray(ring) for ring in points])
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)) + 1, cover.size).astype(int)
    size = tuple((high - low).tolist())
    if min(size) <= 0:
        return
    area = np.zeros((size[1], size[0]), dtype=np.bool_)
    for ring in points:
        part = Image.new("1", size)
        ImageDraw.Draw(part).polygon([(x - low[0], y - low[1]) for x, y in ring], fill=1)
        area ^= np.asarray(part)
    cover.paste(value, (int(low[0]), int(low[1])), Image.fromarray(area))


def _bar_box(figure: Figure) -> tuple[float, float, float, float]:
    """Return (x0, y0, x1, y1) of the scale bar, at the bottom right of the image."""
    height, width = figure.image.shape[:2]
    line = figure.line_height_px
    length = 0.0 if figure.scale_bar is None else figure.scale_bar.length_px
    x1, y1 = width - line, height - line
    return x1 - length, y1 - _BAR * line, x1, y1


def _legend_rows(figure: Figure) -> list[list[tuple[float, Any]]]:
    """Return the rows of the legend: the left edge and the entry of each."""
    line, width = figure.line_height_px, figure.image.shape[1]
    font = _font(line)
    rows: list[list[tuple[float, Any]]] = []
    x = width + 1.0
    for entry in figure.legend:
        length = 3.0 * line + 1.1 * font.getlength(entry.text)
        if x + length > width:
            rows.append([])
            x = MARGIN * line
        rows[-1].append((x, entry))
        x += length
    return rows


def _font(size_px: float) -> Any:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size_px)
        except OSError:
            continue
    return ImageFont.load_default(size_px)


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _text(text: str) -> str:
    """Escape a text for XML, without the characters that XML does not allow."""
    return escape("".join(letter for letter in text if letter.isprintable()))

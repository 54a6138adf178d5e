"""Arrays as PNG files, figures as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..plots import filter_mosaic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PIXELS_ACROSS = 1000  # of a picture of atoms, about
_PANEL_SIDE = 1600  # pixels; larger pictures are shrunk to it in a panel
_GAP, _CAPTION = 8, 20  # pixels


def image_from(array: NDArray[Any]) -> Image.Image:
    """An 8-bit image from values in [0, 1]; what lies beyond is cut off."""
    return Image.fromarray(np.rint(np.clip(array, 0.0, 1.0) * 255.0).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def atoms_png(atoms: NDArray[Any]) -> bytes:
    """A grid of atoms (n_atoms, channels, height, width), every pixel a square of several."""
    return mosaic_png(filter_mosaic(atoms))


def mosaic_png(mosaic: NDArray[Any]) -> bytes:
    """A mosaic of small pictures, every pixel a square of several."""
    picture = image_from(mosaic)
    factor = max(1, round(_PIXELS_ACROSS / picture.width))
    return png(picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST))


def panel_png(images: Mapping[str, NDArray[Any]]) -> bytes:
    """Pictures of one size side by side under their names; values in [0, 1], pixel for pixel if small."""
    shown = {name: image_from(image).convert("RGB") for name, image in images.items()}
    for image in shown.values():
        image.thumbnail((_PANEL_SIDE, _PANEL_SIDE), Image.Resampling.BOX)
    width, height = next(iter(shown.values())).size
    column = max(width, 10 * _CAPTION)  # room for the caption
    panel = Image.new("RGB", (len(shown) * (column + _GAP) - _GAP, height + _CAPTION), "white")
    draw = ImageDraw.Draw(panel)
    for i, (name, image) in enumerate(shown.items()):
        left = i * (column + _GAP)
        draw.text((left + 4, 4), name, fill="black", font=ImageFont.load_default())
        panel.paste(image, (left, _CAPTION))
    return png(panel)


def figure_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def data_uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

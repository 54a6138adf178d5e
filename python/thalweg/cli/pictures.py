"""Arrays as PNG files, figures as data URIs."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..plots import filter_mosaic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PIXELS_ACROSS = 1000  # of a picture of atoms, about


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


def figure_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def data_uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

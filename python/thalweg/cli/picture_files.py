"""Pictures from the user's files and back, of 8 or 16 bits, gray or colour, with or without alpha."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

# What Pillow raises for a file that is no image, is cut off, is corrupt, or would fill the memory.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    zlib.error,
    struct.error,
    Image.DecompressionBombError,
)

# Pillow reduces 16-bit colour to the high bytes; asked for the other order of bytes, it gives the low ones.
_NATIVE, _FOREIGN = ("L", "B") if sys.byteorder == "little" else ("B", "L")
_OTHER_ORDER = {";16B": ";16L", ";16L": ";16B", ";16N": f";16{_FOREIGN}"}
_BITS_PER_SAMPLE = 258  # of TIFF
_PNG_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of samples of a pixel


class Picture(NamedTuple):
    """Pixels (height, width) or (height, width, 3), uint8 or uint16; alpha (height, width) or None.

    `profile` is the ICC profile that says what the colours are, or None.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None
    profile: bytes | None

    @property
    def white(self) -> int:
        """The greatest value: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)

    def unit(self) -> NDArray[np.float64]:
        """Pixels in [0, 1]."""
        return self.pixels / float(self.white)


def read_picture(path: Path) -> Picture:
    """The first picture of a file, turned as the camera noted it (EXIF); palettes become RGB.

    Raises
    ------
    OSError
        Where there is no such file, or it may not be read.
    ValueError
        Where the file is no picture, is damaged, or is of a depth other than 1 to 8 and 16 bits.
    """
    with open(path, "rb"):
        pass  # that the file is missing is said by the system
    try:
        with Image.open(path) as image:
            profile = image.info.get("icc_profile")
            samples = _samples(image, path)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: cannot be read as a picture ({reason})") from error
    n_channels = 3 if samples.shape[2] > 2 else 1
    pixels = samples[..., :n_channels] if n_channels == 3 else samples[..., 0]
    alpha = samples[..., -1] if samples.shape[2] in (2, 4) else None
    return Picture(np.ascontiguousarray(pixels), alpha, profile)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Where a mask is white, or gray as the soft edge of a brush; transparent is as black.

    A JPEG's black is not quite black: an eighth of white is still black.
    """
    picture = read_picture(path)
    value = picture.unit()
    gray = value if value.ndim == 2 else value @ np.array([0.299, 0.587, 0.114])
    if picture.alpha is not None:
        gray = gray * (picture.alpha / float(picture.white))
    return np.asarray(gray > 1 / 8)


def picture_png(picture: Picture) -> bytes:
    """A PNG file of the picture's own depth."""
    samples = np.atleast_3d(picture.pixels)
    if picture.alpha is not None:
        samples = np.concatenate([samples, picture.alpha[..., np.newaxis]], axis=2)
    if samples.dtype == np.uint16:
        return _deep_png(samples, picture.profile)
    buffer = io.BytesIO()
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    image.save(buffer, format="PNG", icc_profile=picture.profile)
    return buffer.getvalue()


def _samples(image: Image.Image, path: Path) -> NDArray[Any]:
    """Samples (height, width, 1 to 4): gray or colour, then alpha."""
    if image.mode.startswith(("I", "F")):
        return _deep_gray(image)
    if _is_deep(image):
        return _deep_color(image, path)
    image = ImageOps.exif_transpose(image)
    is_gray = image.mode in ("1", "L", "LA", "La")
    has_alpha = image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info
    wanted = ("L" if is_gray else "RGB") + ("A" if has_alpha else "")
    return np.atleast_3d(np.asarray(image.convert(wanted)))


def _deep_gray(image: Image.Image) -> NDArray[np.uint16]:
    # Pillow gives 16-bit PNG files the mode "I" in some releases.
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError("its values have no fixed range; save it with 8 or 16 bits")
    key = image.info.get("transparency")
    values = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)[..., np.newaxis]
    return values if key is None else _with_alpha(values, [key])


def _with_alpha(samples: NDArray[np.uint16], key: Any) -> NDArray[np.uint16]:
    """What has the colour `key` is transparent."""
    opaque = np.any(samples != np.array(key, np.uint16), axis=2, keepdims=True)
    return np.concatenate([samples, np.where(opaque, np.uint16(65535), np.uint16(0))], axis=2)


def _is_deep(image: Image.Image) -> bool:
    """Whether a colour image, or gray with alpha, has more than the 8 bits that Pillow gives."""
    depths = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    return max(depths) > 8 or any(";16" in mode for mode in _raw_modes(image))


def _raw_modes(image: Image.Image) -> list[str]:
    """How the file holds its pixels, for each of its parts."""
    arguments = [part[3] for part in getattr(image, "tile", [])]
    return [a if isinstance(a, str) else str(a[0]) if isinstance(a, tuple) else "" for a in arguments]


def _deep_color(image: Image.Image, path: Path) -> NDArray[np.uint16]:
    """16-bit colour, or gray with alpha: the high bytes and the low ones, each decoded on its own."""
    modes = set(_raw_modes(image))
    key = image.info.get("transparency")
    if modes == {"LA;16B"}:
        both = _decoded(path, "RGBA", "RGBA")  # four bytes a pixel
        return np.ascontiguousarray(both).view(">u2").astype(np.uint16)
    (mode,) = modes if len(modes) == 1 else {""}
    channels, order = mode[:-4], mode[-4:]
    if channels not in ("RGB", "RGBA") or order not in _OTHER_ORDER:
        raise ValueError("16-bit colour held in this way is not supported; save it as PNG")
    high, low = (_decoded(path, channels, channels + o) for o in (order, _OTHER_ORDER[order]))
    samples = high * np.uint16(256) + low
    return samples if key is None else _with_alpha(samples, key)


def _decoded(path: Path, mode: str, raw_mode: str) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        parts: list[Any] = []
        for part in image.tile:
            changed = raw_mode if isinstance(part[3], str) else (raw_mode, *part[3][1:])
            make = getattr(part, "_make", tuple)  # named in newer releases of Pillow
            parts.append(make((*part[:3], changed)))
        image.tile = parts
        image._mode = mode
        image.info.pop("transparency", None)
        return np.asarray(ImageOps.exif_transpose(image))


def _deep_png(samples: NDArray[np.uint16], profile: bytes | None) -> bytes:
    """A PNG file of 16-bit samples (height, width, 1 to 4), which Pillow cannot write in colour."""
    height, width, count = samples.shape
    lines = np.ascontiguousarray(samples, ">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + lines.shape[1]), 2, np.uint8)  # 2: less the line above
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    parts = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOR_TYPES[count], 0, 0, 0))]
    if profile is not None:
        parts.append(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    parts += [_chunk(b"IDAT", zlib.compress(filtered.tobytes())), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""Images and digits, read from the user's files or from what scikit-learn ships."""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ._check import one_of, whole_number

__all__ = [
    "find_images",
    "is_mnist_folder",
    "iter_images",
    "load_images",
    "load_mnist",
    "sample_image_paths",
    "sample_images",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

# What Pillow raises for a file that is no image, is cut off, is corrupt, or would fill the memory.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError)

_N_CLASSES = 10
_SIDE = 28
_PREFIXES = {"train": "train", "test": "t10k"}
_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")
_IMAGES_MAGIC = 2051
_LABELS_MAGIC = 2049
_CHUNK = 1 << 20


def find_images(paths: Any) -> list[Path]:
    """Image files that `paths` stand for: files as they are, and PNG, JPEG and TIFF files below folders.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        A folder is searched with its subfolders; its files come in the order of their names.

    Returns
    -------
    files : list of pathlib.Path
        Each file once, in the order in which it was first met.

    Raises
    ------
    FileNotFoundError
        Where a path does not exist.
    ValueError
        Where no file is found.

    Examples
    --------
    >>> from thalweg.datasets import find_images, sample_image_paths
    >>> [path.name for path in find_images(sample_image_paths()[0].parent)]
    ['china.jpg', 'flower.jpg']
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files: dict[Path, None] = {}
    for path in map(Path, given):
        if path.is_dir():
            found = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            files.update(dict.fromkeys(sorted(found)))
        elif path.exists():
            files[path] = None
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    if not files:
        where = ", ".join(map(str, given)) or "an empty list"
        raise ValueError(f"paths: no PNG, JPEG or TIFF image in {where}")
    return list(files)


def iter_images(
    paths: Any, *, color: bool | None = None, max_side: int | None = None, dtype: Any = np.float32
) -> Iterator[tuple[Path, NDArray[Any]]]:
    """The images of `load_images` one after the other, each with its file, so that one is held at a time.

    Parameters, warnings and errors are those of `load_images`, but where no image is readable nothing is
    raised: the iterator is merely empty.

    Examples
    --------
    >>> from thalweg.datasets import iter_images, sample_image_paths
    >>> [image.shape for _, image in iter_images(sample_image_paths(), color=False)]
    [(427, 640), (427, 640)]
    """
    one_of(color, "color", (None, False, True))
    if max_side is not None:
        whole_number(max_side, "max_side", minimum=1)
    for path in find_images(paths):
        try:
            image = _read_image(path, color, max_side)
        except _UNREADABLE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            warnings.warn(f"{path}: skipped, for it cannot be read as an image ({reason})", stacklevel=2)
            continue
        yield path, image.astype(dtype, copy=False)


def load_images(
    paths: Any, *, color: bool | None = None, max_side: int | None = None, dtype: Any = np.float32
) -> list[NDArray[Any]]:
    """Photographs as arrays with values in [0, 1].

    8-bit values are divided by 255 and 16-bit gray values by 65535 (Pillow reduces 16-bit colour to 8 bits);
    floating point images must lie in [0, 1] already. The orientation that a camera noted (EXIF) is applied,
    transparency is ignored, and of several pages the first is taken.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        PNG, JPEG or TIFF files, or folders of them, which are searched with their subfolders.
    color : bool, default=None
        True gives every image three channels, False one, and None leaves each as it is in its file. Gray is
        0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).
    max_side : int, default=None
        Larger images are shrunk so that no side is longer, in pixels.
    dtype : dtype, default=numpy.float32

    Returns
    -------
    images : list of ndarray of shape (height, width) for gray, (height, width, 3) for colour

    Raises
    ------
    FileNotFoundError
        Where a path does not exist.
    ValueError
        Where there is no image, or none that can be read.

    Warns
    -----
    UserWarning
        For every file that cannot be read; it is named, and skipped.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from PIL import Image
    >>> from thalweg.datasets import load_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.fromarray(np.full((4, 6, 3), 51, np.uint8)).save(pathlib.Path(folder, "a.png"))
    ...     (image,) = load_images(folder)
    >>> image.shape, round(float(image.max()), 6)
    ((4, 6, 3), 0.2)
    """
    images = [image for _, image in iter_images(paths, color=color, max_side=max_side, dtype=dtype)]
    if not images:
        raise ValueError(f"paths: none of the images in {paths} can be read")
    return images


def sample_images(*, color: bool = True, dtype: Any = np.float32) -> list[NDArray[Any]]:
    """The two photographs that scikit-learn ships, a Chinese temple and a flower.

    Parameters
    ----------
    color : bool, default=True
        Three channels, or one.
    dtype : dtype, default=numpy.float32

    Returns
    -------
    images : list of ndarray of shape (427, 640, 3), or (427, 640) where not `color`
        Values in [0, 1].

    Examples
    --------
    >>> from thalweg.datasets import sample_images
    >>> [image.shape for image in sample_images(color=False)]
    [(427, 640), (427, 640)]
    """
    return load_images(sample_image_paths(), color=color, dtype=dtype)


def sample_image_paths() -> list[Path]:
    """The files of `sample_images`.

    Examples
    --------
    >>> from thalweg.datasets import sample_image_paths
    >>> [path.name for path in sample_image_paths()]
    ['china.jpg', 'flower.jpg']
    """
    import sklearn.datasets

    folder = Path(sklearn.datasets.__file__).parent / "images"
    return [folder / "china.jpg", folder / "flower.jpg"]


def _read_image(path: Path, color: bool | None, max_side: int | None) -> NDArray[np.float64]:
    with Image.open(path) as opened:
        if max_side is not None and opened.format == "JPEG":
            opened.draft(None, (max_side, max_side))  # decoded smaller, where that is still large enough
        is_png = opened.format == "PNG"
        image = ImageOps.exif_transpose(opened)
    if max_side is not None and max(image.size) > max_side:
        image = _shrunk(image, max_side)
    if image.mode.startswith(("I", "F")):
        gray = _deep_gray(image, is_png)
        return np.repeat(gray[..., None], 3, axis=2) if color else gray
    is_gray = image.mode in ("1", "L", "LA", "La")
    wanted = "L" if color is False or (is_gray and not color) else "RGB"
    if wanted == "L" and not is_gray:
        image = image.convert("RGB")
    return np.asarray(image.convert(wanted), np.float64) / 255.0


def _shrunk(image: Image.Image, max_side: int) -> Image.Image:
    scale = max_side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.mode in ("1", "P", "PA"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode.startswith("I;16"):
        # Pillow has no antialiasing filter for these modes; float32 holds 16 bits exactly.
        image = Image.fromarray(np.asarray(image).astype(np.float32) / np.float32(65535.0))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=None)


def _deep_gray(image: Image.Image, is_png: bool) -> NDArray[np.float64]:
    """A gray image of more than 8 bits."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0.0 and values.max() <= 1.0):
            raise ValueError("floating point values must lie in [0, 1]")
        return values
    # Pillow gives 16-bit PNG files the mode "I" in some releases; other 32-bit integers have no known range.
    if image.mode == "I" and not is_png:
        raise ValueError("32-bit integers have no fixed range; save it with 8 or 16 bits")
    scaled: NDArray[np.float64] = values / 65535.0
    return scaled


def is_mnist_folder(path: Any) -> bool:
    """Whether a path is a folder with any of the IDX files that `load_mnist` reads.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    bool

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from thalweg.datasets import is_mnist_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     before = is_mnist_folder(folder)
    ...     pathlib.Path(folder, "train-images-idx3-ubyte.gz").touch()
    ...     before, is_mnist_folder(folder)
    (False, True)
    """
    folder = Path(path)
    names = [f"{prefix}-{kind}" for prefix in _PREFIXES.values() for kind in _KINDS]
    return any((folder / f"{name}{end}").is_file() for name in names for end in ("", ".gz"))


def load_mnist(
    root: Any = None, *, split: str = "train", dtype: Any = np.float32
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """MNIST's handwritten digits.

    Parameters
    ----------
    root : path-like, default=None
        Folder with the original IDX files, gzip-compressed (``train-images-idx3-ubyte.gz``, ...) or not. None
        fetches them through scikit-learn's ``fetch_openml``, which keeps them in its own cache.
    split : {"train", "test"}, default="train"
        The 60,000 images to learn from, or the 10,000 to test on.
    dtype : dtype, default=numpy.float32

    Returns
    -------
    X : ndarray of shape (n_samples, 784)
        Rows of 28 x 28 pixels, from 0 (background) to 1 (ink).
    y : ndarray of shape (n_samples,), int64
        Digits, 0 to 9.

    Raises
    ------
    FileNotFoundError
        Where a file is missing.
    ValueError
        Where a file is corrupt, truncated or holds something else: the message names file and fault.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition,
    Proceedings of the IEEE 86(11), 1998.

    Examples
    --------
    >>> from thalweg.datasets import load_mnist
    >>> X, y = load_mnist("data/mnist", split="test")  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (10000, 784)
    """
    one_of(split, "split", ("train", "test"))
    if root is None:
        return _fetch_mnist(split, dtype)
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"root: {folder} is not a folder")
    image_file, label_file = (_idx_file(folder, f"{_PREFIXES[split]}-{kind}") for kind in _KINDS)
    pixels = _read_idx(image_file, _IMAGES_MAGIC, (_SIDE, _SIDE))
    labels = _read_idx(label_file, _LABELS_MAGIC, ())
    if len(pixels) != len(labels):
        raise ValueError(f"{label_file}: {len(labels)} labels for the {len(pixels)} images of {image_file}")
    if len(labels) and labels.max() >= _N_CLASSES:
        raise ValueError(f"{label_file}: labels must lie in 0..9, got {labels.max()}")
    X = pixels.reshape(len(pixels), -1).astype(dtype)
    X /= 255
    return X, labels.astype(np.int64)


def _idx_file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder}: neither {name} nor {name}.gz is there")


def _read_idx(path: Path, magic: int, item: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes whose items have the shape `item`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _parse_idx(file, path, magic, item)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: corrupt or truncated gzip data ({error})") from error


def _parse_idx(
    file: BinaryIO | gzip.GzipFile, path: Path, magic: int, item: tuple[int, ...]
) -> NDArray[np.uint8]:
    n_numbers = 2 + len(item)
    header = file.read(4 * n_numbers)
    if len(header) < 4 * n_numbers:
        raise ValueError(f"{path}: truncated, the IDX header needs {4 * n_numbers} bytes, got {len(header)}")
    found, count, *shape = (int(n) for n in np.frombuffer(header, ">u4"))
    if found != magic:
        raise ValueError(f"{path}: not the expected IDX file, the magic number must be {magic}, got {found}")
    if tuple(shape) != item:
        raise ValueError(f"{path}: the header must announce images of {item}, got {tuple(shape)}")
    expected = count * int(np.prod(item, dtype=np.int64))
    body = bytearray()
    # By chunks: a header that lies does not make us reserve what it announces.
    while len(body) <= expected and (chunk := file.read(min(_CHUNK, expected + 1 - len(body)))):
        body += chunk
    if len(body) < expected:
        raise ValueError(f"{path}: truncated, {count} items need {expected} bytes, got {len(body)}")
    if len(body) > expected:
        raise ValueError(f"{path}: more bytes than the {expected} of the {count} items in its header")
    return np.frombuffer(bytes(body), np.uint8).reshape(count, *item)


def _fetch_mnist(split: str, dtype: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    from sklearn.datasets import fetch_openml

    X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff")
    rows = slice(0, 60_000) if split == "train" else slice(60_000, 70_000)
    if X.shape != (70_000, _SIDE * _SIDE):
        raise ValueError(f"fetch_openml: expected 70,000 rows of 784 pixels, got shape {X.shape}")
    return (X[rows] / 255.0).astype(dtype), y[rows].astype(np.int64)

"""Photographs and digits from files: what is accepted, what is converted, what is refused and how."""

from __future__ import annotations

import gzip
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from thalweg import datasets

DATA = Path(os.environ.get("THALWEG_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (12, 20, 3)).astype(np.uint8)
GRAY = RNG.integers(0, 256, (12, 20)).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("array", [COLOR, GRAY], ids=["color", "gray"])
def test_lossless_files_come_back(tmp_path: Path, suffix: str, array: np.ndarray) -> None:
    (image,) = datasets.load_images(save(tmp_path / f"a{suffix}", array))
    assert image.dtype == np.float32
    assert np.array_equal(image, (array / 255).astype(np.float32))


def test_jpeg_is_read(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 32 * 32).reshape(32, 32).astype(np.uint8)
    (image,) = datasets.load_images(save(tmp_path / "a.jpg", smooth, quality=95))
    assert np.abs(image - smooth / 255).max() < 0.03


def test_color_and_gray_are_converted_on_request(tmp_path: Path) -> None:
    paths = [save(tmp_path / "color.png", COLOR), save(tmp_path / "gray.png", GRAY)]
    assert [i.shape for i in datasets.load_images(paths, color=None)] == [(12, 20, 3), (12, 20)]
    colored = datasets.load_images(paths, color=True)
    assert [i.shape for i in colored] == [(12, 20, 3)] * 2
    assert np.array_equal(colored[1][..., 0], colored[1][..., 2])
    grays = datasets.load_images(paths, color=False)
    luma = COLOR @ [0.299, 0.587, 0.114] / 255
    assert np.abs(grays[0] - luma).max() <= 1.01 / 255
    assert np.allclose(grays[1], GRAY / 255)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("color", [None, False, True])
def test_sixteen_bits_keep_their_depth(tmp_path: Path, suffix: str, color: bool | None) -> None:
    deep = RNG.integers(0, 65536, (9, 7)).astype(np.uint16)
    (image,) = datasets.load_images(save(tmp_path / f"a{suffix}", deep), color=color, dtype=np.float64)
    expected = deep / 65535
    assert np.array_equal(image, np.stack([expected] * 3, axis=2) if color else expected)


def test_big_endian_sixteen_bit_tiff(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (9, 7)).astype(np.uint16)
    image = Image.frombytes("I;16B", (7, 9), deep.astype(">u2").tobytes())
    image.save(tmp_path / "a.tif")
    (back,) = datasets.load_images(tmp_path, dtype=np.float64)
    assert np.array_equal(back, deep / 65535)


def test_float_tiff_is_taken_as_it_is_and_refused_out_of_range(tmp_path: Path) -> None:
    values = RNG.random((5, 6), np.float32)
    assert np.array_equal(datasets.load_images(save(tmp_path / "a.tif", values))[0], values)
    save(tmp_path / "b.tif", values * 300)
    with pytest.warns(UserWarning, match=r"b\.tif: skipped.*\[0, 1\]"):
        assert len(datasets.load_images(tmp_path)) == 1


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
def test_every_usual_mode_is_read(tmp_path: Path, mode: str) -> None:
    Image.fromarray(COLOR).convert(mode).save(tmp_path / "a.tif")
    (image,) = datasets.load_images(tmp_path)
    assert image.shape == ((12, 20) if mode in ("1", "LA") else (12, 20, 3))
    assert image.min() >= 0
    assert image.max() <= 1
    (small,) = datasets.load_images(tmp_path, max_side=10, color=False)
    assert small.shape == (6, 10)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    save(tmp_path / "a.png", COLOR, exif=exif)
    (image,) = datasets.load_images(tmp_path)
    assert np.array_equal(image, np.rot90(COLOR / 255, -1).astype(np.float32))


def test_large_images_are_shrunk_by_averaging(tmp_path: Path) -> None:
    save(tmp_path / "a.png", COLOR)
    save(tmp_path / "b.png", (GRAY.astype(np.uint16) * 257))
    color, deep = datasets.load_images(tmp_path, max_side=10)
    assert color.shape == (6, 10, 3)
    assert np.abs(color - (COLOR / 255).reshape(6, 2, 10, 2, 3).mean((1, 3))).max() <= 1.01 / 255
    assert np.abs(deep - (GRAY / 255).reshape(6, 2, 10, 2).mean((1, 3))).max() <= 1e-6
    assert datasets.load_images(tmp_path, max_side=20)[0].shape == (12, 20, 3)
    with pytest.raises(ValueError, match="max_side"):
        datasets.load_images(tmp_path, max_side=0)


def test_folders_are_searched_in_order_and_files_taken_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    paths = [save(tmp_path / name, GRAY) for name in ("b.png", "a.JPG", "sub/c.tif")]
    (tmp_path / "notes.txt").write_text("no image")
    assert datasets.find_images([tmp_path, paths[0]]) == [paths[1], paths[0], paths[2]]


def test_an_unreadable_image_is_named_and_skipped(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", COLOR)
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped") as caught:
        images = datasets.load_images(tmp_path)
    assert len(images) == 1
    assert [Path(str(w.message).split(":")[0]).name for w in caught] == ["cut.png", "empty.jpg", "text.png"]


def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no PNG, JPEG or TIFF"):
        datasets.load_images(tmp_path)
    with pytest.raises(ValueError, match="empty list"):
        datasets.load_images([])
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        datasets.load_images(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("not an image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="can be read"):
            datasets.load_images(tmp_path)


def test_sample_images() -> None:
    images = datasets.sample_images()
    assert [i.shape for i in images] == [(427, 640, 3)] * 2
    assert all(0 <= i.min() < 0.1 and 0.9 < i.max() <= 1 for i in images)


PIXELS = RNG.integers(0, 256, (5, 28, 28)).astype(np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    header = struct.pack(f">{array.ndim + 1}I", magic or 2048 + array.ndim, *array.shape)
    return header + array.tobytes()


def write_mnist(folder: Path, images: bytes, labels: bytes, *, packed: bool = False) -> None:
    for name, data in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read(tmp_path: Path, packed: bool) -> None:
    write_mnist(tmp_path, idx(PIXELS), idx(LABELS), packed=packed)
    X, y = datasets.load_mnist(tmp_path)
    assert X.dtype == np.float32
    assert np.array_equal(X, (PIXELS.reshape(5, 784) / 255).astype(np.float32))
    assert np.array_equal(y, LABELS)
    with pytest.raises(FileNotFoundError, match="t10k-images"):
        datasets.load_mnist(tmp_path, split="test")


@pytest.mark.parametrize(
    ("images", "labels", "file", "fault"),
    [
        (idx(PIXELS)[:-1], idx(LABELS), "images", "truncated"),
        (idx(PIXELS)[:10], idx(LABELS), "images", "truncated"),
        (b"", idx(LABELS), "images", "truncated"),
        (idx(PIXELS) + b"x", idx(LABELS), "images", "more bytes"),
        (idx(PIXELS, magic=2049), idx(LABELS), "images", "magic number"),
        (idx(PIXELS[:, :20]), idx(LABELS), "images", "header must announce"),
        (struct.pack(">4I", 2051, 2**32 - 1, 28, 28), idx(LABELS), "images", "truncated"),
        (idx(PIXELS), idx(LABELS[:3]), "labels", "3 labels for the 5 images"),
        (idx(PIXELS), idx(LABELS + 8), "labels", r"0\.\.9"),
        (idx(PIXELS), idx(LABELS)[:-2], "labels", "truncated"),
        (idx(PIXELS), idx(PIXELS), "labels", "magic number"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_faulty_idx_files_are_named(
    tmp_path: Path, images: bytes, labels: bytes, file: str, fault: str, packed: bool
) -> None:
    write_mnist(tmp_path, images, labels, packed=packed)
    with pytest.raises(ValueError, match=f"train-{file}-idx.*{fault}"):
        datasets.load_mnist(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "plain"])
def test_faulty_gzip_is_named(tmp_path: Path, damage: str) -> None:
    write_mnist(tmp_path, idx(PIXELS), idx(LABELS), packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-20]
    elif damage == "flipped":
        data[len(data) // 2] ^= 255
    else:
        data = bytearray(idx(PIXELS))
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz"):
        datasets.load_mnist(tmp_path)


def test_mnist_without_root_comes_from_openml(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.zeros((70_000, 784))
    pixels[60_000, 7] = 255
    labels = np.array(["7"] * 60_000 + ["2"] * 10_000, dtype=object)
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *a, **k: (pixels, labels))
    X, y = datasets.load_mnist(split="test")
    assert X.shape == (10_000, 784)
    assert X[0, 7] == 1
    assert set(y) == {2}
    with pytest.raises(ValueError, match="split"):
        datasets.load_mnist(split="both")


@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="needs THALWEG_DATA/mnist")
def test_the_real_mnist() -> None:
    X, y = datasets.load_mnist(DATA / "mnist", split="test")
    assert X.shape == (10_000, 784)
    assert np.bincount(y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.skipif(not (DATA / "natural").is_dir(), reason="needs THALWEG_DATA/natural")
def test_the_real_photographs() -> None:
    shapes = {image.shape for _, image in datasets.iter_images(DATA / "natural", max_side=384)}
    assert shapes == {(256, 384, 3), (384, 256, 3)}

"""Learns the dictionaries that the README shows, and draws their atoms.

256 atoms of whitened 12x12 patches from the Kodak photographs (localised, oriented edges), and 256 atoms of
MNIST's digits, codes and atoms non-negative (strokes). Of whole photographs without their low frequencies: 1,
2, 4, 8, 16 and 64 convolutional filters of 9x9, and 64 in colour; the decoders and encoders of convolutional
sparse auto-encoders with 1, 2, 4, 8 and 16. Of `thalweg learn deep-energy` on 18 photographs: what the
hidden units look for and what they stand for, in pixels, and the modes. The data are looked for in the folder
that THALWEG_DATA names, else in ../shared/data.

    python bench/pictures.py --out bench/results
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from thalweg import (
    ConvolutionalDictionaryLearning,
    ConvolutionalSparseAutoencoder,
    MiniBatchDictionaryLearning,
)
from thalweg.cli import main as command_line
from thalweg.datasets import load_images, load_mnist
from thalweg.plots import filter_mosaic
from thalweg.preprocessing import Whitening, extract_patches, split_frequencies

N_COMPONENTS = 256
FILTER_COUNTS = (1, 2, 4, 8, 16, 64)
STRIP_HEIGHT = 240
DEEP_SIDE, GAP = 466, 12
ROOT = Path(__file__).resolve().parents[1]


def natural_atoms(data: Path) -> np.ndarray:
    """(256, 12, 12): zero is mid-gray."""
    images = load_images(data / "natural", color=False)
    x, _ = extract_patches(images, 12, max_patches=100_000, random_state=0)
    x -= x.mean(axis=1, keepdims=True)
    x = Whitening(kind="zca").fit_transform(x[x.std(axis=1) > 0.01])
    x /= x.std()
    learner = MiniBatchDictionaryLearning(
        N_COMPONENTS, alpha=1.5, batch_size=1024, max_iter=10, tol=0, max_no_improvement=None, random_state=0
    )
    return learner.fit(x).components_.reshape(-1, 12, 12)


def digit_atoms(data: Path) -> np.ndarray:
    """(256, 28, 28), non-negative."""
    x = load_mnist(data / "mnist")[0].reshape(-1, 28 * 28)
    start = np.random.default_rng(0).uniform(size=(N_COMPONENTS, x.shape[1])).astype(x.dtype)
    learner = MiniBatchDictionaryLearning(
        N_COMPONENTS,
        alpha=0.1,
        positive_code=True,
        positive_dict=True,
        dict_init=start / np.linalg.norm(start, axis=1, keepdims=True),
        batch_size=1024,
        max_iter=10,
        tol=0,
        max_no_improvement=None,
        random_state=0,
    )
    return learner.fit(x).components_.reshape(-1, 28, 28)


def photograph_details(data: Path, *, color: bool) -> list[np.ndarray]:
    """The middles of the photographs, (channels, 256, 256), without their low frequencies."""
    crops = [image[128:384, 128:384] for image in load_images(data / "natural", color=color)]
    planes = [np.moveaxis(crop, -1, 0) if color else crop[None] for crop in crops]
    return [split_frequencies(plane)[1] for plane in planes]


def autoencoder_filters(data: Path, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of the decoder and of the encoder, (n_components, 1, 9, 9)."""
    details = photograph_details(data, color=False)
    learner = ConvolutionalSparseAutoencoder(n_components, 9, alpha=0.1, random_state=0).fit(details)
    return learner.components_, learner.encoder_components_


def convolutional_filters(data: Path, n_components: int, *, color: bool) -> np.ndarray:
    """(n_components, channels, 9, 9), the most used first."""
    details = photograph_details(data, color=color)
    learner = ConvolutionalDictionaryLearning(n_components, 9, alpha=0.1, max_iter=60, random_state=0)
    codes = learner.fit(details).encode(details, sparse_output=True)
    usage = sum(np.diff(maps.tocsr().indptr) for maps in codes)
    print(f"{n_components} filters: objective {learner.error_[-1]:.1f} after {learner.n_iter_} passes")
    return learner.components_[np.argsort(-usage, kind="stable")]


def side_by_side(mosaics: list[np.ndarray]) -> np.ndarray:
    """Square mosaics, each drawn as high as the strip with whole pixels, with white between."""
    parts = []
    for mosaic in mosaics:
        scale = STRIP_HEIGHT // max(mosaic.shape)
        drawn = np.kron(mosaic, np.ones((scale, scale)))
        part = np.ones((STRIP_HEIGHT, drawn.shape[1] + 12))
        top = (STRIP_HEIGHT - len(drawn)) // 2
        part[top : top + len(drawn), : drawn.shape[1]] = drawn
        parts.append(part)
    return np.concatenate(parts, axis=1)


def save(picture: np.ndarray, scale: int, path: Path) -> None:
    """An 8-bit PNG of values in [0, 1], every pixel drawn `scale` times wider and higher."""
    enlarged = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    Image.fromarray(np.rint(255 * enlarged).astype(np.uint8)).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def draw_natural_atoms(data: Path, out: Path) -> None:
    save(filter_mosaic(natural_atoms(data)), 3, out)


def draw_digit_atoms(data: Path, out: Path) -> None:
    """Non-negative atoms use the upper half of the gray scale alone: stretched, and drawn as ink on paper."""
    ink = np.clip(2 * filter_mosaic(digit_atoms(data)) - 1, 0, 1)
    save(1 - ink, 2, out)


def draw_convolutional_filters(data: Path, out: Path) -> None:
    banks = [convolutional_filters(data, n, color=False) for n in FILTER_COUNTS]
    save(side_by_side([filter_mosaic(bank) for bank in banks]), 1, out)


def draw_color_filters(data: Path, out: Path) -> None:
    save(filter_mosaic(convolutional_filters(data, 64, color=True)), 3, out)


def draw_autoencoder_filters(data: Path, out: Path) -> None:
    """The decoders above, the encoders below."""
    sides = zip(*(autoencoder_filters(data, n) for n in FILTER_COUNTS[:-1]), strict=True)
    rows = [side_by_side([filter_mosaic(bank) for bank in banks]) for banks in sides]
    save(np.concatenate(rows), 1, out)


def draw_deep_energy(data: Path, out: Path) -> None:
    """Analysis filters, synthesis filters, modes; each gray scale about mid-gray."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        photographs = [str(data / "natural" / f"kodim{i:02d}.png") for i in range(1, 25) if i % 4]
        modes = str(run / "modes")
        for line in (
            ["learn", "deep-energy", *photographs, "--patch", "28", "--whiten", "--out", folder],
            ["modes", folder, "--out", modes],
        ):
            if command_line(line):
                raise RuntimeError(f"thalweg {' '.join(line)}: failed")
        files = [run / f"filters-{name}.png" for name in ("analysis", "synthesis")]
        parts = [Image.open(file).convert("L") for file in (*files, run / "modes" / "modes.png")]
    strip = Image.new("L", (3 * DEEP_SIDE + 2 * GAP, DEEP_SIDE), 255)
    for i, part in enumerate(parts):
        drawn = ImageOps.contain(part, (DEEP_SIDE, DEEP_SIDE), Image.Resampling.BOX)
        strip.paste(drawn, (i * (DEEP_SIDE + GAP), 0))
    save(np.asarray(strip) / 255, 1, out)


PICTURES = {
    "atoms-natural": draw_natural_atoms,
    "atoms-mnist": draw_digit_atoms,
    "filters-natural": draw_convolutional_filters,
    "filters-color": draw_color_filters,
    "filters-autoencoder": draw_autoencoder_filters,
    "deep-energy": draw_deep_energy,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="folder of the pictures")
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES), help="which to draw")
    args = parser.parse_args()
    data = Path(os.environ.get("THALWEG_DATA", ROOT.parent / "shared" / "data"))
    for name in args.only:
        PICTURES[name](data, args.out / f"{name}.png")


if __name__ == "__main__":
    main()

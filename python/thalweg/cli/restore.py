"""`thalweg inpaint` and `thalweg denoise`: pictures repaired."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..models import ConvolutionalDictionaryLearning
from ..persistence import load_model_and_extra, write_bytes
from ..plots import psnr
from ..restoration import denoise as remove_noise
from ..restoration import estimate_noise
from ..restoration import inpaint as fill
from .model_files import load_learnt
from .patch_model import PATCHES, PatchModel
from .picture_files import Picture, picture_png, read_mask, read_picture
from .pictures import panel_png
from .targets import writable_file

_STEPS_OF_BAR = 1000


def inpaint(args: argparse.Namespace) -> int:
    """Runs `thalweg inpaint`; the exit code."""
    picture, truth = _inputs(args)
    missing = read_mask(Path(args.mask))
    if missing.shape != picture.pixels.shape[:2]:
        raise ValueError(
            f"--mask {args.mask}: expected the image's size, {_size(picture.pixels)}, got {_size(missing)}"
        )
    if missing.all():
        raise ValueError(
            f"--mask {args.mask}: white everywhere, so that nothing is left to fill from; white marks what "
            "is missing"
        )
    out, panel = _targets(args, "inpainted.png", args.mask)
    print(f"{missing.mean():.2%} of the pixels are missing")
    if missing.any():
        with _progress(args.quiet) as callback:
            pixels = fill(picture.pixels, ~missing, callback=callback, **_options(args))
    else:
        warn(
            f"--mask {args.mask}: black everywhere, nothing is missing (white marks it), and the picture "
            "is written as it was",
            stacklevel=1,
        )
        pixels = picture.pixels
    _write(picture, pixels, truth, out, panel)
    return 0


def denoise(args: argparse.Namespace) -> int:
    """Runs `thalweg denoise`; the exit code."""
    picture, truth = _inputs(args)
    out, panel = _targets(args, "denoised.png")
    level = picture.white / 255  # people give sigma in gray levels of 8 bits
    options = _options(args)
    if args.sigma is None:
        sigma = estimate_noise(picture.pixels)
        print(f"noise: sigma = {sigma / level:.2f} gray levels of 255, estimated")
    else:
        sigma = args.sigma * level
    if sigma == 0:
        warn("no noise to remove, and the picture is written as it was", stacklevel=1)
    with _progress(args.quiet) as callback:
        pixels = remove_noise(picture.pixels, sigma, callback=callback, **options)
    _write(picture, pixels, truth, out, panel)
    return 0


def _inputs(args: argparse.Namespace) -> tuple[Picture, Picture | None]:
    """The picture, and what it is compared with."""
    picture = read_picture(Path(args.image))
    if args.truth is None:
        return picture, None
    truth = read_picture(Path(args.truth))
    if truth.pixels.shape != picture.pixels.shape:
        raise ValueError(
            f"--truth {args.truth}: expected {_kind(picture.pixels)} as the image is, got "
            f"{_kind(truth.pixels)}"
        )
    return picture, truth


def _targets(args: argparse.Namespace, name: str, *others: str) -> tuple[Path, Path]:
    """Where the picture and the panel go."""
    out = writable_file(args.out or name)
    panel = writable_file(args.panel or str(out.with_name(f"{out.stem}-panel.png")), "--panel")
    sources = [Path(p).resolve() for p in (args.image, args.truth, args.model, *others) if p is not None]
    for option, target in (("--out", out), ("--panel", panel)):
        if target.suffix.lower() != ".png":
            raise ValueError(f"{option} {target}: expected a name that ends in .png, as PNG is written")
        if target.resolve() in sources:
            raise ValueError(f"{option} {target}: is one of the files that are read; give another name")
    if out.resolve() == panel.resolve():
        raise ValueError(f"--panel {panel}: is --out too; give another name")
    return out, panel


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What both jobs hand to the library."""
    return {
        "method": args.method,
        "dictionary": None if args.model is None else _dictionary(Path(args.model), args.method),
        "random_state": args.seed,
        "n_jobs": args.threads,
        "device": args.device,
    }


def _dictionary(path: Path, method: str) -> NDArray[Any]:
    """What a model file holds: atoms of patches, or filters."""
    learner, _ = load_model_and_extra(path)
    is_filters = isinstance(learner, ConvolutionalDictionaryLearning)
    dictionary = _filters(learner, path) if is_filters else _patch_atoms(path)
    kind = "convolutional" if is_filters else "patches"
    if method not in ("auto", kind):
        raise ValueError(f"--method {method}: {path} holds a dictionary for --method {kind}")
    return dictionary


def _filters(learner: ConvolutionalDictionaryLearning, path: Path) -> NDArray[Any]:
    filters = learner.components_
    if filters.ndim != 4 or filters.shape[1] != 1:
        raise ValueError(
            f"{path}: expected filters of gray pictures, of shape (n_filters, 1, height, width), got "
            f"{filters.shape}"
        )
    return filters


def _patch_atoms(path: Path) -> NDArray[Any]:
    """The atoms of a model of gray patches, as they are in pictures: not whitened, of unit norm."""
    learner, _ = load_learnt(path, PATCHES)
    model = PatchModel.load(path)
    if model.channels != 1:
        raise ValueError(
            f"{path}: learnt from colour, and a picture's channels are repaired one by one; learn with --gray"
        )
    atoms = np.asarray(learner.components_, np.float64)
    if model.whitening is not None:
        atoms = model.whitening.inverse_transform(atoms) - model.whitening.inverse_transform(0 * atoms)
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    unit: NDArray[Any] = (atoms / np.where(norms > 0, norms, 1)).astype(np.float32)
    return unit


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[float], None]]:
    """A bar that is moved with the share that is done."""
    with tqdm(
        total=_STEPS_OF_BAR,
        bar_format="{percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
        disable=quiet,
        file=sys.stderr,
        mininterval=0.2 if sys.stderr.isatty() else 5.0,
    ) as bar:

        def move(share: float) -> None:
            bar.update(int(share * _STEPS_OF_BAR) - bar.n)

        yield move


def _write(picture: Picture, pixels: NDArray[Any], truth: Picture | None, out: Path, panel: Path) -> None:
    """The repaired picture, the panel, and how near they are to the truth."""
    repaired = picture._replace(pixels=pixels)
    shown = {"before": picture.unit(), "after": repaired.unit()}
    if truth is not None:
        exact = truth.unit()
        decibels = {name: psnr(exact, image) for name, image in shown.items()}
        print(f"PSNR {decibels['before']:.2f} dB before, {decibels['after']:.2f} dB after")
        shown = {f"{name}, {decibels[name]:.2f} dB": image for name, image in shown.items()}
        shown["truth"] = exact
    write_bytes(out, picture_png(repaired))
    write_bytes(panel, panel_png(shown))
    print(f"{out}, and beside the original in {panel}")


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[0]} x {array.shape[1]} (height x width)"


def _kind(pixels: NDArray[Any]) -> str:
    return f"{'gray' if pixels.ndim == 2 else 'colour'}, {_size(pixels)},"

"""The Kodak photographs in gray, with noise of sigma 25 and with half their pixels missing, restored.

Thalweg beside scikit-image, on one thread: PSNR in decibels and seconds for each photograph, and their means.
Noise is Gaussian, added in float and not clipped; everyone but "estimated" is told its sigma. Pixels are
missing independently at random. Denoisers whose parameter is not set by sigma (non-local means, total
variation) run with several values of it, and the best mean over all photographs is their line.

    THALWEG_DATA=../shared/data python bench/peers/restoration.py --out bench/results/restoration
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before OpenMP is loaded

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

import common
from thalweg.plots import psnr
from thalweg.restoration import denoise, estimate_noise, inpaint

common.THREADS = 1
common.PEERS = ("numpy", "scipy", "scikit-learn", "scikit-image", "PyWavelets")
SIGMA = 25.0
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"

Repair = Callable[[np.ndarray], np.ndarray]


def photographs(count: int | None, crop: int | None) -> dict[str, np.ndarray]:
    """Gray levels in [0, 255], float64; `crop` keeps the middle."""
    folder = Path(os.environ.get("THALWEG_DATA", BESIDE)) / "natural"
    paths = sorted(folder.glob("kodim*.png"))[:count]
    if not paths:
        raise FileNotFoundError(f"no Kodak photographs kodim*.png in {folder}")
    images = {}
    for path in paths:
        with Image.open(path) as file:
            image = np.asarray(file.convert("L"), np.float64)
        if crop is not None:
            top, left = ((size - crop) // 2 for size in image.shape)
            image = image[top : top + crop, left : left + crop]
        images[path.stem] = image
    return images


def denoisers() -> dict[str, Repair]:
    """Name and function of pictures in [0, 1]; names with a parameter end in "(...)"."""
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

    sigma = SIGMA / 255
    everyone: dict[str, Repair] = {
        "thalweg.denoise": lambda y: denoise(y, sigma, random_state=0, n_jobs=1),
        "thalweg.denoise, convolutional": lambda y: denoise(
            y, sigma, method="convolutional", random_state=0, n_jobs=1
        ),
        "thalweg.denoise, sigma estimated": lambda y: denoise(y, random_state=0, n_jobs=1),
    }
    for h in (0.4, 0.5, 0.6, 0.7):
        everyone[f"non-local means (h = {h} sigma)"] = partial(
            denoise_nl_means, patch_size=7, patch_distance=11, h=h * sigma, sigma=sigma, fast_mode=True
        )
    for rule in ("BayesShrink", "VisuShrink"):
        everyone[f"wavelet {rule}"] = partial(denoise_wavelet, method=rule, sigma=sigma, wavelet="db2")
    for weight in (0.06, 0.08, 0.1, 0.12, 0.14):
        everyone[f"total variation (weight = {weight})"] = partial(denoise_tv_chambolle, weight=weight)
    return everyone


def inpainters(mask: np.ndarray) -> dict[str, Repair]:
    """Name and function of pictures in [0, 1]; mask is True where a pixel is observed."""
    from skimage.restoration import inpaint_biharmonic

    return {
        "thalweg.inpaint": lambda y: inpaint(y, mask, random_state=0, n_jobs=1),
        "thalweg.inpaint, convolutional": lambda y: inpaint(
            y, mask, method="convolutional", random_state=0, n_jobs=1
        ),
        "thalweg.inpaint, smooth fill alone": lambda y: inpaint(y, mask, max_iter=0),
        "biharmonic": lambda y: inpaint_biharmonic(y, ~mask),
    }


def run(task: str, name: str, truth: np.ndarray, damaged: np.ndarray, repair: Repair) -> dict[str, Any]:
    """PSNR and seconds of one method on one photograph."""
    seconds, restored = common.once(partial(repair, damaged))
    return {"task": task, "who": name, "psnr": psnr(truth, restored), "seconds": seconds}


def rows_of(
    photograph: str, number: int, truth: np.ndarray, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Both tasks by everyone."""
    truth = truth / 255
    noisy = truth + SIGMA / 255 * np.random.default_rng(number).normal(size=truth.shape)
    mask = np.random.default_rng(1000 + number).random(truth.shape) < 0.5
    damaged = np.where(mask, truth, 0.0)
    rows = []
    for task, given, methods in (
        ("denoising", noisy, denoisers()),
        ("inpainting", damaged, inpainters(mask)),
    ):
        rows += [
            run(task, name, truth, given, call)
            for name, call in methods.items()
            if common.chosen(name, args.only) and not (args.skip and common.chosen(name, args.skip))
        ]
    for row in rows:
        row["photograph"] = photograph
    rows.append(
        {
            "task": "noise",
            "photograph": photograph,
            "sigma": float(255 * estimate_noise(noisy)),
            "who": "thalweg",
        }
    )
    print(
        photograph,
        *(f"{r['who']} {r['psnr']:.2f} {r['seconds']:.1f}s" for r in rows[:-1]),
        sep="\n  ",
        flush=True,
    )
    return rows


def best_settings(rows: list[dict[str, Any]]) -> list[str]:
    """Of every family of names "family (setting)" the one of the best mean PSNR."""
    best: dict[str, tuple[float, str]] = {}
    for who in dict.fromkeys(r["who"] for r in rows):
        mean = float(np.mean([r["psnr"] for r in rows if r["who"] == who]))
        family = who.partition(" (")[0]
        best[family] = max(best.get(family, (-np.inf, "")), (mean, who))
    return [who for _, who in best.values()]


def table(rows: list[dict[str, Any]], task: str) -> str:
    """Photographs down, methods across; the last lines are the means and the seconds."""
    mine = [r for r in rows if r["task"] == task]
    names = best_settings(mine)
    found = {(r["photograph"], r["who"]): r for r in mine}
    photographs = list(dict.fromkeys(r["photograph"] for r in mine))
    lines = [[p, *(f"{found[p, who]['psnr']:.2f}" for who in names)] for p in photographs]
    for label, key, form in (("mean PSNR", "psnr", ".2f"), ("mean seconds", "seconds", ".1f")):
        means = [float(np.mean([found[p, who][key] for p in photographs])) for who in names]
        lines.append([f"**{label}**", *(f"**{m:{form}}**" for m in means)])
    return common.markdown_table(["dB", *names], lines)


def noise_line(rows: list[dict[str, Any]]) -> str:
    """How far the estimates of sigma are off."""
    errors = np.array([r["sigma"] / SIGMA - 1 for r in rows if r["task"] == "noise"])
    return (
        f"`estimate_noise` is off by {np.sqrt(np.mean(errors**2)):.1%} (root mean square), "
        f"at most {np.abs(errors).max():.1%}."
    )


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--count", type=int, help="the first so many photographs only")
    parser.add_argument("--skip", default="", help="comma-separated parts of names: all but these")
    parser.add_argument("--crop", type=int, help="the middle of every photograph, so many pixels square")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="skimage")
    rows: list[dict[str, Any]] = []
    with threadpool_limits(1):
        for number, (name, truth) in enumerate(photographs(args.count, args.crop).items()):
            rows += rows_of(name, number, truth, args)
    parts = []
    if any(r["task"] == "denoising" for r in rows):
        parts += [f"Denoising, sigma = {SIGMA:g}", table(rows, "denoising"), noise_line(rows)]
    if any(r["task"] == "inpainting" for r in rows):
        parts += ["Inpainting, half of the pixels missing", table(rows, "inpainting")]
    text = "\n\n".join(parts)
    common.report(args.out, "Noise removed and pixels filled: the Kodak photographs in gray", text, rows)


if __name__ == "__main__":
    main()

"""The command line's options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import isfinite
from typing import Any

from .. import __version__
from ..energies.sparse_coding import PENALTIES
from .codes import encode, reconstruct
from .learn_sparse_coding import DEFAULTS, learn_sparse_coding
from .show import info, show

_RESUME = "go on with the run in --out, with its options and photographs; --epochs may be raised"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="thalweg", description="Energy-based and latent-variable models with native kernels."
    )
    top.add_argument("--version", action="version", version=f"thalweg {__version__}")
    commands = top.add_subparsers(title="commands", dest="command", required=True)
    _add_learn(commands)
    _add_encode(commands)
    _add_reconstruct(commands)
    _add_show(commands)
    words = "what this installation is: version, instruction set, threads, compiler, CUDA"
    commands.add_parser("info", help=words, description=words).set_defaults(run=info)
    return top


def _add_learn(commands: Any) -> None:
    learn = commands.add_parser("learn", help="learn a model", description="Learn a model.")
    models = learn.add_subparsers(title="models", dest="model", required=True)
    words = "learn a dictionary from photographs"
    p = models.add_parser(
        "sparse-coding",
        help=words,
        description=f"{words.capitalize()}: random patches, whitened, then online dictionary learning. "
        "Leaves model.safetensors, atoms.png, metrics.json and report.html in the folder --out. "
        "Ctrl-C keeps what was learnt, and --resume goes on.",
    )
    p.add_argument(
        "inputs",
        nargs="*",
        metavar="PHOTO",
        help="PNG, JPEG or TIFF files, or folders; none: sample photographs",
    )
    p.add_argument("--out", default="run", help="folder for the results (default: run)")
    p.add_argument("--resume", action="store_true", help=_RESUME)
    p.add_argument(
        "--overwrite", action="store_true", help="start anew where --out holds a run, and replace it"
    )
    _add_options(p)
    p.add_argument(
        "--checkpoint-every",
        type=_number(0),
        default=15.0,
        metavar="S",
        help="seconds from one saving of the model to the next (default: 15)",
    )
    _add_threads(p)
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.set_defaults(run=learn_sparse_coding)


def _add_options(p: argparse.ArgumentParser) -> None:
    """What decides the learnt numbers. None stands for `DEFAULTS`, so that --resume sees what was given."""

    def add(name: str, words: str, **kind: Any) -> None:
        default = DEFAULTS[name]
        p.add_argument(
            "--" + name.replace("_", "-"), default=None, help=f"{words} (default: {default})", **kind
        )

    add("patch_size", "side of a patch in pixels", type=_integer(1), metavar="N")
    add("n_components", "number of atoms", type=_integer(1), metavar="N")
    add("alpha", "weight of the penalty: larger is sparser", type=_number(0), metavar="A")
    add("penalty", "penalty on the codes", choices=PENALTIES)
    add("n_patches", "number of patches to learn from", type=_integer(2), metavar="N")
    add("batch_size", "patches in a step", type=_integer(1), metavar="N")
    add("epochs", "passes over the patches", type=_integer(1), metavar="N")
    add("whitening", "what follows the removal of means", choices=("zca", "none"))
    add("whitening_eps", "its regularisation, in mean eigenvalues", type=_number(0), metavar="E")
    add("max_side", "larger photographs are shrunk to this, in pixels", type=_integer(1), metavar="N")
    add("seed", "seed of all that is random", type=_integer(0), metavar="N")
    add("dtype", "precision", choices=("float32", "float64"))
    colors = p.add_mutually_exclusive_group()
    colors.add_argument(
        "--color", "--colour", action="store_true", default=None, help="learn from colour (default: gray)"
    )
    colors.add_argument(
        "--gray", "--grey", action="store_false", dest="color", default=None, help="learn from gray"
    )


def _add_encode(commands: Any) -> None:
    words = "sparse codes of images"
    p = commands.add_parser(
        "encode",
        help=words,
        description=f"{words.capitalize()} as .npz, with the patch grid; scipy.sparse.load_npz "
        "reads them too.",
    )
    p.add_argument("model", metavar="MODEL", help="model.safetensors of `thalweg learn sparse-coding`")
    p.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG or TIFF files, or folders")
    p.add_argument("--out", default="codes.npz", help="file for the codes (default: codes.npz)")
    p.add_argument(
        "--step", type=_integer(1), metavar="N", help="pixels between patches (default: half a patch)"
    )
    p.add_argument(
        "--alpha", type=_number(0), metavar="A", help="weight of the penalty (default: the model's)"
    )
    p.add_argument("--tol", type=_number(0), default=1e-4, metavar="T", help="relative gap (default: 1e-4)")
    p.add_argument("--max-side", type=_integer(1), metavar="N", help="shrink larger images (default: never)")
    _add_threads(p)
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.set_defaults(run=encode)


def _add_reconstruct(commands: Any) -> None:
    words = "images back from their codes"
    p = commands.add_parser(
        "reconstruct",
        help=words,
        description=f"{words.capitalize()}, as PNG, with the peak signal-to-noise ratio where the "
        "original is still there.",
    )
    p.add_argument("codes", metavar="CODES", help="file of `thalweg encode`")
    p.add_argument("--model", required=True, help="the model that made the codes")
    p.add_argument("--out", default="reconstructed", help="folder for the images (default: reconstructed)")
    p.set_defaults(run=reconstruct)


def _add_show(commands: Any) -> None:
    words = "a picture of a model's atoms, and a summary"
    p = commands.add_parser("show", help=words, description=f"{words.capitalize()}.")
    p.add_argument("model", metavar="MODEL", help="model.safetensors of `thalweg learn sparse-coding`")
    p.add_argument("--out", default="atoms.png", help="file for the picture (default: atoms.png)")
    p.set_defaults(run=show)


def _add_threads(p: argparse.ArgumentParser) -> None:
    p.add_argument("--threads", type=_integer(1), metavar="N", help="threads (default: OpenMP's number)")


def _integer(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"expected an integer >= {minimum}, got {text!r}")
        return value

    return parse


def _number(minimum: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not isfinite(value) or value < minimum:
            raise argparse.ArgumentTypeError(f"expected a number >= {minimum:g}, got {text!r}")
        return value

    return parse

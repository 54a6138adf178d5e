"""The command line's options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from .. import __version__
from .._check import DEVICES
from ..energies.sparse_coding import PENALTIES
from ..inference.csc import BOUNDARIES
from ..models._rbm_learning import DEVICE_LOSSES as RBM_DEVICE_LOSSES
from ..models.convolutional_sparse_autoencoder import NONLINEARITIES
from ..models.deep_energy_model import DEVICE_LOSSES as DENSITY_DEVICE_LOSSES
from ..restoration import METHODS
from .codes import encode, reconstruct
from .energy import LOSSES as ENERGY_LOSSES
from .energy import energy
from .learn_convolutional import (
    AT_ONCE,
    AUTOENCODER_DEFAULTS,
    SPARSE_CODING_DEFAULTS,
    learn_conv_autoencoder,
    learn_conv_sparse_coding,
)
from .learn_deep_energy import (
    ACTIVATIONS,
    DEEP_ENERGY_DEFAULTS,
    ESTIMATORS,
    STRUCTURES,
    learn_deep_energy,
)
from .learn_deep_energy import LOSSES as DENSITY_LOSSES
from .learn_rbm import BERNOULLI_DEFAULTS, GAUSSIAN_DEFAULTS, learn_gaussian_rbm, learn_rbm
from .learn_sparse_coding import DEFAULTS, learn_sparse_coding
from .modes import modes
from .rbm_data import BINARIZE
from .restore import denoise, inpaint
from .score import score
from .show import info, show

_IMAGES = "PNG, JPEG or TIFF files, or folders"
_KEPT = "Ctrl-C keeps what was learnt, and --resume goes on."
_LOSSES = ("cd", "pcd", "fpcd", "pt", "nce")
_FISTA = "which codes by FISTA"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="thalweg", description="Energy-based and latent-variable models with native kernels."
    )
    top.add_argument("--version", action="version", version=f"thalweg {__version__}")
    commands = top.add_subparsers(title="commands", dest="command", required=True)
    _add_learn(commands)
    _add_encode(commands)
    _add_reconstruct(commands)
    _add_inpaint(commands)
    _add_denoise(commands)
    _add_show(commands)
    _add_energy(commands)
    _add_score(commands)
    _add_modes(commands)
    words = "what this installation is: version, instruction set, threads, compiler, CUDA"
    commands.add_parser("info", help=words, description=words).set_defaults(run=info)
    return top


def _add_learn(commands: Any) -> None:
    learn = commands.add_parser("learn", help="learn a model", description="Learn a model.")
    models = learn.add_subparsers(title="models", dest="model", required=True)
    _add_sparse_coding(models)
    _add_conv_sparse_coding(models)
    _add_conv_autoencoder(models)
    _add_rbm(models)
    _add_gaussian_rbm(models)
    _add_deep_energy(models)


def _add_sparse_coding(models: Any) -> None:
    words = "learn a dictionary from photographs"
    p = models.add_parser(
        "sparse-coding",
        help=words,
        description=f"{_sentence(words)}: random patches, whitened, then online dictionary learning. "
        f"Leaves model.safetensors, atoms.png, metrics.json and report.html in the folder --out. {_KEPT}",
    )
    _add_inputs(p, "PHOTO", f"{_IMAGES}; none: sample photographs")
    _add_folder(p, "photographs")
    _add_options(p)
    _add_course(p)
    _add_device(p, _FISTA)
    p.set_defaults(run=learn_sparse_coding)


def _add_conv_sparse_coding(models: Any) -> None:
    p, add = _convolutional_parser(
        models,
        "conv-sparse-coding",
        "learn filters whose sparse code maps explain whole photographs",
        "convolutional dictionary learning, online: photographs are read one at a time, so that a folder may "
        "be larger than memory",
        SPARSE_CODING_DEFAULTS,
        alpha=_positive,
    )
    words = f"photographs in a step, or '{AT_ONCE}': all at once, each coded from its last codes on"
    add("batch_size", words, type=_integer_or_all, metavar="N")
    add("zero_mean", "whether each channel of a filter sums to zero", action=argparse.BooleanOptionalAction)
    _add_image_options(p, add)
    _add_course(p)
    _add_device(p, _FISTA)
    p.set_defaults(run=learn_conv_sparse_coding)


def _add_conv_autoencoder(models: Any) -> None:
    p, add = _convolutional_parser(
        models,
        "conv-autoencoder",
        "learn a convolutional sparse auto-encoder of photographs",
        "filters, and an encoder that predicts their codes in one pass, learnt together from random crops. "
        "The photographs are held in memory",
        AUTOENCODER_DEFAULTS,
        alpha=_number(0),
    )
    add("batch_size", "crops in a step", type=_integer(1), metavar="N")
    add("prediction_weight", "weight of the codes' distance from the prediction", type=_positive, metavar="W")
    add("nonlinearity", "that of the encoder; only shrinkage predicts zeros", choices=NONLINEARITIES)
    add("learning_rate", "part of a Newton step that a step is", type=_number(0), metavar="R")
    _add_image_options(p, add)
    _add_course(p)
    _add_device(p)
    p.set_defaults(run=learn_conv_autoencoder)


def _convolutional_parser(
    models: Any,
    name: str,
    words: str,
    how: str,
    defaults: dict[str, Any],
    *,
    alpha: Callable[[str], float],
) -> tuple[argparse.ArgumentParser, Callable[..., None]]:
    """A command that learns filters of whole photographs, and what adds its options."""
    p: argparse.ArgumentParser = models.add_parser(
        name,
        help=words,
        description=f"{_sentence(words)}: low frequencies are removed, local contrast is normalised, and all "
        f"is divided by one scale; then {how}. Leaves model.safetensors, filters.png, metrics.json and "
        f"report.html in the folder --out. {_KEPT}",
    )
    _add_inputs(p, "PHOTO", f"{_IMAGES}; none: sample photographs")
    _add_folder(p, "photographs")
    add = _adder(p, {"photographs": defaults})
    _add_filter_options(add, alpha)
    return p, add


def _add_filter_options(add: Callable[..., None], alpha: Callable[[str], float]) -> None:
    add("n_components", "number of filters", type=_integer(1), metavar="N")
    add("filter_size", "side of a filter in pixels", type=_integer(1), metavar="N")
    add(
        "alpha",
        "weight of the penalty, in root mean squares of the prepared pixels: larger is sparser",
        type=alpha,
        metavar="A",
    )
    add("boundary", "how filters meet the border; valid: codes reach beyond it", choices=BOUNDARIES)
    add("epochs", "passes over the photographs", type=_integer(1), metavar="N")


def _add_image_options(p: argparse.ArgumentParser, add: Callable[..., None]) -> None:
    switch = argparse.BooleanOptionalAction
    add(
        "low_pass",
        "weight of the filter whose low frequencies are removed (larger: fewer are; 0: none)",
        type=_number(0),
        metavar="W",
    )
    add("contrast_normalization", "whether local means and contrasts are evened out", action=switch)
    add("max_side", "larger photographs are shrunk to this, in pixels", type=_integer(1), metavar="N")
    add("seed", "seed of all that is random", type=_integer(0), metavar="N")
    add("dtype", "precision", choices=("float32", "float64"))
    _add_colors(p)


def _add_rbm(models: Any) -> None:
    words = "learn a Bernoulli restricted Boltzmann machine from images"
    p = models.add_parser(
        "rbm",
        help=words,
        description=f"{_sentence(words)}: digits, or gray patches of images (of photographs it "
        "learns little but brightness and slopes; gaussian-rbm learns edges). Leaves model.safetensors, "
        "filters.png, samples.png, metrics.json and report.html, with likelihoods, in the folder --out. "
        f"{_KEPT}",
    )
    _add_inputs(p, "IMAGE", f"{_IMAGES}, or a folder with MNIST's files; none: scikit-learn's digits")
    _add_folder(p, "images")
    add = _adder(p, BERNOULLI_DEFAULTS)
    _add_machine_options(add, _LOSSES)
    add("binarize", "gray pixels as they are, cut at 1/2, or drawn once as 0 or 1", choices=BINARIZE)
    _add_patch_options(add)
    _add_course(p)
    _add_device(p)
    p.set_defaults(run=learn_rbm)


def _add_gaussian_rbm(models: Any) -> None:
    words = "learn a Gaussian-Bernoulli restricted Boltzmann machine from photographs"
    p = models.add_parser(
        "gaussian-rbm",
        help=words,
        description=f"{_sentence(words)}: patches without their mean, ZCA-whitened. Leaves "
        "model.safetensors, filters.png, samples.png, metrics.json and report.html, with likelihoods, in "
        f"the folder --out. {_KEPT}",
    )
    _add_inputs(p, "PHOTO", f"{_IMAGES}; none: sample photographs")
    _add_folder(p, "photographs")
    add = _adder(p, {"photographs": GAUSSIAN_DEFAULTS})
    _add_machine_options(add, (*_LOSSES, "score_matching"))
    _add_sigma_options(add)
    _add_patch_options(add)
    add("whitening_eps", "regularisation of the whitening, in mean eigenvalues", type=_number(0), metavar="E")
    _add_course(p)
    _add_device(p, _some_losses(RBM_DEVICE_LOSSES))
    p.set_defaults(run=learn_gaussian_rbm)


def _add_deep_energy(models: Any) -> None:
    words = "learn a deep energy, a density without its normaliser, from photographs"
    p = models.add_parser(
        "deep-energy",
        help=words,
        description=f"{_sentence(words)}: gray patches, a Gaussian with a constrained precision, whitening "
        "by it, then log p(x) = -|x|^2 / (2 sigma^2) + b'x + sum_k softplus(w_k'g(x) + c_k) + const. Leaves "
        "model.safetensors, filters.png (whitened: also filters-analysis.png and filters-synthesis.png, in "
        f"pixel space), metrics.json and report.html in the folder --out. {_KEPT}",
    )
    _add_inputs(p, "PHOTO", f"{_IMAGES}; none: sample photographs")
    _add_folder(p, "photographs")
    add = _adder(p, {"photographs": DEEP_ENERGY_DEFAULTS})
    _add_network_options(add)
    _add_patch_options(add)
    switch = argparse.BooleanOptionalAction
    add("whiten", "whether patches are whitened by the fitted Gaussian", action=switch)
    add("gaussian", "its precision: free, of pixels near each other, or a convolution", choices=STRUCTURES)
    add("gaussian_estimator", "how its precision is estimated", choices=ESTIMATORS)
    add("gaussian_radius", "how far it reaches, in pixels", type=_integer(1), metavar="N")
    add(
        "whitening_eps",
        "what is added to the covariance, in mean eigenvalues",
        type=_number(0),
        metavar="E",
    )
    _add_course(p)
    _add_device(p, _some_losses(DENSITY_DEVICE_LOSSES))
    p.set_defaults(run=learn_deep_energy)


def _add_network_options(add: Callable[..., None]) -> None:
    switch = argparse.BooleanOptionalAction
    add("n_components", "number of units at the top, K", type=_integer(1), metavar="N")
    words = "units of the layers g below, as 64 or 128,64 (0: none, which is a Gaussian-Bernoulli RBM)"
    add("hidden_layer_sizes", words, type=_layer_sizes, metavar="N,...")
    add("activation", "what these layers end in", choices=ACTIVATIONS)
    add("sigma", "deviation of the quadratic part, or 'learn'", type=_sigma, metavar="S")
    add("hidden_bias", "whether the layers below have biases (the lecture's have none)", action=switch)
    add("init_bias", "hidden biases begin uniform up to this size", type=_number(0), metavar="B")
    add("loss", "what training lowers", choices=DENSITY_LOSSES)
    add("l2", "weight decay", type=_number(0), metavar="L")
    add("learning_rate", "step size of Adam", type=_positive, metavar="R")
    add("schedule", "how the step size falls", choices=("constant", "linear", "inverse"))
    add("batch_size", "patches in a step", type=_integer(1), metavar="N")
    add("epochs", "passes over the patches", type=_integer(1), metavar="N")
    add("layerwise", "whether layers are learnt one after the other", action=switch)
    add("seed", "seed of all that is random", type=_integer(0), metavar="N")
    add("dtype", "precision", choices=("float32", "float64"))


def _add_score(commands: Any) -> None:
    words = "how probable sets of patches are to models, and how well these tell the sets apart"
    p = commands.add_parser(
        "score",
        help=words,
        description=f"{_sentence(words)}: mean and deviation of log p without its normaliser, and the AUC of "
        "telling each set from the first. Prints a table a model, writes scores.json and histograms.",
    )
    p.add_argument(
        "given",
        nargs="+",
        metavar="RUN | NAME=PATH | gaussian",
        help="folders of runs of `thalweg learn deep-energy`, rbm or gaussian-rbm, or model files; and sets: "
        f"{_IMAGES}, or a folder with MNIST's files, under a name; or samples of the fitted Gaussian",
    )
    p.add_argument("--out", default="scores", help="folder for the results (default: scores)")
    p.add_argument(
        "--patches", type=_integer(2), default=5000, metavar="N", help="of each set, at most (default: 5000)"
    )
    p.add_argument(
        "--max-side",
        type=_integer(1),
        default=1024,
        metavar="N",
        help="larger images are shrunk to this, in pixels (default: 1024, as in learning)",
    )
    p.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="seed of all that is random")
    _add_device(p)
    p.set_defaults(run=score)


def _add_modes(commands: Any) -> None:
    words = "climbs log p of a deep energy from samples of the fitted Gaussian, and draws the modes"
    p = commands.add_parser(
        "modes",
        help=words,
        description=f"{_sentence(words)}. Writes modes.png, the most probable first, "
        "starts.png and modes.json.",
    )
    p.add_argument("run_folder", metavar="RUN", help="folder of a run of `thalweg learn deep-energy`")
    p.add_argument("--out", default="modes", help="folder for the results (default: modes)")
    p.add_argument("--starts", type=_integer(1), default=64, metavar="N", help="climbs (default: 64)")
    p.add_argument(
        "--max-iter", type=_integer(1), default=2000, metavar="N", help="steps of a climb (default: 2000)"
    )
    p.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="seed of all that is random")
    _add_threads(p)
    _add_device(p)
    p.set_defaults(run=modes)


def _add_inputs(p: argparse.ArgumentParser, metavar: str, words: str) -> None:
    p.add_argument("inputs", nargs="*", metavar=metavar, help=words)


def _add_folder(p: argparse.ArgumentParser, inputs: str) -> None:
    p.add_argument("--out", default="run", help="folder for the results (default: run)")
    p.add_argument(
        "--resume",
        action="store_true",
        help=f"go on with the run in --out, with its options and {inputs}; --epochs may be raised",
    )
    p.add_argument(
        "--overwrite", action="store_true", help="start anew where --out holds a run, and replace it"
    )


def _add_course(p: argparse.ArgumentParser) -> None:
    """What does not change the learnt numbers."""
    p.add_argument(
        "--checkpoint-every",
        type=_number(0),
        default=15.0,
        metavar="S",
        help="seconds from one saving of the model to the next (default: 15)",
    )
    _add_threads(p)
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def _adder(p: argparse.ArgumentParser, defaults: dict[str, dict[str, Any]]) -> Callable[..., None]:
    """Adds an option that decides the learnt numbers, with its default for each kind of data.

    None stands for the default, so that --resume sees what was given.
    """

    def add(name: str, words: str, *aliases: str, **kind: Any) -> None:
        known = {data: of_data[name] for data, of_data in defaults.items() if name in of_data}
        values = dict.fromkeys(map(_default_in_words, known.values()))
        told = ", ".join(values) if len(values) == 1 else ", ".join(f"{v} for {k}" for k, v in known.items())
        flag = "--" + name.replace("_", "-")
        p.add_argument(flag, *aliases, dest=name, default=None, help=f"{words} (default: {told})", **kind)

    return add


def _default_in_words(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "0"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _add_machine_options(add: Callable[..., None], losses: tuple[str, ...]) -> None:
    switch = argparse.BooleanOptionalAction
    add("n_components", "number of hidden units", type=_integer(1), metavar="N")
    add("loss", "what training lowers", choices=losses)
    add("learning_rate", "step size", type=_number(0), metavar="R")
    add("schedule", "how the step size falls", choices=("constant", "linear", "inverse"))
    add("momentum", "share of the last step that is made again", type=_number(0), metavar="M")
    add("l2", "weight decay", type=_number(0), metavar="W")
    add("batch_size", "rows in a step", type=_integer(1), metavar="N")
    add("epochs", "passes over the rows", type=_integer(1), metavar="N")
    add("n_gibbs_steps", "sweeps of the chains in a step", type=_integer(1), metavar="K")
    add("n_chains", "chains that are kept (none: as many as rows in a step)", type=_integer(1), metavar="N")
    add("n_temperatures", "temperatures of the chains, for --loss pt", type=_integer(2), metavar="N")
    add("centering", "whether units are centred, which conditions the gradient", action=switch)
    add("sample_hidden", "whether the gradient takes drawn hidden units, not probabilities", action=switch)
    add("sparsity_target", "how often a hidden unit should be on", type=_share, metavar="P")
    add("sparsity_cost", "weight of that wish", type=_number(0), metavar="W")
    add("max_grad_norm", "longer gradients are shortened to this", type=_number(0), metavar="G")
    add("init_visible", "visible biases at the start", choices=("zeros", "base_rates"))
    add("seed", "seed of all that is random", type=_integer(0), metavar="N")
    add("dtype", "precision", choices=("float32", "float64"))
    add(
        "ais_temperatures",
        "temperatures of the annealing that estimates the likelihood",
        type=_integer(2),
        metavar="N",
    )


def _add_sigma_options(add: Callable[..., None]) -> None:
    add("init_sigma", "noise of the pixels at the start (none: from the data)", type=_number(0), metavar="S")
    add("sigma_type", "one noise for each pixel, or one for all", choices=("diagonal", "scalar"))
    add("learn_sigma", "whether the noise is learnt", action=argparse.BooleanOptionalAction)
    add("sigma_learning_rate", "its step size (none: as the others)", type=_number(0), metavar="R")


def _add_patch_options(add: Callable[..., None]) -> None:
    add("patch_size", "side of a patch in pixels", "--patch", type=_integer(1), metavar="N")
    add("n_patches", "number of patches to learn from", type=_integer(2), metavar="N")
    add("max_side", "larger images are shrunk to this, in pixels", type=_integer(1), metavar="N")


def _add_options(p: argparse.ArgumentParser) -> None:
    add = _adder(p, {"photographs": DEFAULTS})
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
    _add_colors(p)


def _add_colors(p: argparse.ArgumentParser) -> None:
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
        description=f"{_sentence(words)} as .npz, with the patch grid; scipy.sparse.load_npz reads them too.",
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
    _add_device(p, _FISTA)
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.set_defaults(run=encode)


def _add_reconstruct(commands: Any) -> None:
    words = "images back from their codes"
    p = commands.add_parser(
        "reconstruct",
        help=words,
        description=f"{_sentence(words)}, as PNG, with the peak signal-to-noise ratio where the "
        "original is still there.",
    )
    p.add_argument("codes", metavar="CODES", help="file of `thalweg encode`")
    p.add_argument("--model", required=True, help="the model that made the codes")
    p.add_argument("--out", default="reconstructed", help="folder for the images (default: reconstructed)")
    p.set_defaults(run=reconstruct)


def _add_inpaint(commands: Any) -> None:
    p = _add_repair(commands, "inpaint", "fill the missing pixels of a picture", "inpainted.png")
    p.add_argument(
        "--mask",
        required=True,
        help="picture of IMAGE's size, white where a pixel is missing, black where it is kept; gray, "
        "as the soft edge of a brush, counts as white from an eighth on, and transparent as black",
    )
    p.set_defaults(run=inpaint)


def _add_denoise(commands: Any) -> None:
    p = _add_repair(commands, "denoise", "remove white Gaussian noise from a picture", "denoised.png")
    p.add_argument(
        "--sigma",
        type=_number(0),
        metavar="S",
        help="deviation of the noise in gray levels from 0 to 255, whatever the picture's depth (default: "
        "estimated, and printed)",
    )
    p.set_defaults(run=denoise)


def _add_repair(commands: Any, name: str, words: str, out: str) -> argparse.ArgumentParser:
    """A command that repairs a picture, with what all of them have in common."""
    p: argparse.ArgumentParser = commands.add_parser(
        name,
        help=words,
        description=f"{_sentence(words)}, by sparse codes over a dictionary that is learnt from it. "
        "Writes the picture as PNG, as deep as it was (palettes become RGB, alpha is kept), and a panel of "
        "before and after.",
    )
    p.add_argument("image", metavar="IMAGE", help="PNG, JPEG or TIFF file, of 8 or 16 bits, gray or colour")
    p.add_argument("--out", help=f"file for the picture, PNG (default: {out})")
    p.add_argument("--panel", metavar="OUT", help="file for the panel, PNG (default: beside --out)")
    p.add_argument("--truth", help="the undamaged picture: PSNR before and after is printed")
    p.add_argument(
        "--method",
        choices=METHODS,
        default="auto",
        help="how: sparse codes of overlapping patches, or convolutional ones of the whole (default: auto, "
        "what --model is for; without it patches, the better by measurement)",
    )
    p.add_argument(
        "--model",
        help="dictionary learnt before from gray photographs: model.safetensors of `thalweg learn "
        "sparse-coding` or of `learn conv-sparse-coding` (default: learnt from the picture itself)",
    )
    p.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="seed of all that is random")
    _add_threads(p)
    _add_device(p, "which repairs by --method convolutional, and codes by FISTA")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    return p


def _add_show(commands: Any) -> None:
    words = "a picture of a model's atoms or filters, and a summary"
    p = commands.add_parser("show", help=words, description=f"{_sentence(words)}.")
    p.add_argument("model", metavar="MODEL", help="model.safetensors of `thalweg learn`")
    p.add_argument("--out", help="file for the picture (default: atoms.png or filters.png)")
    p.set_defaults(run=show)


def _add_energy(commands: Any) -> None:
    words = "the energy surface of a small model before and after training, under each loss"
    p = commands.add_parser(
        "energy",
        help=words,
        description=f"{_sentence(words)}: which losses push wrong answers up, and which let all energies "
        "collapse. The data are points on y = x^2; the models a regressor D(y, G(x)) and a matcher "
        "D(G(y), H(x)). Writes surfaces.png and surfaces.json.",
    )
    p.add_argument("--out", default="energy", help="folder for the picture and the figures (default: energy)")
    p.add_argument(
        "--losses",
        nargs="+",
        choices=ENERGY_LOSSES,
        default=list(ENERGY_LOSSES),
        help="losses (default: all)",
    )
    p.add_argument("--points", type=_integer(2), default=200, metavar="N", help="samples (default: 200)")
    p.add_argument("--passes", type=_integer(1), default=200, metavar="N", help="over them (default: 200)")
    p.add_argument("--seed", type=_integer(0), default=0, metavar="N", help="seed of all that is random")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.set_defaults(run=energy)


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def _add_threads(p: argparse.ArgumentParser) -> None:
    p.add_argument("--threads", type=_integer(1), metavar="N", help="threads (default: OpenMP's number)")


def _add_device(p: argparse.ArgumentParser, of_cuda: str = "") -> None:
    """Where to compute; `of_cuda` is what is to be known of the GPU there."""
    words = "where to compute: on the CPU, or on a GPU of NVIDIA" + (of_cuda and f", {of_cuda}")
    p.add_argument("--device", choices=DEVICES, default="cpu", help=f"{words} (default: cpu)")


def _some_losses(names: Sequence[str]) -> str:
    return f"which has --loss {', '.join(names[:-1])} and {names[-1]}"


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


def _integer_or_all(text: str) -> int | str:
    return AT_ONCE if text == AT_ONCE else _integer(1)(text)


def _layer_sizes(text: str) -> list[int]:
    if text == "0":
        return []
    try:
        return [_integer(1)(size) for size in text.split(",")]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"expected numbers of units as 64 or 128,64, or 0, got {text!r}"
        ) from None


def _sigma(text: str) -> float | str:
    return text if text == "learn" else _positive(text)


def _share(text: str) -> float:
    value = _number(0)(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return value


def _positive(text: str) -> float:
    value = _number(0)(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"expected a number > 0, got {text!r}")
    return value


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

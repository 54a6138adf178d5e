"""Correlation, convolution and the gradient in the filters on the GPU, beside PyTorch's `conv2d`.

All arrays are on the device; PyTorch with TF32 off and on, and cuDNN choosing its algorithm. A multiply-add
counts as two operations; thalweg makes three products of tf32 numbers for one of float32's accuracy.

    python bench/peers/gpu_conv.py --out bench/results/gpu_conv
    python bench/peers/gpu_conv.py --small        # on any device, the emulated one too: checks, no figures
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import conv2d, conv_transpose2d
from torch.nn.grad import conv2d_weight

import gpu_common as common
from thalweg import _native, ops

# name: images, channels, height and width, filters, their width
CASES = {
    "one image, 64 filters of 12 x 12": (1, 1, 2048, 64, 12),
    "colour, 32 filters of 8 x 8": (1, 3, 2048, 32, 8),
    "batch, 64 to 64 channels of 5 x 5": (64, 64, 64, 64, 5),
}
SMALL = {"small": (2, 2, 14, 5, 3)}

Arrays = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def arrays(case: tuple[int, ...], device: str) -> Arrays:
    """Images, filters and codes for boundary "full"."""
    n, channels, size, n_filters, width = case
    torch.manual_seed(0)
    shapes = (
        (n, channels, size, size),
        (n_filters, channels, width, width),
        (n, n_filters, size - width + 1, size - width + 1),
    )
    X, filters, Z = (torch.randn(shape, device=device) for shape in shapes)
    return X, filters, Z


def ours(X: Any, filters: Any, Z: Any) -> dict[str, Callable[[], Any]]:
    given = {"boundary": "full", "device": "cuda"}
    return {
        "correlate": lambda: ops.correlate(X, filters, **given),
        "convolve": lambda: ops.convolve(Z, filters, **given),
        "filter_gradient": lambda: ops.filter_gradient(Z, X, tuple(filters.shape[2:]), **given),
    }


def peers(X: torch.Tensor, filters: torch.Tensor, Z: torch.Tensor) -> dict[str, Callable[[], Any]]:
    return {
        "correlate": lambda: conv2d(X, filters),
        "convolve": lambda: conv_transpose2d(Z, filters),
        "filter_gradient": lambda: conv2d_weight(X, filters.shape, Z),
    }


def check(case: tuple[int, ...]) -> None:
    """The device's results are float64's, within float32's rounding."""
    X, filters, Z = arrays(case, "cpu")
    expected = peers(X.double(), filters.double(), Z.double())
    for name, call in ours(X.numpy(), filters.numpy(), Z.numpy()).items():
        true = expected[name]().numpy()
        error = np.abs(call() - true).max() / np.abs(true).max()
        assert error < 2e-6, (name, error)


def rows_of(name: str, case: tuple[int, ...]) -> list[dict[str, Any]]:
    cuda = _native.cuda()
    X, filters, Z = arrays(case, "cuda")
    operations = 2.0 * Z.numel() * filters[0].numel()
    rows = []

    def add(what: str, who: str, call: Callable[[], Any]) -> None:
        seconds = common.seconds(call, reps=5, most=2.0)
        rows.append({"case": name, "function": what, "name": who, "ms": 1e3 * seconds})
        rows[-1]["tflops"] = operations / seconds / 1e12

    for what, call in ours(*(cuda.from_dlpack(a) for a in (X, filters, Z))).items():
        add(what, "thalweg", call)
    for use_tf32 in (False, True):
        torch.backends.cudnn.allow_tf32 = use_tf32
        torch.backends.cudnn.benchmark = True
        for what, call in peers(X, filters, Z).items():
            add(what, f"PyTorch, TF32 {'on' if use_tf32 else 'off'}", call)
    return rows


def main() -> None:
    args = common.parser(__doc__)
    args.add_argument("--small", action="store_true", help="a tiny problem, checks alone, on any device")
    given = args.parse_args()
    if given.small:
        for case in SMALL.values():
            check(case)
        print("correct")
        return
    for case in ((1, 1, 200, 64, 12), (2, 3, 100, 32, 8), (2, 64, 20, 64, 5)):
        check(case)
    limits = {kind: common.matrix_rate(kind) for kind in ("float32", "tf32")}
    limits["copy"] = common.copy_rate()
    common.report(given.out, [row for name, case in CASES.items() for row in rows_of(name, case)], limits)


if __name__ == "__main__":
    main()

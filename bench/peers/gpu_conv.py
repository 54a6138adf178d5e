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
from thalweg import ops

# name: images, channels, height and width, filters, their width
CASES = {
    "one image, 64 filters of 12 x 12": (1, 1, 2048, 64, 12),
    "colour, 32 filters of 8 x 8": (1, 3, 2048, 32, 8),
    "batch, 64 to 64 channels of 5 x 5": (64, 64, 64, 64, 5),
}
CHECKED = ((1, 1, 200, 64, 12), (2, 3, 100, 32, 8), (2, 64, 20, 64, 5))
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


def run(report: common.Report, name: str, case: tuple[int, ...], n_left: int) -> None:
    """The rows of one of the `n_left` cases that are left."""
    X, filters, Z = arrays(case, common.DEVICE)
    operations = 2.0 * Z.numel() * filters[0].numel()
    torch.backends.cudnn.benchmark = True
    calls: list[tuple[str, str, bool, Callable[[], Any]]] = []
    for what, call in ours(*(common.on_device(a) for a in (X, filters, Z))).items():
        calls.append((what, "thalweg", False, call))
    for use_tf32 in (True, False):
        for what, call in peers(X, filters, Z).items():
            calls.append((what, f"PyTorch, TF32 {'on' if use_tf32 else 'off'}", use_tf32, call))
    for i, (what, who, use_tf32, call) in enumerate(calls):
        if not report.has_time(f"{name}: {what}, {who}"):
            continue
        torch.backends.cudnn.allow_tf32 = use_tf32
        most = min(2.0, report.share(n_left * len(calls) - i))
        seconds = common.seconds(call, reps=5, most=most)
        row = {"case": name, "function": what, "name": who, "ms": 1e3 * seconds}
        report.add({**row, "tflops": operations / seconds / 1e12})


def main() -> None:
    given = common.parser(__doc__).parse_args()
    cases, checked = (SMALL, SMALL.values()) if given.small else (CASES, CHECKED)
    report = common.Report(given)
    for case in checked:
        check(case)
    common.measure_limits(report, "tf32", "float32", "copy")
    for i, (name, case) in enumerate(cases.items()):
        run(report, name, case, len(cases) - i)
    report.close()


if __name__ == "__main__":
    main()

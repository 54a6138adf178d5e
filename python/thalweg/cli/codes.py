"""`thalweg encode` and `thalweg reconstruct`: photographs to sparse codes in a file, and back."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from warnings import warn

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from tqdm import tqdm

from .. import datasets
from ..persistence import write_atomically, write_bytes
from ..plots import psnr
from ..preprocessing import PatchGrid
from .patch_model import EncodedImage, PatchModel
from .pictures import image_from, png
from .targets import writable_file, writable_folder

_FORMAT = 1


@dataclass
class CodesFile:
    """Codes of the patches of several images, with all that puts the images back but the dictionary.

    In the file, an ``.npz`` that :func:`scipy.sparse.load_npz` reads too (it then gives `codes` alone), are
    ``data``, ``indices``, ``indptr``, ``shape``, ``format`` (the codes), ``means`` (n_patches, channels),
    ``gap`` (n_patches,), ``image_shapes`` (n_images, 2 or 3), ``patch_size``, ``step``, ``names`` (files of
    the images), ``dictionary`` (a digest of the dictionary), ``thalweg_format``.
    """

    codes: csr_matrix
    means: NDArray[Any]
    gap: NDArray[np.float64]
    grids: list[PatchGrid]
    names: list[str]
    dictionary: str

    def save(self, path: Path) -> None:
        arrays = {
            "thalweg_format": np.int64(_FORMAT),
            "format": np.array("csr".encode("ascii")),
            "data": self.codes.data,
            "indices": self.codes.indices,
            "indptr": self.codes.indptr,
            "shape": np.array(self.codes.shape),
            "means": self.means,
            "gap": self.gap,
            "image_shapes": np.array([grid.image_shape for grid in self.grids]),
            "patch_size": np.array(self.grids[0].patch_size),
            "step": np.int64(self.grids[0].step),
            "names": np.array(self.names),
            "dictionary": np.array(self.dictionary),
        }
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> CodesFile:
        with open(path, "rb") as file:
            try:
                return cls._from_file(file)
            except Exception as error:  # a damaged zip file makes its readers raise almost anything
                reason = str(error) or type(error).__name__
                raise ValueError(f"{path}: no file of codes, or corrupt ({reason})") from error

    @classmethod
    def _from_file(cls, file: BinaryIO) -> CodesFile:
        if file.read(2) != b"PK":
            raise ValueError("no .npz file")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return cls._from_arrays(dict(arrays))

    @classmethod
    def _from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> CodesFile:
        if int(arrays["thalweg_format"]) != _FORMAT:
            raise ValueError(f"format {arrays['thalweg_format']}, this version of thalweg reads {_FORMAT}")
        shape = tuple(int(n) for n in arrays["shape"])
        codes = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        codes.check_format(full_check=True)  # an index out of range would be followed
        height, width = (int(n) for n in arrays["patch_size"])
        step = int(arrays["step"])
        shapes = [tuple(int(n) for n in row) for row in arrays["image_shapes"]]
        if not shapes:
            raise ValueError("it holds no image")
        if min(height, width, step) < 1 or any(s[0] < height or s[1] < width for s in shapes):
            raise ValueError("its patches do not fit into its images")
        grids = [PatchGrid(s, (height, width), step) for s in shapes]
        n_patches = sum(grid.n_patches for grid in grids)
        if not n_patches == codes.shape[0] == len(arrays["means"]) == len(arrays["gap"]):
            raise ValueError(f"{codes.shape[0]} codes for {n_patches} patches")
        if len(arrays["names"]) != len(grids):
            raise ValueError("names and images differ in number")
        names = [str(name) for name in arrays["names"]]
        return cls(codes, arrays["means"], arrays["gap"], grids, names, str(arrays["dictionary"]))


def encode(args: argparse.Namespace) -> int:
    """Runs `thalweg encode`; the exit code."""
    model = PatchModel.load(Path(args.model))
    model.learner.set_params(n_jobs=args.threads, device=args.device, transform_tol=args.tol)
    if args.alpha is not None:
        if args.alpha > float(np.finfo(model.dtype).max):
            raise ValueError(f"--alpha {args.alpha:g}: beyond {model.dtype}, in which this model computes")
        model.learner.set_params(transform_alpha=args.alpha)
    step = max(1, min(model.patch_size) // 2) if args.step is None else args.step
    if step > min(model.patch_size):
        raise ValueError(f"--step {step}: patches of {min(model.patch_size)} pixels would leave gaps")
    out = writable_file(args.out)
    file = _encode_all(model, args, step)
    file.save(out)
    (patches, atoms), images = file.codes.shape, len(file.names)
    print(
        f"{images} image{'s' * (images != 1)}, {patches:,} patches, "
        f"{file.codes.nnz / patches:.1f} of {atoms} atoms each, worst gap {np.nanmax(file.gap):.1e}: {out}"
    )
    return 0


def _encode_all(model: PatchModel, args: argparse.Namespace, step: int) -> CodesFile:
    files = datasets.find_images(args.images)
    names: list[str] = []
    encoded: list[EncodedImage] = []
    images = datasets.iter_images(files, color=model.channels == 3, max_side=args.max_side, dtype=model.dtype)
    for path, image in tqdm(images, total=len(files), unit="image", disable=args.quiet or len(files) < 2):
        if min(image.shape[:2]) < min(model.patch_size):
            warn(f"{path}: skipped, for it is smaller than a patch", stacklevel=2)
            continue
        names.append(str(path.resolve()))
        encoded.append(model.encode_image(image, step))
    if not names:
        raise ValueError("none of the images can be read and is as large as a patch")
    return CodesFile(
        vstack([e.codes for e in encoded], format="csr"),
        np.concatenate([e.means for e in encoded]),
        np.concatenate([e.gap for e in encoded]),
        [e.grid for e in encoded],
        names,
        model.fingerprint(),
    )


def reconstruct(args: argparse.Namespace) -> int:
    """Runs `thalweg reconstruct`; the exit code."""
    file = CodesFile.load(Path(args.codes))
    model = PatchModel.load(Path(args.model))
    if file.dictionary != model.fingerprint() or file.codes.shape[1] != len(model.learner.components_):
        raise ValueError(f"{args.codes}: these codes were made with another model than {args.model}")
    channels = (*file.grids[0].image_shape, 1)[2]
    if file.means.shape[1:] != (channels,) or channels != model.channels:
        raise ValueError(f"{args.codes}: no file of codes, or corrupt (the means do not fit)")
    out = writable_folder(args.out)
    start = 0
    taken: set[str] = set()
    for name, grid in zip(file.names, file.grids):
        rows = slice(start, start + grid.n_patches)
        start = rows.stop
        image = model.decode_image(file.codes[rows], file.means[rows], grid)
        target = out / _free_name(Path(name).stem, taken)
        rounded = image_from(image)
        write_bytes(target, png(rounded))
        print(f"{target}{_compared(Path(name), np.asarray(rounded) / 255.0, model)}")
    return 0


def _free_name(stem: str, taken: set[str]) -> str:
    """Images from several folders may share a name."""
    name, number = f"{stem}.png", 2
    while name.lower() in taken:
        name, number = f"{stem}-{number}.png", number + 1
    taken.add(name.lower())
    return name


def _compared(path: Path, image: NDArray[Any], model: PatchModel) -> str:
    """The peak signal-to-noise ratio in words, where the original is still there."""
    if not path.is_file():
        return ""
    side = max(image.shape[:2])
    for _, original in datasets.iter_images(path, color=model.channels == 3, max_side=side):
        if original.shape == image.shape:
            return f"  PSNR {psnr(original, image):.2f} dB"
    return ""

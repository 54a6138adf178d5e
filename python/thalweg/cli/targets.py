"""Where results go: tried before the work, for an hour of it must not end at a target that is none."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def writable_folder(name: str) -> Path:
    """The folder `--out`, made where it is missing."""
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    _try_to_write(folder)
    return folder


def writable_file(name: str, option: str = "--out") -> Path:
    """The file of `option`; what is there already, if anything, is a file."""
    path = Path(name)
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{option} {path}: there is no folder {folder}")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{option} {path}: expected the name of a file, and this is none")
    _try_to_write(folder, option)
    return path


def _try_to_write(folder: Path, option: str = "--out") -> None:
    try:
        with NamedTemporaryFile(prefix=".thalweg-", dir=folder) as probe:
            probe.write(b"thalweg")
    except OSError as error:
        raise OSError(error.errno, f"{option}: {folder} cannot be written to: {error.strerror}") from error

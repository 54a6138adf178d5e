"""Models in files: safetensors with JSON metadata. Loading never runs code from the file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._base import FactorEnergy

__all__ = [
    "load_model",
    "save_model",
]

FORMAT = 1

_KEY = "thalweg"  # the one entry of the safetensors metadata: a JSON object
_TENSOR = "__tensor__"  # stands in that JSON where a tensor was, with its name

Tensors = dict[str, NDArray[Any]]


def save_model(estimator: Any, path: Any, extra: dict[str, Any] | None = None) -> None:
    """Saves an estimator of `thalweg.models`: its parameters and all that it has learnt.

    The file is written under a temporary name in the same folder, brought to the disk, and renamed: at every
    moment there is either the earlier file or the new one, whole.

    Parameters
    ----------
    estimator : estimator of thalweg.models
        Parameters that are functions (`callback`) or random generators are saved as None; what a generator
        was asked for belongs to the state and is saved, and so does a factor graph.
    path : path-like
        By custom ``*.safetensors``.
    extra : dict, default=None
        Saved with the model: strings as keys, and as values arrays, numbers, strings, booleans, None, and
        lists and dicts of these. Tuples come back as lists.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        Where the estimator must be fitted first.
    TypeError
        Where something cannot be saved; the message names it.
    OSError
        Where the file cannot be written (no such folder, no permission, disk full).

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from thalweg import SparseCoder
    >>> from thalweg.persistence import load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(SparseCoder(np.eye(3), transform_alpha=0.5), pathlib.Path(folder, "coder.safetensors"))
    ...     coder = load_model(pathlib.Path(folder, "coder.safetensors"))
    >>> coder.transform_alpha, coder.dictionary.shape
    (0.5, (3, 3))
    """
    cls = type(estimator)
    name = cls.__name__
    if _models().get(name) is not cls:
        raise TypeError(f"estimator: expected one of {', '.join(_models())}, got {name}")
    state_tensors, state_values = estimator._get_state()
    tensors: Tensors = {}
    content: dict[str, Any] = {
        "format": FORMAT,
        "class": name,
        "params": _flatten(_savable(estimator.get_params(deep=False)), "params", tensors),
        "values": _flatten(state_values, "values", tensors),
        "state": _flatten(state_tensors, "state", tensors),
        "extra": _flatten({} if extra is None else extra, "extra", tensors),
    }
    content["sha256"] = _digest(content, tensors)
    from safetensors.numpy import save

    data = save(tensors, metadata={_KEY: _canonical(content)})
    write_bytes(path, data)


def load_model(path: Any) -> Any:
    """The estimator that `save_model` saved.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    estimator : estimator of thalweg.models
        It predicts, and goes on learning, exactly as the one that was saved. Its `device` is the saved one:
        loading asks for no GPU, and where there is none `set_params(device="cpu")` makes it compute.

    Raises
    ------
    OSError
        Where the file cannot be read.
    ValueError
        Where it is corrupt, truncated, from a later version, or no model of thalweg; the message names it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from thalweg import SparseCoder
    >>> from thalweg.persistence import load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "coder.safetensors")
    ...     save_model(SparseCoder(np.eye(2)), path)
    ...     load_model(path).transform([[3.0, -1.0]])
    array([[3., 0.]])
    """
    return load_model_and_extra(path)[0]


def load_model_and_extra(path: Any) -> tuple[Any, dict[str, Any]]:
    """The estimator and the dict `extra` that `save_model` saved; errors as `load_model`."""
    content, tensors = _read(Path(path))
    cls = _models().get(content["class"])
    if cls is None:
        raise ValueError(
            f"{path}: its class {content['class']!r} is unknown here; known are {', '.join(_models())}"
        )
    try:
        estimator = cls(**_unflatten(content["params"], tensors))
        estimator._set_state(_unflatten(content["state"], tensors), _unflatten(content["values"], tensors))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: does not describe a {content['class']} ({error!r})") from error
    extra: dict[str, Any] = _unflatten(content["extra"], tensors)
    return estimator, extra


def write_atomically(path: Any, write: Callable[[Any], Any]) -> None:
    """Calls `write` with a binary file that takes the name `path` only once it is whole and on the disk.

    Raises
    ------
    OSError
        Where it cannot be written; an earlier file of that name is left as it was.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        _sync_folder(target.parent)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f"{path} cannot be written: {os.strerror(error.errno)}") from error


def write_bytes(path: Any, data: bytes) -> None:
    """`write_atomically` of what is held already."""
    write_atomically(path, lambda file: file.write(data))


def _sync_folder(folder: Path) -> None:
    """Brings a rename to the disk, where the system can do that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _models() -> dict[str, type]:
    """The classes that a file may name."""
    from . import models

    return {name: getattr(models, name) for name in models.__all__}


def _savable(params: dict[str, Any]) -> dict[str, Any]:
    in_state = (np.random.Generator, np.random.RandomState, FactorEnergy)
    return {k: None if callable(v) or isinstance(v, in_state) else v for k, v in params.items()}


def _flatten(value: Any, name: str, tensors: Tensors) -> Any:
    """`value` as JSON can hold it; its arrays go to `tensors`, under names that begin with `name`."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            raise TypeError(f"{name}: expected real numbers, got an array of dtype {value.dtype}")
        tensors[name] = np.asarray(value, value.dtype.newbyteorder("="), order="C")
        return {_TENSOR: name}
    if isinstance(value, list | tuple | range):
        return [_flatten(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key == _TENSOR:
                raise TypeError(f"{name}: the key {key!r} cannot be saved")
        return {key: _flatten(item, f"{name}.{key}", tensors) for key, item in value.items()}
    raise TypeError(f"{name}: cannot save a {type(value).__name__}")


def _unflatten(value: Any, tensors: Tensors) -> Any:
    """The inverse of `_flatten`."""
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _unflatten(item, tensors) for key, item in value.items()}
    return value


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _digest(content: dict[str, Any], tensors: Tensors) -> str:
    digest = hashlib.sha256(_canonical({k: v for k, v in content.items() if k != "sha256"}).encode())
    for name in sorted(tensors):
        digest.update(f"\n{name} {tensors[name].dtype} {tensors[name].shape}\n".encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], Tensors]:
    """What a file holds, once it is known to be as it was written."""
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):
        pass  # a missing or forbidden file raises Python's own OSError
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: corrupt, truncated or no safetensors file ({error})") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: holds tensors that are no NumPy arrays ({error})") from error
    if _KEY not in metadata:
        raise ValueError(f"{path}: a safetensors file, but no model of thalweg")
    try:
        content = json.loads(metadata[_KEY])
        version = content["format"]
    except (json.JSONDecodeError, RecursionError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: corrupt metadata ({error})") from error
    if version != FORMAT:
        raise ValueError(f"{path}: written in format {version!r}, this version of thalweg reads {FORMAT}")
    if content.get("sha256") != _digest(content, tensors):
        raise ValueError(f"{path}: corrupt, its checksum does not match its content")
    return content, tensors

"""Saved models come back the same; files that are not whole or not ours are refused, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from command_line import hide_cuda
from thalweg.models import (
    BernoulliRBM,
    ConvolutionalDictionaryLearning,
    ConvolutionalSparseCoder,
    DeepEnergyModel,
    DictionaryLearning,
    GaussianBernoulliRBM,
    MiniBatchDictionaryLearning,
    SparseCoder,
)
from thalweg.persistence import load_model, load_model_and_extra, save_model, write_atomically

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 9)).astype(np.float32)


def learner(**options: object) -> MiniBatchDictionaryLearning:
    options = {"alpha": 0.3, "batch_size": 30, "max_iter": 2, "random_state": 0, **options}
    return MiniBatchDictionaryLearning(12, **options)


def model(cls: type) -> object:
    if cls is SparseCoder:
        return SparseCoder(RNG.normal(size=(5, 9)), transform_alpha=0.5, transform_algorithm="lasso_cd")
    if cls is DictionaryLearning:
        return DictionaryLearning(5, alpha=0.3, max_iter=3, transform_algorithm="lasso_cd").fit(X)
    return learner(transform_algorithm="lasso_cd").fit(X)


@pytest.mark.parametrize("cls", [SparseCoder, DictionaryLearning, MiniBatchDictionaryLearning])
def test_a_model_comes_back_the_same(tmp_path: Path, cls: type) -> None:
    saved = model(cls)
    save_model(saved, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert type(loaded) is cls
    for name, value in saved.get_params().items():
        assert np.array_equal(getattr(loaded, name), value), name
    (tensors, values), (tensors2, values2) = saved._get_state(), loaded._get_state()
    assert values == values2
    assert tensors.keys() == tensors2.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == tensors2[name].dtype
        assert np.array_equal(tensor, tensors2[name], equal_nan=True), name
    assert np.array_equal(loaded.transform(X), saved.transform(X))
    save_model(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


LEARNT = {
    "sparse-coder": lambda: model(SparseCoder),
    "mini-batch": lambda: model(MiniBatchDictionaryLearning),
    "bernoulli": lambda: BernoulliRBM(3, n_iter=1, random_state=0).fit(np.abs(X) / 9),
    "gaussian": lambda: GaussianBernoulliRBM(3, n_iter=1, random_state=0).fit(X),
    "deep-energy": lambda: DeepEnergyModel(3, loss="nce", n_iter=1, random_state=0).fit(X),
    "filters": lambda: ConvolutionalSparseCoder(RNG.normal(size=(2, 1, 3, 3)), alpha=0.5),
    "conv": lambda: ConvolutionalDictionaryLearning(2, 3, max_iter=1, random_state=0).fit(X[None]),
}


@pytest.mark.parametrize("name", LEARNT)
def test_a_model_of_a_device_is_loaded_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data = np.abs(X[None] if name in ("filters", "conv") else X) / 9
    saved = LEARNT[name]()
    method = saved.score_samples if name == "deep-energy" else saved.transform  # its codes are the CPU's
    expected = method(data)
    save_model(saved.set_params(device="cuda"), tmp_path / "m.safetensors")
    hide_cuda(monkeypatch)
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.device == "cuda"
    with pytest.raises(RuntimeError, match=r"^device='cuda': .*built without CUDA"):
        getattr(loaded, method.__name__)(data)
    assert np.array_equal(getattr(loaded.set_params(device="cpu"), method.__name__)(data), expected)


def test_learning_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, part = learner(), learner()
    for start in range(0, 120, 30):
        whole.partial_fit(X[start : start + 30])
    for start in range(0, 120, 30):
        part.partial_fit(X[start : start + 30])
        save_model(part, tmp_path / "m")
        part = load_model(tmp_path / "m")
    assert np.array_equal(whole.components_, part.components_)


def test_extra_comes_back(tmp_path: Path) -> None:
    extra = {
        "text": "ü",
        "number": np.float64(1 / 3),
        "none": None,
        "list": [1, (True, [np.arange(3, dtype=np.uint8)])],
        "deep": {
            "strided": np.arange(12.0).reshape(3, 4).T,
            "scalar": np.array(2.5),
            "big": np.arange(2, dtype=">i4"),
        },
    }
    save_model(SparseCoder(np.eye(2)), tmp_path / "m", extra)
    estimator, back = load_model_and_extra(tmp_path / "m")
    assert np.array_equal(estimator.dictionary, np.eye(2))
    assert back["text"] == "ü"
    assert back["number"] == 1 / 3
    assert back["none"] is None
    assert back["list"][1][0] is True
    assert np.array_equal(back["list"][1][1][0], [0, 1, 2])
    assert np.array_equal(back["deep"]["strided"], extra["deep"]["strided"])
    assert back["deep"]["scalar"].shape == ()
    assert back["deep"]["big"].tolist() == [0, 1]


def test_functions_and_generators_are_left_out(tmp_path: Path) -> None:
    saved = learner(callback=print, random_state=np.random.default_rng(3)).fit(X)
    save_model(saved, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    assert loaded.callback is None
    assert loaded.random_state is None
    assert np.array_equal(saved.resume(X).components_, loaded.resume(X).components_)


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ({"f": len}, r"extra\.f"),
        ({"a": [np.array(["text"])]}, r"extra\.a\.0"),
        ({"a": np.array([1j])}, r"extra\.a"),
        ({1: 2}, "extra"),
        ({"__tensor__": "x"}, "extra"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path: Path, extra: dict, name: str) -> None:
    with pytest.raises(TypeError, match=name):
        save_model(SparseCoder(np.eye(2)), tmp_path / "m", extra)
    assert not list(tmp_path.iterdir())


def test_only_models_are_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="SparseCoder, got dict"):
        save_model({}, tmp_path / "m")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    save_model(learner().fit(X), path)
    return path


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 1000, -1])
def test_a_truncated_file_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"m\.safetensors: corrupt, truncated"):
        load_model(saved)


def test_every_flipped_bit_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    places = [*RNG.integers(0, len(whole), 60).tolist(), 0, 5, 8, 9, len(whole) - 1]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << int(RNG.integers(8))
        saved.write_bytes(data)
        try:
            load_model(saved)
        except ValueError as error:
            assert "m.safetensors" in str(error)  # noqa: PT017
        else:
            pytest.fail(f"byte {place} was changed unnoticed")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other"
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="other: a safetensors file, but no model"):
        load_model(path)
    path.write_bytes(b"\x89PNG\r\n" * 50)
    with pytest.raises(ValueError, match="other: corrupt"):
        load_model(path)
    with pytest.raises(FileNotFoundError, match="missing"):
        load_model(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"class": "os.system"}, "checksum"),
        ({"params": {"alpha": 7}}, "checksum"),
        ({"sha256": ""}, "checksum"),
    ],
)
def test_tampered_metadata_is_refused(saved: Path, change: dict, message: str) -> None:
    with safe_open(saved, framework="np") as file:
        content = json.loads(file.metadata()["thalweg"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, saved, metadata={"thalweg": json.dumps({**content, **change})})
    with pytest.raises(ValueError, match=message):
        load_model(saved)


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", "null", '{"format": 1}', "[" * 100_000])
def test_malformed_metadata_is_refused(tmp_path: Path, text: str) -> None:
    save_file({"a": np.zeros(3)}, tmp_path / "m", metadata={"thalweg": text})
    with pytest.raises(ValueError, match=r"m: (corrupt|written)"):
        load_model(tmp_path / "m")


def test_an_unknown_class_or_parameter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    with monkeypatch.context() as patch:
        patch.setattr(SparseCoder, "get_params", lambda self, deep: {"dictionary": np.eye(2), "new": 1})
        save_model(SparseCoder(np.eye(2)), path)
    with pytest.raises(ValueError, match="does not describe a SparseCoder"):
        load_model(path)
    save_model(SparseCoder(np.eye(2)), path)
    monkeypatch.setattr("thalweg.models.__all__", ["DictionaryLearning"])
    with pytest.raises(ValueError, match="'SparseCoder' is unknown"):
        load_model(path)


def test_a_full_disk_leaves_the_earlier_file(saved: Path) -> None:
    before = saved.read_bytes()
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, old_limit[1]))
    try:
        with pytest.raises(OSError, match=r"m\.safetensors cannot be written"):
            save_model(learner().fit(X), saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_no_space_left_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left on device") as caught:
        save_model(SparseCoder(np.eye(2)), tmp_path / "m")
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NotADirectoryError, match="m cannot be written"):
        save_model(SparseCoder(np.eye(2)), tmp_path / "file" / "m")
    with pytest.raises(FileNotFoundError, match="m cannot be written: No such file"):
        save_model(SparseCoder(np.eye(2)), tmp_path / "missing" / "m")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="cannot be written"):
            save_model(SparseCoder(np.eye(2)), tmp_path / "m")
    finally:
        tmp_path.chmod(0o700)


def test_an_interrupted_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text("old")

    def interrupted(file: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "m", lambda file: file.write(b"x"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", lambda file: file.write(b"x"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"x"

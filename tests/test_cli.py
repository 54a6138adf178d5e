"""The command line end to end on small photographs: results, Ctrl-C, resume, and one line for every fault."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from PIL import Image

import thalweg
from command_line import complaint, devices_of_kernels, errors_of_sigint, hide_cuda, photograph
from thalweg import SparseCoder, datasets
from thalweg.cli import learn_sparse_coding as learn
from thalweg.cli import main, page, patch_model, photographs, run, targets
from thalweg.cli.arguments import parser
from thalweg.cli.codes import CodesFile
from thalweg.cli.patch_model import PatchModel
from thalweg.cli.report_sparse_coding import _comparisons
from thalweg.cli.sections import Comparison
from thalweg.persistence import load_model, save_model
from thalweg.preprocessing import PatchGrid

SMALL = [
    *("--patch-size", "4", "--n-components", "20", "--n-patches", "300"),
    *("--batch-size", "50", "--epochs", "4", "--quiet"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        photograph(i).save(folder / f"p{i}.png")
    return folder


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "run"
    assert main(["learn", "sparse-coding", str(photos), "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of a small run's time; those of `finished`, which is made before this, are drawn."""
    monkeypatch.setattr(page, "figure", lambda draw, words: f"<picture>{words}</picture>")


def state(out: Path) -> dict[str, np.ndarray]:
    return PatchModel.load(out / "model.safetensors").learner._get_state()[0]


def test_learning_leaves_all_results(finished: Path) -> None:
    names = {p.name for p in finished.iterdir()}
    assert names == {"model.safetensors", "atoms.png", "metrics.json", "report.html"}
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["finished"] is True
    assert metrics["n_steps"] == 24
    assert metrics["history"]["step"] == list(range(1, 25))
    assert np.mean(metrics["history"]["objective"][-6:]) < np.mean(metrics["history"]["objective"][:6])
    assert metrics["held_out"]["worst_gap"] <= metrics["held_out"]["tolerance"]
    assert set(metrics["psnr"]) == {"p0.png", "p1.png", "p2.png"}
    with Image.open(finished / "atoms.png") as picture:
        assert picture.width > 500


def test_held_out_patches_have_no_pixel_of_the_learnt_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def pixels(number: int, width: int, height: int = 9) -> np.ndarray:
        return 10_000.0 * number + np.arange(height * width, dtype=float).reshape(height, width)

    images = [pixels(1, 11), pixels(2, 12), pixels(3, 100), pixels(4, 5)]
    files = [Path(str(number)) for number in range(1, 5)]
    monkeypatch.setattr(photographs, "read", lambda files, options: zip(files, images))
    options = {"patch_size": 4, "n_patches": 2000, "seed": 0}
    learnt, held_out, used = photographs.draw_patches(files, options)
    assert (len(learnt), used) == (2000, files)
    assert not set(learnt.ravel()) & set(held_out.ravel())
    # A tenth of the width, at least a patch, of those that are as wide as three patches.
    assert set(held_out.ravel()) == set(images[1][:, -4:].ravel()) | set(images[2][:, -10:].ravel())
    assert {*images[0].ravel(), *images[3].ravel()} <= set(learnt.ravel())


def test_no_figures_of_held_out_patches_where_none_can_be_spared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(0, (80, 11)).save(tmp_path / "narrow.png")
    out = tmp_path / "run"
    assert main(["learn", "sparse-coding", str(tmp_path / "narrow.png"), "--out", str(out), *SMALL]) == 0
    assert "warning: no photograph is as wide as three patches" in capsys.readouterr().err
    metrics = json.loads((out / "metrics.json").read_text())
    assert "held_out" not in metrics
    assert metrics["n_patches"] == 300
    page = (out / "report.html").read_text()
    for words in ("held-out", "most used first", "How often", "Optimality gaps", "optimality gap"):
        assert words not in page
    for words in ("Atoms", "Objective over time", "Originals and rec", "of learning"):
        assert words in page


def test_the_report_needs_nothing_else(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    sources = re.findall(r'(?:src|srcset|href)="([^"]{0,40})', page)
    assert len(sources) == 1 + 3 * 2 + 3 * 2
    assert all(s.startswith("data:image/") for s in sources)
    assert "://" not in page  # a colon is no digit of base64, as pictures are
    assert "<script" not in page
    for title in ("Atoms", "Objective over time", "How often", "Originals and rec", "Optimality gaps"):
        assert title in page


def test_names_of_files_are_escaped_in_the_report() -> None:
    image = np.zeros((4, 4))
    page = _comparisons([Comparison('<b>"x', image, image)])
    assert "<b>" not in page
    assert "&lt;b&gt;&quot;x" in page


class Interrupting(learn._Recorder):
    """Presses Ctrl-C after seven steps."""

    def __call__(self, step: dict[str, object]) -> None:
        super().__call__(step)
        if step["i"] == 6:
            raise KeyboardInterrupt


def interrupted_run(photos: Path, out: Path, *options: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn, "_Recorder", Interrupting)
        return main(["learn", "sparse-coding", str(photos), "--out", str(out), *SMALL, *options])


def test_resume_goes_on_bit_for_bit(
    photos: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert interrupted_run(photos, tmp_path, "--threads", "1") == 130
    assert f"--out {tmp_path} --resume" in capsys.readouterr().err
    assert "was interrupted after 7 steps" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "metrics.json").read_text())["n_steps"] == 7
    resume = ["learn", "sparse-coding", "--out", str(tmp_path), "--resume", "--quiet"]
    assert main([*resume, "--threads", "2"]) == 0
    unbroken, resumed = state(finished), state(tmp_path)
    for name, tensor in unbroken.items():
        assert np.array_equal(tensor, resumed[name], equal_nan=True), name
    objectives = [json.loads((o / "metrics.json").read_text())["history"] for o in (finished, tmp_path)]
    assert objectives[0]["objective"] == objectives[1]["objective"]
    assert "interrupted" not in (tmp_path / "report.html").read_text()
    assert main(resume) == 0
    assert np.array_equal(state(tmp_path)["components_"], unbroken["components_"])


class Failing(learn._Recorder):
    """Fails after seven steps."""

    error: Exception

    def __call__(self, step: dict[str, object]) -> None:
        super().__call__(step)
        if step["i"] == 6:
            raise self.error


@pytest.mark.parametrize("error", [FloatingPointError("no finite"), MemoryError("much"), OSError(28, "full")])
def test_an_error_keeps_what_was_learnt(
    photos: Path,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    monkeypatch.setattr(Failing, "error", error, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(learn, "_Recorder", Failing)
        assert main(["learn", "sparse-coding", str(photos), "--out", str(tmp_path), *SMALL]) == 2
    kept, said = capsys.readouterr().err.splitlines()
    assert "after 7 steps" in kept
    assert f"--out {tmp_path} --resume" in kept
    assert str(error.args[-1]) in said
    model = PatchModel.load(tmp_path / "model.safetensors")
    assert (model.learner.n_steps_, model.run["finished"]) == (7, False)
    assert model.learner.dict_init is None
    assert main(["learn", "sparse-coding", "--out", str(tmp_path), "--resume", "--quiet"]) == 0
    assert np.array_equal(state(tmp_path)["components_"], state(finished)["components_"])


def test_a_second_error_does_not_hide_the_first(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left")

    monkeypatch.setattr(Failing, "error", FloatingPointError("the first"), raising=False)
    monkeypatch.setattr(learn, "_Recorder", Failing)
    monkeypatch.setattr(PatchModel, "save", full_disk)
    assert main(["learn", "sparse-coding", str(photos), "--out", str(tmp_path), *SMALL]) == 2
    warned, said = capsys.readouterr().err.splitlines()
    assert "warning: what was learnt in 7 steps is lost" in warned
    assert "No space left" in warned
    assert said == "thalweg: the first"


def test_an_error_before_the_first_step_leaves_no_model(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(learn, "_first_atoms", fail)
    assert "no room" in complaint(capsys, ["learn", "sparse-coding", photos, "--out", tmp_path, *SMALL])
    assert not list(tmp_path.iterdir())


def test_more_epochs_can_be_learnt(photos: Path, tmp_path: Path) -> None:
    longer, extended = tmp_path / "longer", tmp_path / "extended"
    command = ["learn", "sparse-coding", str(photos), *SMALL, "--out"]
    assert main([*command, str(longer), "--epochs", "6"]) == 0
    assert main([*command, str(extended), "--epochs", "5"]) == 0
    assert (
        main(["learn", "sparse-coding", "--out", str(extended), "--resume", "--epochs", "6", "--quiet"]) == 0
    )
    assert np.array_equal(state(longer)["components_"], state(extended)["components_"])


def test_an_unfinished_run_is_not_lost(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted_run(photos, tmp_path)
    command = ["learn", "sparse-coding", photos, "--out", tmp_path, *SMALL]
    assert "an unfinished run (7 steps): go on with --resume, start anew with --over" in complaint(
        capsys, command
    )
    assert "--alpha 0.7: the run" in complaint(capsys, [*command, "--resume", "--alpha", "0.7"])
    other = ["learn", "sparse-coding", photos / "p0.png", "--out", tmp_path, *SMALL, "--resume"]
    assert "other photographs" in complaint(capsys, other)
    assert main([*map(str, command), "--overwrite"]) == 0
    (tmp_path / "model.safetensors").write_text("spoiled")
    assert "--overwrite replaces it" in complaint(capsys, command)


def test_a_finished_run_is_not_lost(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["learn", "sparse-coding", photos, "--out", tmp_path, *SMALL, "--epochs", "1"]
    assert main([*map(str, command)]) == 0
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    line = complaint(capsys, [*command, "--alpha", "0.7"])
    assert "a finished run (6 steps): go on with --resume and more --epochs, start anew with --over" in line
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert main([*map(str, command), "--alpha", "0.7", "--overwrite"]) == 0
    assert PatchModel.load(tmp_path / "model.safetensors").learner.alpha == 0.7


def test_fewer_epochs_than_were_done_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted_run(photos, tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    resume = ["learn", "sparse-coding", "--out", tmp_path, "--resume", "--quiet", "--epochs"]
    assert "--epochs 1: the run" in complaint(capsys, [*resume, "1"])
    assert "has got to epoch 2 already" in complaint(capsys, [*resume, "1"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert main([*map(str, resume), "2"]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["finished"], metrics["n_steps"], metrics["options"]["epochs"]) == (True, 12, 2)


def test_a_run_interrupted_at_its_end_is_finished_when_resumed(photos: Path, tmp_path: Path) -> None:
    assert interrupted_run(photos, tmp_path, "--batch-size", "43", "--epochs", "1") == 130
    assert main(["learn", "sparse-coding", "--out", str(tmp_path), "--resume", "--quiet"]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["finished"], metrics["n_steps"]) == (True, 7)


def test_changed_photographs_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph(0).save(tmp_path / "a.png")
    interrupted_run(tmp_path / "a.png", tmp_path / "run")
    photograph(1).save(tmp_path / "a.png")
    command = ["learn", "sparse-coding", "--out", tmp_path / "run", "--resume", "--quiet"]
    assert "have changed" in complaint(capsys, command)


def test_another_build_is_noted(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_run(photos, tmp_path)
    here = run.build("cpu")
    monkeypatch.setattr(run, "build", lambda device: {**here, "instruction_set": "v9"})
    assert main(["learn", "sparse-coding", "--out", str(tmp_path), "--resume", "--quiet"]) == 0
    assert f"instruction_set {here['instruction_set']} -> v9" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "metrics.json").read_text())["builds"]) == 2


def test_a_build_that_names_no_device_is_of_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    earlier = {name: value for name, value in run.build("cpu").items() if name != "device"}
    builds = [earlier]
    run._note_build({"builds": builds}, "cpu")
    assert builds == [earlier]
    assert capsys.readouterr().err == ""


def test_sigint_keeps_what_was_learnt(photos: Path, tmp_path: Path) -> None:
    command = [
        *("learn", "sparse-coding", str(photos), "--out", str(tmp_path)),
        *("--patch-size", "4", "--n-components", "20", "--n-patches", "300", "--batch-size", "50"),
        *("--epochs", "1000000"),
    ]
    assert "objective" in errors_of_sigint(command, tmp_path)  # in the progress bar


def test_an_interrupt_before_the_first_step_is_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(learn, "draw_patches", interrupt)
    assert main(["learn", "sparse-coding", str(photos), "--out", str(tmp_path), *SMALL]) == 130
    assert capsys.readouterr().err == "thalweg: interrupted\n"


@pytest.mark.parametrize(
    "options",
    [
        ["--color", "--whitening", "none"],
        ["--color", "--dtype", "float64"],
        ["--penalty", "l0", "--alpha", "0.2"],
        ["--max-side", "20"],
    ],
    ids=lambda o: "".join(o),
)
def test_options(photos: Path, tmp_path: Path, options: list[str]) -> None:
    command = ["learn", "sparse-coding", str(photos), "--out", str(tmp_path / "run"), *SMALL]
    assert main([*command, *options]) == 0
    model = PatchModel.load(tmp_path / "run" / "model.safetensors")
    channels = 3 if "--color" in options else 1
    assert model.learner.components_.shape == (20, 16 * channels)
    assert model.learner.components_.dtype == ("float64" if "float64" in options else "float32")
    codes = tmp_path / "codes.npz"
    path = str(tmp_path / "run" / "model.safetensors")
    assert main(["encode", path, str(photos), "--alpha", "0.001", "--out", str(codes), "--quiet"]) == 0
    assert main(["reconstruct", str(codes), "--model", path, "--out", str(tmp_path)]) == 0
    (original,) = datasets.load_images(photos / "p1.png", color="--color" in options)
    (back,) = datasets.load_images(tmp_path / "p1.png")
    assert np.abs(back - original).mean() < 0.06


@pytest.fixture(scope="module")
def codes(photos: Path, finished: Path) -> Path:
    path = finished.parent / "codes.npz"
    model = str(finished / "model.safetensors")
    assert main(["encode", model, str(photos), "--alpha", "0.05", "--out", str(path), "--quiet"]) == 0
    return path


def test_codes_are_a_sparse_matrix_with_the_patch_grid(codes: Path, finished: Path) -> None:
    matrix = scipy.sparse.load_npz(codes)
    grid = PatchGrid((40, 56), (4, 4), 2)
    assert matrix.shape == (3 * grid.n_patches, 20)
    assert 0 < matrix.nnz < matrix.shape[0] * matrix.shape[1]
    file = CodesFile.load(codes)
    assert file.grids == [grid] * 3
    assert [Path(name).name for name in file.names] == ["p0.png", "p1.png", "p2.png"]
    assert file.means.shape == (matrix.shape[0], 1)
    assert file.gap.max() <= 1e-4


def test_images_come_back_with_their_psnr(
    codes: Path, finished: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(finished / "model.safetensors")
    assert main(["reconstruct", str(codes), "--model", model, "--out", str(tmp_path)]) == 0
    printed = [float(line.split()[-2]) for line in capsys.readouterr().out.splitlines()]
    assert len(printed) == 3
    for i, decibels in enumerate(printed):
        pair = [datasets.load_images(f / f"p{i}.png", color=False)[0] for f in (photos, tmp_path)]
        assert decibels == pytest.approx(-10 * np.log10(np.mean((pair[0] - pair[1]) ** 2)), abs=0.01)
        assert decibels > 20


def test_originals_that_are_gone_and_names_that_clash(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / folder / "same.png" for folder in "ab"]
    for i, path in enumerate(paths):
        path.parent.mkdir()
        photograph(i, (20 + i, 24)).save(path)
    model, out = str(finished / "model.safetensors"), str(tmp_path / "codes.npz")
    assert main(["encode", model, *map(str, paths), "--out", out, "--quiet", "--step", "3"]) == 0
    paths[0].unlink()
    capsys.readouterr()
    assert main(["reconstruct", out, "--model", model, "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(tmp_path / "same.png")
    assert lines[1].startswith(f"{tmp_path / 'same-2.png'}  PSNR ")
    assert [datasets.load_images(tmp_path / n)[0].shape for n in ("same.png", "same-2.png")] == [
        (20, 24),
        (21, 24),
    ]


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 40, 100])
def test_bands_of_patches_do_not_show(
    finished: Path, monkeypatch: pytest.MonkeyPatch, step: int, rows: int
) -> None:
    model = PatchModel.load(finished / "model.safetensors")
    image = np.asarray(photograph(5, (25, 31)), np.float32) / 255
    whole = model.encode_image(image, step)
    monkeypatch.setattr(patch_model, "_BLOCK_ROWS", rows)
    parts = model.encode_image(image, step)
    assert parts.codes.shape == (whole.grid.n_patches, 20)
    assert np.allclose(parts.codes.toarray(), whole.codes.toarray(), atol=1e-3)
    assert np.array_equal(parts.means, whole.means)
    assert np.allclose(
        model.decode_image(parts.codes, parts.means, parts.grid),
        model.decode_image(whole.codes, whole.means, whole.grid),
        atol=1e-3,
    )


def test_show_and_info(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "atoms.png"
    assert main(["show", str(finished / "model.safetensors"), "--out", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "20 of 4 x 4 pixels, gray, float32" in printed
    assert "24 steps" in printed
    assert picture.read_bytes() == (finished / "atoms.png").read_bytes()
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    for word in ("thalweg", "instruction set", "threads", "compiler", "OpenMP", "CUDA"):
        assert re.search(rf"^{word} +\S", printed, re.M)


def test_unreadable_photographs_are_named_and_skipped(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").write_text("no image")
    photograph(0, (3, 50)).save(tmp_path / "flat.png")
    command = ["learn", "sparse-coding", tmp_path, photos, "--out", tmp_path / "run", *SMALL]
    assert main([str(c) for c in command]) == 0
    errors = capsys.readouterr().err
    assert "bad.png: skipped" in errors
    assert "flat.png: skipped, for it is smaller than a patch" in errors
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["n_patches"] == 300
    assert len(metrics["photographs"]) == 3


def test_faults_of_learning(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "empty").mkdir()
    start = ["learn", "sparse-coding"]
    assert "file" in complaint(capsys, [*start, photos, "--out", tmp_path / "file"])
    assert "file" in complaint(capsys, [*start, photos, "--out", tmp_path / "file" / "below"])
    if sys.platform == "linux":  # where nobody, root included, may make a folder
        assert "/proc/run: " in complaint(capsys, [*start, photos, "--out", "/proc/run"])
    out = ["--out", tmp_path / "run", *SMALL]
    assert "no PNG, JPEG or TIFF" in complaint(capsys, [*start, tmp_path / "empty", *out])
    assert "nowhere: no such file" in complaint(capsys, [*start, tmp_path / "nowhere", *out])
    assert "there is no" in complaint(capsys, [*start, *out, "--resume"])
    assert "--n-components 301" in complaint(capsys, [*start, photos, *out, "--n-components", "301"])
    photograph(0, (3, 3)).save(tmp_path / "tiny.png")
    assert main([str(a) for a in [*start, tmp_path / "tiny.png", *out]]) == 2
    assert "none of the photographs" in capsys.readouterr().err


def test_a_full_disk_is_said(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old_limit[1]))
    try:
        line = complaint(capsys, ["learn", "sparse-coding", photos, "--out", tmp_path, *SMALL])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert "model.safetensors cannot be written" in line
    assert not list(tmp_path.iterdir())


@pytest.fixture
def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target must be refused before the work on its content."""

    def work(*args: object) -> None:
        raise AssertionError("the work has begun")

    for name in ("encode_image", "decode_image", "atoms"):
        monkeypatch.setattr(PatchModel, name, work)


@pytest.mark.usefixtures("_no_work")
@pytest.mark.parametrize("command", ["encode", "reconstruct", "show"])
def test_a_target_that_cannot_be_written_is_said_before_the_work(
    photos: Path,
    finished: Path,
    codes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    model = finished / "model.safetensors"
    rest = {"encode": [model, photos], "reconstruct": [codes, "--model", model], "show": [model]}[command]
    (tmp_path / "file").write_text("no folder")
    assert "file" in complaint(capsys, [command, *rest, "--out", tmp_path / "file" / "below"])
    if command == "reconstruct":
        assert "file: File exists" in complaint(capsys, [command, *rest, "--out", tmp_path / "file"])
    else:
        assert "expected the name of a file" in complaint(capsys, [command, *rest, "--out", tmp_path])
        assert "no folder" in complaint(capsys, [command, *rest, "--out", tmp_path / "no" / "where"])

    def full_disk(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(targets, "NamedTemporaryFile", full_disk)
    line = complaint(capsys, [command, *rest, "--out", tmp_path / "new"])
    assert "cannot be written to: No space left on device" in line
    assert (tmp_path / "file").read_text() == "no folder"


def test_a_disk_that_fills_up_during_the_work_is_said(
    photos: Path, finished: Path, codes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = finished / "model.safetensors"
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, old_limit[1]))
    try:
        encode = ["encode", model, photos, "--quiet", "--out", tmp_path / "c.npz"]
        assert "c.npz cannot be written: " in complaint(capsys, encode)
        reconstruct = ["reconstruct", codes, "--model", model, "--out", tmp_path]
        assert "p0.png cannot be written: " in complaint(capsys, reconstruct)
        assert "a.png cannot be written: " in complaint(capsys, ["show", model, "--out", tmp_path / "a.png"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert not list(tmp_path.iterdir())


def test_an_image_smaller_than_a_patch_is_named_and_skipped(
    photos: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(0, (3, 50)).save(tmp_path / "flat.png")
    model, out = finished / "model.safetensors", tmp_path / "codes.npz"
    command = ["encode", model, tmp_path / "flat.png", photos, "--out", out, "--quiet"]
    assert main([str(c) for c in command]) == 0
    printed = capsys.readouterr()
    assert "flat.png: skipped, for it is smaller than a patch" in printed.err
    assert printed.out.startswith("3 images, ")
    assert [Path(name).name for name in CodesFile.load(out).names] == ["p0.png", "p1.png", "p2.png"]
    assert main(["encode", str(model), str(tmp_path / "flat.png"), "--out", str(tmp_path / "none")]) == 2
    assert "none of the images" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_alpha_beyond_the_models_precision_is_refused(
    photos: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "encode",
        finished / "model.safetensors",
        photos / "p0.png",
        "--out",
        tmp_path / "c",
        "--alpha",
    ]
    assert "--alpha 1e+300: beyond float32" in complaint(capsys, [*command, "1e300"])
    assert main([*map(str, command), "3e38"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the name of a file is Unicode")
def test_names_of_files_that_are_no_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, out = os.fsdecode(b"a\xff<.png"), tmp_path / os.fsdecode(b"run\xff")
    photograph(0).save(tmp_path / name)
    assert main(["learn", "sparse-coding", str(tmp_path / name), "--out", str(out), *SMALL]) == 0
    assert r"a\udcff&lt;.png: original" in (out / "report.html").read_text("utf-8")
    model, codes = str(out / "model.safetensors"), str(out / name) + ".npz"
    assert main(["encode", model, str(tmp_path / name), "--out", codes]) == 0
    assert main(["reconstruct", codes, "--model", model, "--out", str(out / "back")]) == 0
    assert r"a\udcff<.png  PSNR " in capsys.readouterr().out
    assert (out / "back" / name).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "Permission" in complaint(
            capsys, ["learn", "sparse-coding", photos, "--out", tmp_path / "run"]
        )
    finally:
        tmp_path.chmod(0o700)


def test_faults_of_models_and_codes(
    photos: Path, finished: Path, codes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = finished / "model.safetensors"
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(model.read_bytes()[:-3])
    for command in (["show"], ["encode"]):
        rest = [photos] if command == ["encode"] else []
        assert "broken.safetensors: corrupt" in complaint(capsys, [*command, broken, *rest])
        assert "nowhere: No such file" in complaint(capsys, [*command, tmp_path / "nowhere", *rest])
    save_model(SparseCoder(np.eye(2)), tmp_path / "coder")
    assert "not learnt by" in complaint(capsys, ["show", tmp_path / "coder"])
    assert "there is no folder" in complaint(capsys, ["encode", model, photos, "--out", tmp_path / "a" / "b"])
    assert "--step 5" in complaint(capsys, ["encode", model, photos, "--step", "5"])
    reconstruct = ["reconstruct", "--out", tmp_path, "--model"]
    assert "broken.safetensors: no file of codes" in complaint(capsys, [*reconstruct, model, broken])
    assert main(["learn", "sparse-coding", str(photos), "--out", str(tmp_path), *SMALL, "--seed", "1"]) == 0
    other = tmp_path / "model.safetensors"
    assert "made with another model" in complaint(capsys, [*reconstruct, other, codes])


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.full(3, 10**6)},
        {"indptr": np.array([0, 5])},
        {"indptr": None},
        {"step": np.int64(0)},
        {"patch_size": np.array([400, 4])},
        {"image_shapes": np.array([[40, 56]])},
        {"names": np.array(["a"])},
        {"means": np.zeros((5, 1))},
        {"means": np.array([{}], dtype=object)},
        {"thalweg_format": np.int64(2)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_corrupt_codes_are_refused(
    codes: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict
) -> None:
    with np.load(codes) as file:
        arrays = {k: v for k, v in {**file, **change}.items() if v is not None}
    if "indices" in change:
        arrays["indices"] = np.full_like(arrays["indices"], 10**6)
    np.savez(tmp_path / "codes.npz", **arrays)
    command = ["reconstruct", tmp_path / "codes.npz", "--model", finished / "model.safetensors"]
    assert "codes.npz: no file of codes, or corrupt" in complaint(capsys, [*command, "--out", tmp_path / "x"])
    assert not (tmp_path / "x").exists()


def test_codes_of_no_image_are_refused(codes: Path, tmp_path: Path) -> None:
    none = {"indptr": np.zeros(1, int), "shape": np.array([0, 20]), "image_shapes": np.zeros((0, 2), int)}
    none |= {name: np.zeros(0) for name in ("data", "means", "gap", "names")} | {"indices": np.zeros(0, int)}
    with np.load(codes) as file:
        np.savez(tmp_path / "codes.npz", **{**file, **none})
    with pytest.raises(ValueError, match=r"corrupt.*no image"):
        CodesFile.load(tmp_path / "codes.npz")


def read_or_reason(path: Path) -> CodesFile | str:
    try:
        return CodesFile.load(path)
    except ValueError as error:
        return str(error)


def test_flipped_bits_are_noticed_or_do_no_harm(codes: Path, tmp_path: Path) -> None:
    """Most lie in members, which have checksums; the headers of a zip file have none."""
    whole, path = CodesFile.load(codes), tmp_path / "codes.npz"
    rng, data = np.random.default_rng(0), codes.read_bytes()
    headers = [i for i in range(len(data) - 4) if data[i : i + 2] == b"PK"]
    places = np.concatenate(
        [rng.integers(len(data), size=100), rng.choice(headers, 400) + rng.integers(46, size=400)]
    )
    noticed = 0
    for place, bit in zip(places % len(data), rng.integers(8, size=len(places))):
        damaged = bytearray(data)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        read = read_or_reason(path)
        if isinstance(read, str):
            assert read.startswith(f"{path}: no file of codes, or corrupt (")
            noticed += 1
        else:
            assert (read.codes != whole.codes).nnz == 0
            assert np.array_equal(read.means, whole.means)
            assert (read.grids, read.names, read.dictionary) == (whole.grids, whole.names, whole.dictionary)
    assert noticed > 200


@pytest.mark.parametrize("keep", [0, 1, 50, 2000, -30])
def test_truncated_codes_are_refused(
    codes: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], keep: int
) -> None:
    (tmp_path / "codes.npz").write_bytes(codes.read_bytes()[:keep])
    command = ["reconstruct", tmp_path / "codes.npz", "--model", finished / "model.safetensors"]
    assert "codes.npz: no file of codes, or corrupt" in complaint(capsys, command)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--patch-size", v) for v in ("0", "-1", "x", "2.5")),
        *(("--alpha", v) for v in ("-1", "nan", "inf", "x")),
        *(("--penalty", v) for v in ("l2", "")),
        *(("--n-components", v) for v in ("0",)),
        *(("--threads", v) for v in ("0",)),
        *(("--dtype", v) for v in ("float16",)),
    ],
)
def test_bad_option_values(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["learn", "sparse-coding", f"{option}={value}"])
    assert ended.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err


# --- devices

TINY = [
    *("--patch-size", "3", "--n-components", "4", "--n-patches", "40", "--max-side", "16"),
    *("--batch-size", "20", "--epochs", "1", "--quiet"),
]


class DriverWithoutDevice:
    @staticmethod
    def device_fault() -> str:
        return "no NVIDIA GPU is visible (no CUDA-capable device is detected)"


@pytest.mark.parametrize(
    "command",
    [
        *(["learn", name] for name in ("sparse-coding", "conv-sparse-coding", "conv-autoencoder", "rbm")),
        ["learn", "gaussian-rbm"],
        *(["learn", "deep-energy", "--loss", "nce"], ["learn", "sparse-coding", "--resume"]),
        *(["encode", "no-model", "no-image"], ["score", "no-run", "gaussian"], ["modes", "no-run"]),
        *(["denoise", "no-image"], ["inpaint", "no-image", "--mask", "no-mask"]),
    ],
    ids=lambda c: "-".join(c[:2]),
)
def test_a_device_that_is_not_there_is_said_before_any_work(
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [*command, "--out", "out.png", "--device", "cuda"]
    hide_cuda(monkeypatch)
    line = complaint(capsys, command)
    assert line.startswith("thalweg: --device cuda: this installation was built without CUDA: pip install")
    monkeypatch.setitem(sys.modules, "thalweg._cuda", DriverWithoutDevice)
    assert complaint(capsys, command).startswith("thalweg: --device cuda: no NVIDIA GPU is visible")
    assert not list(tmp_path.iterdir())


def test_a_device_that_fails_at_work_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cuda: Any
) -> None:
    def fail(error: Exception) -> None:
        def run(*_: Any) -> None:
            raise error

        monkeypatch.setattr("thalweg.cli.arguments.info", run)

    fail(cuda.Error("CUDA: an illegal memory access was encountered"))
    assert main(["info"]) == 1
    assert capsys.readouterr().err == "thalweg: CUDA: an illegal memory access was encountered\n"
    fail(RuntimeError("a fault of ours"))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(["info"])


def test_an_unknown_device_is_a_bad_option_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["learn", "sparse-coding", "--device", "gpu"])
    assert ended.value.code == 2
    assert "argument --device: invalid choice: 'gpu'" in capsys.readouterr().err


def test_a_run_names_its_device(finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert json.loads((finished / "metrics.json").read_text())["builds"][-1]["device"] == "cpu"
    assert "device cpu" in (finished / "report.html").read_text()
    assert main(["show", str(finished / "model.safetensors"), "--out", str(tmp_path / "a.png")]) == 0
    assert re.search(r"^build .*, cpu(,|$)", capsys.readouterr().out, re.M)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "t.png"
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16))
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def test_sparse_coding_on_the_device(
    cuda: object, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["learn", "sparse-coding", str(tiny), *TINY, "--out"]
    assert main([*command, str(tmp_path / "cpu")]) == 0
    taken = devices_of_kernels(monkeypatch)
    assert main([*command, str(tmp_path / "cuda"), "--device", "cuda"]) == 0
    assert taken == {"cuda"}
    on_host, there = (state(tmp_path / name)["components_"] for name in ("cpu", "cuda"))
    np.testing.assert_allclose(there, on_host, atol=0.02)  # rows are solved to a gap of 1e-3
    metrics = json.loads((tmp_path / "cuda" / "metrics.json").read_text())
    assert metrics["builds"][-1]["device"].startswith("cuda (")
    assert metrics["held_out"]["worst_gap"] <= metrics["held_out"]["tolerance"]
    assert "device cuda (" in (tmp_path / "cuda" / "report.html").read_text()


def test_what_a_device_has_learnt_is_used_without_one(
    cuda: object,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = str(tmp_path / "model.safetensors")
    learn_here = ["learn", "sparse-coding", "--out", str(tmp_path), "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(Failing, "error", KeyboardInterrupt(), raising=False)
        patch.setattr(learn, "_Recorder", Failing)
        assert main([*learn_here, str(tiny), *TINY, "--batch-size", "5", "--device", "cuda"]) == 130
    assert f"--out {tmp_path} --resume --device cuda" in capsys.readouterr().err
    hide_cuda(monkeypatch)
    assert main(["show", path, "--out", str(tmp_path / "atoms.png")]) == 0
    codes = ["--out", str(tmp_path / "codes.npz"), "--quiet", "--tol", "1e-6"]
    assert main(["encode", path, str(tiny), *codes]) == 0
    assert main(["reconstruct", codes[1], "--model", path, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main([*learn_here, "--resume"]) == 0
    assert "note: the run was begun with another build (device cuda (" in capsys.readouterr().err
    model = load_model(path)
    assert (model.n_steps_, model.device) == (8, "cpu")


def test_encode_on_the_device(
    cuda: object, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["learn", "sparse-coding", str(tiny), *TINY, "--out", str(tmp_path)]) == 0
    encode = ["encode", str(tmp_path / "model.safetensors"), str(tiny), "--tol", "1e-6", "--step", "3"]
    assert main([*encode, "--out", str(tmp_path / "cpu.npz")]) == 0
    taken = devices_of_kernels(monkeypatch)
    assert main([*encode, "--out", str(tmp_path / "cuda.npz"), "--device", "cuda"]) == 0
    assert taken == {"cuda"}
    on_host, there = (scipy.sparse.load_npz(tmp_path / f"{name}.npz").toarray() for name in ("cpu", "cuda"))
    assert on_host.any()
    np.testing.assert_allclose(there, on_host, atol=1e-2)


def all_actions(command: argparse.ArgumentParser) -> list[argparse.Action]:
    found = []
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found += all_actions(sub)
        else:
            found.append(action)
    return found


def test_every_option_has_a_help_text() -> None:
    actions = all_actions(parser())
    assert len(actions) > 30
    assert [a.option_strings or a.dest for a in actions if not a.help] == []


@pytest.mark.parametrize(
    "command",
    [["-m", "thalweg"], ["-c", "import sys; from thalweg.__main__ import main; sys.exit(main())"]],
    ids=["module", "script"],
)
def test_ctrl_c_while_the_command_is_imported(tmp_path: Path, command: list[str]) -> None:
    # A NumPy in whose import Ctrl-C is pressed, in the place of the real one.
    source = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(10)\n"
    (tmp_path / "numpy.py").write_text(source)
    package = Path(thalweg.__file__).parents[1]
    path = os.pathsep.join([str(tmp_path), str(package)])
    done = subprocess.run(
        [sys.executable, *command, "show"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (130, "thalweg: interrupted\n")


def test_every_public_name_is_found_and_no_other() -> None:
    names: dict[str, object] = {}
    exec("from thalweg import *", names)
    assert set(thalweg.__all__) <= names.keys()
    assert set(thalweg.__all__) <= set(dir(thalweg))
    with pytest.raises(AttributeError, match="'thalweg' has no attribute 'no_such_name'"):
        thalweg.no_such_name  # noqa: B018


def test_the_command_of_the_package_exists() -> None:
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
    module, function = re.search(r'^thalweg = "([\w.]+):(\w+)"$', text, re.M).groups()
    assert callable(getattr(importlib.import_module(module), function))

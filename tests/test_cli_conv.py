"""`thalweg learn conv-sparse-coding` and `learn conv-autoencoder`: results, Ctrl-C, resume, wrong inputs."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from command_line import (
    assert_same_state,
    complaint,
    errors_of_sigint,
    hide_cuda,
    metrics_of,
    photograph,
    state,
)
from thalweg import datasets
from thalweg.cli import convolutional_images, convolutional_results, learn_convolutional, main, page
from thalweg.cli.convolutional_images import Photographs, Preprocessing, images_of
from thalweg.cli.convolutional_model import ConvolutionalModel
from thalweg.persistence import load_model

CODING, AUTOENCODER = COMMANDS = ("conv-sparse-coding", "conv-autoencoder")
RESULTS = {"model.safetensors", "filters.png", "metrics.json", "report.html"}
SMALL = ["--n-components", "6", "--filter-size", "5", "--quiet"]
SHORT = {CODING: ["--epochs", "4"], AUTOENCODER: ["--epochs", "3", "--batch-size", "2"]}
STEPS = {CODING: 12, AUTOENCODER: 18}  # of three photographs: 3 a pass, 12 crops in batches of 2
INTERRUPTED = 5


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        photograph(i).save(folder / f"p{i}.png")
    return folder


def command(name: str, out: Path, *rest: object) -> list[str]:
    return [str(a) for a in ("learn", name, "--out", out, *SMALL, *SHORT[name], *rest)]


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each model, with all its pictures drawn."""
    outs = {name: tmp_path_factory.mktemp("results") / "run" for name in COMMANDS}
    for name, out in outs.items():
        assert main(command(name, out, photos)) == 0
    return outs


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of a small run's time; those of `finished`, which is made before this, are drawn."""
    monkeypatch.setattr(page, "figure", lambda draw, words: f"<picture>{words}</picture>")


def held_out(out: Path, name: str) -> tuple[object, list[np.ndarray]]:
    """The learner, and the strips that the run holds out, made again."""
    model = ConvolutionalModel.load(out / "model.safetensors", name)
    return model.learner, images_of(model.run, model.preprocessing).held_out


@pytest.mark.parametrize("name", COMMANDS)
def test_learning_leaves_all_results(finished: dict[str, Path], name: str) -> None:
    out = finished[name]
    assert {p.name for p in out.iterdir()} == RESULTS
    metrics = metrics_of(out)
    assert metrics["finished"] is True
    assert metrics["n_steps"] == STEPS[name]
    history = metrics["history"]
    assert history["step"] == list(range(1, STEPS[name] + 1))
    assert np.mean(history["objective"][-3:]) < np.mean(history["objective"][:3])
    assert set(metrics["psnr"]) == {"p0.png", "p1.png", "p2.png"}
    for photo, decibels in metrics["psnr"].items():
        assert decibels > metrics["psnr_without_codes"][photo] + 1
    with Image.open(out / "filters.png") as picture:
        assert picture.width > 500


@pytest.mark.parametrize("name", COMMANDS)
def test_the_report_needs_nothing_else(finished: dict[str, Path], name: str) -> None:
    text = (finished[name] / "report.html").read_text()
    sources = re.findall(r'(?:src|srcset|href)="([^"]{0,40})', text)
    # Filters; figures for light and dark paper; photographs and their reconstructions.
    assert len(sources) == {CODING: 1 + 3 * 2 + 3 * 2, AUTOENCODER: 2 + 2 * 2 + 3 * 2}[name]
    assert all(s.startswith("data:image/") for s in sources)
    assert "://" not in text  # a colon is no digit of base64, as pictures are
    assert "<script" not in text
    of_model = {
        CODING: ["Objective over time", "Optimality gaps"],
        AUTOENCODER: ["Parts of the loss over time", "How well the encoder predicts"],
    }
    for title in ("Filters", *of_model[name], "How often each filter", "Originals and rec", "Settings"):
        assert f"<h2>{title}" in text
    assert "low frequencies removed (weight 5), local contrast normalised, divided by one scale" in text
    assert "low frequencies and local means and contrasts are added back" in text
    assert "most used first" in text


def test_the_figures_of_held_out_strips_are_true(finished: dict[str, Path]) -> None:
    learner, strips = held_out(finished[CODING], CODING)
    assert [strip.shape for strip in strips] == [(1, 40, 10)] * 3
    codes = learner.transform(strips)
    back = learner.inverse_transform(codes)
    n_pixels, found = 3 * 400, metrics_of(finished[CODING])["held_out"]
    errors = sum(np.square(x - y).sum() for x, y in zip(strips, back))
    penalty = learner.alpha * sum(np.abs(z).sum() for z in codes)
    assert found["n_strips"] == 3
    assert found["objective"] == pytest.approx((0.5 * errors + penalty) / n_pixels, rel=1e-4)
    assert found["explained"] == pytest.approx(1 - errors / sum(np.square(x).sum() for x in strips), rel=1e-4)
    assert found["nonzeros_per_pixel"] == pytest.approx(
        sum(np.count_nonzero(z) for z in codes) / n_pixels, rel=1e-9
    )
    assert found["worst_gap"] <= found["tolerance"]


def test_the_encoder_is_compared_with_the_best_codes(finished: dict[str, Path]) -> None:
    learner, strips = held_out(finished[AUTOENCODER], AUTOENCODER)
    found = metrics_of(finished[AUTOENCODER])["held_out"]
    for name, exact in (("encoder", False), ("exact", True)):
        codes, figures = learner.transform(strips, exact=exact), found[name]
        expected = learner.energy(strips, codes).sum() / (3 * 400)
        assert figures["energy"] == pytest.approx(expected, rel=1e-6)
        parts = figures["reconstruction"] + figures["sparsity"] + figures["prediction"]
        assert figures["energy"] == pytest.approx(parts, rel=1e-4)
    assert found["exact"]["energy"] < found["encoder"]["energy"]
    assert found["exact"]["energy"] < found["no_codes"]
    assert found["encoder"]["prediction"] == 0
    last = {name: values[-1] for name, values in metrics_of(finished[AUTOENCODER])["history"].items()}
    assert last["objective"] == pytest.approx(
        last["reconstruction"] + last["sparsity"] + last["prediction"], rel=1e-6
    )


@pytest.mark.parametrize("color", [False, True], ids=["gray", "color"])
@pytest.mark.parametrize("contrast", [False, True], ids=["", "contrast"])
@pytest.mark.parametrize("low_pass", [0.0, 5.0])
def test_preprocessing_can_be_undone(color: bool, contrast: bool, low_pass: float) -> None:
    preprocessing = Preprocessing(color, "float64", low_pass, contrast, scale=0.3)
    values = np.random.default_rng(0).random((12, 15, 3) if color else (12, 15))
    details = preprocessing.details(values)
    assert details.image.shape == ((3 if color else 1), 12, 15)
    assert np.allclose(preprocessing.photograph(details), values, atol=1e-12)


def test_what_is_learnt_from_has_one_scale_and_no_pixel_of_what_is_held_out(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"filter_size": 5, "color": False, "max_side": 512, "dtype": "float64"}
    run = {"options": options, "photographs": [str(p) for p in datasets.find_images(photos)]}
    preprocessing = Preprocessing(False, "float64", 5.0, True)
    data = images_of(run, preprocessing)
    assert [image.shape for image in data.learnt] == [(1, 40, 46)] * 3
    assert np.mean([np.square(image).mean() for image in data.learnt]) == pytest.approx(1)
    before = [image.copy() for image in data.learnt]
    part = convolutional_images.regions
    monkeypatch.setattr(
        convolutional_images, "regions", lambda image, size: (part(image, size)[0], 0 * part(image, size)[1])
    )
    again = images_of({"options": options, "photographs": run["photographs"]}, preprocessing)
    assert all(np.array_equal(a, b) for a, b in zip(before, again.learnt))


def test_what_memory_is_not_set_aside_for_is_read_again(
    finished: dict[str, Path], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Photographs(datasets.find_images(photos), *(settings := read_settings(finished)))
    images = list(kept)
    monkeypatch.setattr(convolutional_images, "_KEPT_BYTES", 8000)  # of images of 7360 bytes
    few = Photographs(datasets.find_images(photos), *settings)
    assert all(np.array_equal(a, b) for a, b in zip(images, few, strict=True))
    assert (len(kept._kept), len(few._kept)) == (3, 1)
    assert main(command(CODING, tmp_path, photos)) == 0
    assert_same_state(finished[CODING], tmp_path)


def read_settings(finished: dict[str, Path]) -> tuple[Preprocessing, dict]:
    model = ConvolutionalModel.load(finished[CODING] / "model.safetensors", CODING)
    return model.preprocessing, model.run["options"]


def test_a_photograph_that_disappears_is_said(
    finished: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_text("no image any more")
    photographs = Photographs([tmp_path / "a.png"], *read_settings(finished))
    with pytest.warns(UserWarning, match="cannot be read"), pytest.raises(ValueError, match="no longer be"):
        photographs[0]


class Interrupting(learn_convolutional._Recorder):
    """Presses Ctrl-C after some steps."""

    def __call__(self, step: dict[str, object]) -> None:
        super().__call__(step)
        if self.model.learner.n_steps_ == INTERRUPTED:
            raise KeyboardInterrupt


def interrupted_run(name: str, photos: Path, out: Path, *options: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn_convolutional, "_Recorder", Interrupting)
        return main(command(name, out, photos, *options))


@pytest.mark.parametrize("name", COMMANDS)
def test_resume_goes_on_bit_for_bit(
    photos: Path, finished: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert interrupted_run(name, photos, tmp_path, "--threads", 1) == 130
    assert f"thalweg learn {name} --out {tmp_path} --resume" in capsys.readouterr().err
    assert f"was interrupted after {INTERRUPTED} steps" in (tmp_path / "report.html").read_text()
    assert metrics_of(tmp_path)["n_steps"] == INTERRUPTED
    resume = ["learn", name, "--out", str(tmp_path), "--resume", "--quiet"]
    assert main([*resume, "--threads", "2"]) == 0
    assert_same_state(finished[name], tmp_path)
    histories = [metrics_of(out)["history"]["objective"] for out in (finished[name], tmp_path)]
    assert histories[0] == histories[1]
    assert "interrupted" not in (tmp_path / "report.html").read_text()
    assert main(resume) == 0
    assert_same_state(finished[name], tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_run_looks_at_few_of_the_pixels_held_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(convolutional_results, "_PIXELS_WHEN_INTERRUPTED", 500)
    assert interrupted_run(name, photos, tmp_path) == 130
    figures = metrics_of(tmp_path)["held_out"]
    assert (figures["n_strips"], figures["n_pixels"], figures["n_pixels_left_out"]) == (2, 500, 700)
    assert "those of 500 of its 1,200 pixels" in (tmp_path / "report.html").read_text()
    assert main(["learn", name, "--out", str(tmp_path), "--resume", "--quiet"]) == 0
    figures = metrics_of(tmp_path)["held_out"]
    assert (figures["n_strips"], figures["n_pixels"], figures["n_pixels_left_out"]) == (3, 1200, 0)
    assert "of its" not in (tmp_path / "report.html").read_text()


def test_first_pixels_keep_room_for_filters() -> None:
    strips = [np.zeros((1, 30, 10)), np.zeros((1, 400, 600)), np.zeros((1, 9, 9))]
    shapes = [piece.shape for piece in convolutional_results.first_pixels(strips, 1000, 18)]
    assert shapes == [(1, 30, 10), (1, 18, 39)]
    assert [piece.shape for piece in convolutional_results.first_pixels(strips, 10**6, 18)] == [
        strip.shape for strip in strips
    ]


def test_resume_of_a_run_at_once(photos: Path, tmp_path: Path) -> None:
    at_once = ("--batch-size", "all", "--epochs", 6)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert main(command(CODING, unbroken, photos, *at_once)) == 0
    metrics, n_pixels = metrics_of(unbroken), 3 * 40 * 46
    assert metrics["n_steps"] == 6
    assert np.allclose(metrics["history"]["objective"], state(unbroken)["error_"] / n_pixels)
    assert interrupted_run(CODING, photos, broken, *at_once) == 130
    assert main(["learn", CODING, "--out", str(broken), "--resume", "--quiet"]) == 0
    assert_same_state(unbroken, broken)


@pytest.mark.parametrize("name", COMMANDS)
def test_more_epochs_can_be_learnt(
    photos: Path, finished: dict[str, Path], tmp_path: Path, name: str
) -> None:
    assert main(command(name, tmp_path, photos, "--epochs", 2)) == 0
    epochs = SHORT[name][1]
    assert main(["learn", name, "--out", str(tmp_path), "--resume", "--epochs", epochs, "--quiet"]) == 0
    assert_same_state(finished[name], tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_is_not_lost(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    interrupted_run(name, photos, tmp_path)
    again = command(name, tmp_path, photos)
    assert f"an unfinished run ({INTERRUPTED} steps): go on with --resume, start anew" in complaint(
        capsys, again
    )
    assert "--alpha 0.7: the run" in complaint(capsys, [*again, "--resume", "--alpha", "0.7"])
    one = command(name, tmp_path, photos / "p0.png", "--resume")
    assert "other photographs" in complaint(capsys, one)
    assert main([*again, "--overwrite"]) == 0
    assert "a finished run" in complaint(capsys, again)
    other = COMMANDS[name == CODING]
    line = complaint(capsys, command(other, tmp_path, photos))
    assert f"of `thalweg learn {name}`, not learnt by `thalweg learn {other}`" in line
    assert "--overwrite replaces it" in line


def test_changed_photographs_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph(0).save(tmp_path / "a.png")
    interrupted_run(CODING, tmp_path / "a.png", tmp_path / "run", "--epochs", 7)
    photograph(1).save(tmp_path / "a.png")
    resume = ["learn", CODING, "--out", tmp_path / "run", "--resume", "--quiet"]
    assert "have changed" in complaint(capsys, resume)


def test_sigint_keeps_what_was_learnt(photos: Path, tmp_path: Path) -> None:
    arguments = [a for a in command(CODING, tmp_path, photos, "--epochs", 1_000_000) if a != "--quiet"]
    assert "objective" in errors_of_sigint(arguments, tmp_path)  # in the progress bar


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs as gray, palette, 16-bit and alpha-channel files, of unequal sizes."""
    folder = tmp_path_factory.mktemp("odd")
    photograph(0).convert("L").save(folder / "gray.png")
    photograph(1, (36, 50, 3)).convert("P").save(folder / "palette.png")
    deep = np.asarray(photograph(2).convert("L"), np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    photograph(3, (44, 40, 3)).convert("RGBA").save(folder / "alpha.png")
    return folder


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", ["gray", "color"])
def test_files_of_all_kinds(odd_files: Path, tmp_path: Path, name: str, kind: str) -> None:
    assert main(command(name, tmp_path, odd_files, f"--{kind}", "--epochs", 1)) == 0
    metrics = metrics_of(tmp_path)
    assert len(metrics["photographs"]) == 4
    channels = {"gray": 1, "color": 3}[kind]
    assert load_model(tmp_path / "model.safetensors").components_.shape == (6, channels, 5, 5)
    with Image.open(tmp_path / "filters.png") as picture:
        assert picture.mode == {"gray": "L", "color": "RGB"}[kind]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (CODING, ["--low-pass", "0", "--no-contrast-normalization", "--alpha", "0.2"]),
        (CODING, ["--boundary", "circular", "--no-zero-mean", "--dtype", "float64", "--batch-size", "2"]),
        (AUTOENCODER, ["--nonlinearity", "tanh", "--boundary", "same", "--dtype", "float64"]),
    ],
    ids=lambda o: "" if isinstance(o, str) else "".join(o),
)
def test_options(photos: Path, tmp_path: Path, name: str, options: list[str]) -> None:
    assert main(command(name, tmp_path, photos, "--epochs", 1, *options)) == 0
    learner = load_model(tmp_path / "model.safetensors")
    assert learner.components_.dtype == ("float64" if "float64" in options else "float32")
    if "--boundary" in options:
        assert learner.boundary == options[options.index("--boundary") + 1]
    text = (tmp_path / "report.html").read_text()
    assert ("are added back" in text) is ("--low-pass" not in options)
    if name == CODING:
        sums = np.abs(learner.components_.sum(axis=(2, 3)))
        assert (sums.max() > 0.1) == ("--no-zero-mean" in options)


@pytest.mark.parametrize("name", COMMANDS)
def test_show(
    finished: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    picture = tmp_path / "picture.png"
    assert main(["show", str(finished[name] / "model.safetensors"), "--out", str(picture)]) == 0
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["filters"] == "6 of 5 x 5 pixels, gray, float32"
    assert lines["photographs"] == "3"
    assert lines["preprocessing"].startswith("low frequencies removed")
    assert f"{STEPS[name]} steps" in lines["learnt"]
    with Image.open(picture) as image:
        assert image.width > 500


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_inputs_end_in_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "run"
    assert "no such file" in complaint(capsys, command(name, out, tmp_path / "none.png"))
    (tmp_path / "empty").mkdir()
    assert "no PNG, JPEG or TIFF image" in complaint(capsys, command(name, out, tmp_path / "empty"))
    assert "there is no" in complaint(capsys, command(name, tmp_path / "new", "--resume"))
    refused = {CODING: "--alpha", AUTOENCODER: "--prediction-weight"}[name]
    if name == CODING:
        line = complaint(capsys, command(name, out, photos, "--filter-size", 1))
        assert line.endswith("add --no-zero-mean")
    assert not (out / "model.safetensors").exists()
    for option, value in (
        ("--filter-size", "0"),
        ("--alpha", "nan"),
        ("--batch-size", "none"),
        (refused, "0"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(command(name, out, photos, option, value))
        assert stop.value.code == 2
        assert f"argument {option}: expected" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_photographs_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    photograph(0, (4, 30)).save(tmp_path / "low.png")
    assert main(command(name, tmp_path / "run", tmp_path / "low.png")) == 2
    skipped, said = capsys.readouterr().err.splitlines()
    assert "low.png: skipped, for it is smaller than a filter" in skipped
    assert "none of the photographs can be read and is as large as a filter" in said
    (tmp_path / "spoiled.png").write_bytes(b"no image")
    photograph(1).save(tmp_path / "good.png")
    assert main(command(name, tmp_path / "run", tmp_path)) == 0
    assert len(metrics_of(tmp_path / "run")["photographs"]) == 1
    assert "spoiled.png: skipped" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_no_figures_of_held_out_strips_where_none_can_be_spared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    photograph(0, (80, 20)).save(tmp_path / "narrow.png")
    out = tmp_path / "run"
    assert main(command(name, out, tmp_path / "narrow.png")) == 0
    assert "warning: no photograph is as wide as six filters" in capsys.readouterr().err
    assert "held_out" not in metrics_of(out)
    text = (out / "report.html").read_text()
    for words in ("held-out", "most used first", "How often", "Optimality gaps", "How well the encoder"):
        assert words not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_a_blank_photograph(tmp_path: Path, name: str) -> None:
    Image.new("L", (40, 30), 128).save(tmp_path / "blank.png")
    assert main(command(name, tmp_path / "run", tmp_path / "blank.png")) == 0
    model = ConvolutionalModel.load(tmp_path / "run" / "model.safetensors", name)
    assert np.isfinite(model.learner.components_).all()
    assert metrics_of(tmp_path / "run")["psnr"] == {"blank.png": None}  # perfect


def test_the_sample_photographs_are_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    learnt = SimpleNamespace(files=None)

    def note(job: object, args: object) -> int:
        model = job.new({}, args.inputs)
        learnt.files = images_of(model.run, model.preprocessing).files
        return 0

    monkeypatch.setattr(learn_convolutional, "learn", note)
    assert main(["learn", CODING]) == 0
    assert [file.name for file in learnt.files] == ["china.jpg", "flower.jpg"]


# --- devices

TINY = ["--n-components", "2", "--filter-size", "3", "--epochs", "1", "--quiet"]


@pytest.mark.parametrize("name", COMMANDS)
def test_learning_on_the_device(
    cuda: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    learn = ["learn", name, str(tmp_path / "noise.png"), *TINY, "--out"]
    assert main([*learn, str(tmp_path / "cpu")]) == 0
    assert main([*learn, str(tmp_path / "cuda"), "--device", "cuda"]) == 0
    found = metrics_of(tmp_path / "cuda")
    assert found["builds"][-1]["device"].startswith("cuda (")
    assert "held_out" in found
    on_host, there = (state(tmp_path / place)["components_"] for place in ("cpu", "cuda"))
    np.testing.assert_allclose(there, on_host, atol=0.05)
    assert load_model(tmp_path / "cuda" / "model.safetensors").device == "cuda"
    hide_cuda(monkeypatch)
    picture = str(tmp_path / "filters.png")
    assert main(["show", str(tmp_path / "cuda" / "model.safetensors"), "--out", picture]) == 0
    assert main(["learn", name, "--out", str(tmp_path / "cuda"), "--resume", "--epochs", "2", "--quiet"]) == 0
    assert [build["device"] for build in metrics_of(tmp_path / "cuda")["builds"]][1:] == ["cpu"]

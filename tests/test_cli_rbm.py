"""`thalweg learn rbm` and `learn gaussian-rbm`: results, likelihoods, Ctrl-C, resume, and wrong inputs."""

from __future__ import annotations

import gzip
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import logsumexp
from scipy.stats import norm

from command_line import (
    assert_same_state,
    complaint,
    errors_of_sigint,
    hide_cuda,
    metrics_of,
    photograph,
)
from thalweg import datasets
from thalweg.cli import learn_rbm, main, page, rbm_data, rbm_metrics
from thalweg.cli.rbm_data import Rows
from thalweg.cli.rbm_model import RbmModel
from thalweg.persistence import load_model_and_extra, save_model

COMMANDS = ("rbm", "gaussian-rbm")
RESULTS = {"model.safetensors", "filters.png", "samples.png", "metrics.json", "report.html"}
SMALL = [
    *("--n-components", "8", "--batch-size", "150", "--epochs", "3", "--learning-rate", "0.1"),
    *("--ais-temperatures", "100", "--threads", "1", "--quiet"),
]
PATCHES = ["--patch-size", "4", "--n-patches", "300", "--batch-size", "50"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(2):
        photograph(i).save(folder / f"p{i}.png")
    return folder


def command(name: str, photos: Path, out: Path, *options: object) -> list[str]:
    """The digits for one machine, patches of the photographs for the other."""
    data = [] if name == "rbm" else [photos, *PATCHES]
    return [str(a) for a in ("learn", name, "--out", out, *SMALL, *data, *options)]


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each machine, with all its pictures drawn."""
    outs = {name: tmp_path_factory.mktemp("results") / "run" for name in COMMANDS}
    for name, out in outs.items():
        assert main(command(name, photos, out)) == 0
    return outs


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of a small run's time; those of `finished`, which is made before this, are drawn."""
    monkeypatch.setattr(page, "figure", lambda draw, words: f"<picture>{words}</picture>")
    monkeypatch.setattr(learn_rbm, "figure_png", lambda figure: b"a figure")


@pytest.mark.parametrize("name", COMMANDS)
def test_learning_leaves_all_results(finished: dict[str, Path], name: str) -> None:
    out = finished[name]
    assert {p.name for p in out.iterdir()} == RESULTS
    metrics = metrics_of(out)
    assert metrics["finished"] is True
    steps = 3 * -(-metrics["n_learnt"] // metrics["options"]["batch_size"])
    assert metrics["n_steps"] == steps
    assert metrics["history"]["step"] == [1, *(steps * k // 3 for k in (1, 2, 3))]
    assert metrics["history"]["epoch"][1:] == [1, 2, 3]
    for picture in ("filters.png", "samples.png"):
        with Image.open(out / picture) as image:
            assert image.width > 500


def test_digits_are_learnt(tmp_path: Path) -> None:
    rest = ("--n-components", "16", "--epochs", "60")
    assert main(command("rbm", tmp_path, tmp_path, *rest)) == 0
    metrics = metrics_of(tmp_path)
    alone = metrics["independent_pixels"]["held_out"]
    assert metrics["log_likelihood"]["exact"]["held_out"] > alone + 1
    assert metrics["reconstruction"]["held_out_explained"] > 0.2


@pytest.mark.parametrize("name", COMMANDS)
def test_independent_pixels(finished: dict[str, Path], photos: Path, name: str) -> None:
    rows = all_rows(name, photos)
    found = metrics_of(finished[name])["independent_pixels"]
    mean, spread = rows.learnt.mean(axis=0, dtype=float), rows.learnt.std(axis=0, dtype=float)
    for part, X in (("learnt", rows.learnt), ("held_out", rows.held_out)):
        if name == "rbm":
            rate = np.clip(mean, 1 / 1619, 1618 / 1619)
            expected = (X * np.log(rate) + (1 - X) * np.log(1 - rate)).sum(axis=1).mean()
        else:
            expected = norm.logpdf(X, mean, spread).sum(axis=1).mean()
        assert found[part] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_report_needs_nothing_else(finished: dict[str, Path], name: str) -> None:
    text = (finished[name] / "report.html").read_text()
    sources = re.findall(r'(?:src|srcset|href)="([^"]{0,40})', text)
    assert len(sources) == 1 + 2 + 2 + 3 * 2 + 2  # filters, chains, pair, curves, histogram
    assert all(s.startswith("data:image/") for s in sources)
    assert "://" not in text  # a colon is no digit of base64, as pictures are
    assert "<script" not in text
    for title in ("Filters", "Samples along", "Log-likelihood", "Reconstructions", "Over the ep", "Settings"):
        assert f"<h2>{title}" in text


def all_rows(name: str, photos: Path) -> Rows:
    """What the run learns from and holds out, made again."""
    if name == "rbm":
        return rbm_data.gray_rows(RbmModel("rbm", None, (8, 8), {"source": DIGITS, **OPTIONS}))
    source = {"kind": rbm_data.IMAGES, "paths": [str(p) for p in datasets.find_images(photos)]}
    return rbm_data.whitened_rows(RbmModel("gaussian-rbm", None, (4, 4), {"source": source, **OPTIONS}))


OPTIONS = {
    "options": {
        **{"dtype": "float32", "binarize": "none", "seed": 0, "max_side": 1024, "patch_size": 4},
        **{"n_patches": 300, "whitening_eps": learn_rbm.GAUSSIAN_DEFAULTS["whitening_eps"]},
    }
}
DIGITS = {"kind": rbm_data.DIGITS, "paths": None}


def log_joint(name: str, learner: object, X: np.ndarray | None) -> np.ndarray:
    """log of the unnormalised p(x), or where X is None p(h), of all states of the hidden units."""
    W, a, b = (
        np.asarray(v, np.float64)
        for v in (learner.components_, learner.intercept_visible_, learner.intercept_hidden_)
    )
    states = np.array(list(product([0.0, 1.0], repeat=len(W))))
    if name == "rbm":
        if X is None:
            return states @ b + np.logaddexp(0, states @ W + a).sum(axis=1)
        return X @ a + np.logaddexp(0, X @ W.T + b).sum(axis=1)
    precision = 1 / np.asarray(learner.sigma_, np.float64) ** 2
    if X is not None:
        return -0.5 * (X - a) ** 2 @ precision + np.logaddexp(0, X * precision @ W.T + b).sum(axis=1)
    shifted = a + states @ W
    constant = 0.5 * np.log(2 * np.pi / precision).sum()
    return states @ b + 0.5 * (shifted**2 - a**2) @ precision + constant


@pytest.mark.parametrize("name", COMMANDS)
def test_the_likelihood_of_a_small_machine_is_exact(
    finished: dict[str, Path], photos: Path, name: str
) -> None:
    learner = load_model_and_extra(finished[name] / "model.safetensors")[0]
    found = metrics_of(finished[name])["log_likelihood"]
    assert list(found) == ["exact"]
    log_z = logsumexp(log_joint(name, learner, None))
    assert found["exact"]["log_z"] == pytest.approx(log_z, abs=1e-3)
    rows = all_rows(name, photos)
    for part, X in (("learnt", rows.learnt), ("held_out", rows.held_out)):
        expected = log_joint(name, learner, np.asarray(X, np.float64)).mean() - log_z
        assert found["exact"][part] == pytest.approx(expected, abs=1e-3), part
    assert "by enumeration" in (finished[name] / "report.html").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_likelihood_of_a_larger_machine_is_estimated_from_both_sides(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(rbm_metrics, "MOST_ENUMERATED", 7)
    assert main(command(name, photos, tmp_path, "--ais-temperatures", "500")) == 0
    found = metrics_of(tmp_path)["log_likelihood"]
    learner = load_model_and_extra(tmp_path / "model.safetensors")[0]
    log_z = logsumexp(log_joint(name, learner, None))
    assert set(found) == {"ais", "reverse_ais"}
    for estimate in found.values():
        assert estimate["std_error"] > 0
        assert estimate["log_z"] == pytest.approx(log_z, abs=5 * estimate["std_error"] + 0.02)
    text = (tmp_path / "report.html").read_text()
    assert f"± {found['ais']['std_error']:.2g}" in text
    assert "The error bars are one standard error" in text


def test_estimates_that_disagree_are_said_to() -> None:
    from thalweg.cli.report_rbm import _on_the_estimate

    apart = {"ais": {"log_z": 100.0}, "reverse_ais": {"log_z": 103.5}}
    assert "3.50 nats apart: too far to trust either" in _on_the_estimate(apart)
    assert "too far" not in _on_the_estimate({"ais": {"log_z": 100.0}, "reverse_ais": {"log_z": 100.5}})


def test_reconstructions_and_free_energies_are_those_of_the_rows(
    finished: dict[str, Path], photos: Path
) -> None:
    for name, out in finished.items():
        learner, metrics, rows = state_and_metrics(out, name, photos)
        for part, X in (("learnt", rows.learnt), ("held_out", rows.held_out)):
            error = np.mean((X - learner.reconstruct(X)) ** 2)
            assert metrics["reconstruction"][f"{part}_error"] == pytest.approx(error, rel=1e-4)
        last = RbmModel.load(out / "model.safetensors", name).history[-1]
        X = rows.held_out[np.linspace(0, len(rows.held_out) - 1, min(5000, len(rows.held_out))).astype(int)]
        expected = -log_joint(name, learner, np.asarray(X, np.float64)).mean()
        assert last.free_energy_held_out == pytest.approx(expected, abs=1e-3)


def state_and_metrics(out: Path, name: str, photos: Path) -> tuple:
    return load_model_and_extra(out / "model.safetensors")[0], metrics_of(out), all_rows(name, photos)


def test_a_tenth_of_the_digits_is_held_out_the_same_in_every_run(photos: Path) -> None:
    rows = all_rows("rbm", photos)
    assert (len(rows.learnt), len(rows.held_out)) == (1617, 180)
    together = np.concatenate([rows.learnt, rows.held_out])
    from sklearn.datasets import load_digits

    pixels = load_digits().data / 16
    assert np.array_equal(np.sort(together, axis=0), np.sort(pixels.astype(np.float32), axis=0))
    assert not np.array_equal(together, pixels)
    other = {"options": {**OPTIONS["options"], "seed": 5}}
    again = rbm_data.gray_rows(RbmModel("rbm", None, (8, 8), {"source": DIGITS, **other}))
    assert np.array_equal(again.held_out, rows.held_out)


def test_whitened_patches(photos: Path) -> None:
    source = {"kind": rbm_data.IMAGES, "paths": [str(p) for p in datasets.find_images(photos)]}
    options = {**OPTIONS["options"], "whitening_eps": 0.0, "n_patches": 1500}
    model = RbmModel("gaussian-rbm", None, (4, 4), {"source": source, "options": options})
    rows = rbm_data.whitened_rows(model)
    assert (len(rows.learnt), rows.held_out.shape[1]) == (1500, 16)
    assert np.abs(rows.learnt.mean(axis=1)).max() < 1e-3
    values = np.linalg.eigvalsh(np.cov(rows.learnt, rowvar=False, bias=True))
    assert np.allclose(values[1:], 1, atol=1e-2)
    assert values[0] < 1e-4  # the mean, which is removed


def write_mnist(folder: Path, n_train: int = 120, n_test: int = 40) -> None:
    rng = np.random.default_rng(0)
    for prefix, count in (("train", n_train), ("t10k", n_test)):
        pixels = rng.integers(256, size=(count, 28, 28)).astype(np.uint8)
        head = np.array([2051, count, 28, 28], ">u4").tobytes()
        with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(head + pixels.tobytes())
        labels = np.array([2049, count], ">u4").tobytes() + bytes(count)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)


def test_mnist_is_learnt_from_its_training_set_and_its_test_set_is_held_out(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    out = tmp_path / "run"
    assert main(["learn", "rbm", str(tmp_path), "--out", str(out), *SMALL]) == 0
    metrics = metrics_of(out)
    assert (metrics["source"], metrics["n_learnt"], metrics["n_held_out"]) == ("MNIST", 120, 40)
    learner = load_model_and_extra(out / "model.safetensors")[0]
    assert learner.components_.shape == (8, 784)
    X = datasets.load_mnist(tmp_path, split="test")[0]
    error = np.mean((X - learner.reconstruct(X)) ** 2)
    assert metrics["reconstruction"]["held_out_error"] == pytest.approx(error, rel=1e-4)


def test_gray_patches_of_images(photos: Path, tmp_path: Path) -> None:
    assert main(["learn", "rbm", str(photos), "--out", str(tmp_path), *SMALL, *PATCHES]) == 0
    metrics = metrics_of(tmp_path)
    assert (metrics["n_learnt"], metrics["names"]) == (300, ["p0.png", "p1.png"])
    assert load_model_and_extra(tmp_path / "model.safetensors")[0].components_.shape == (8, 16)
    assert "gray patches of 2 images" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_no_figures_of_held_out_rows_where_none_can_be_spared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    photograph(0, (80, 11)).save(tmp_path / "narrow.png")
    out = tmp_path / "run"
    rest = [*SMALL, *PATCHES, str(tmp_path / "narrow.png"), "--out", str(out)]
    assert main(["learn", name, *rest]) == 0
    assert "none can be held out" in capsys.readouterr().err
    metrics = metrics_of(out)
    assert metrics["n_held_out"] == 0
    assert set(metrics["history"]["free_energy_held_out"]) == {None}
    assert "held_out" not in metrics["log_likelihood"]["exact"]
    text = (out / "report.html").read_text()
    assert not re.search("held.out", text)
    assert "log-likelihood of training rows" in text


@pytest.mark.parametrize("how", ["threshold", "sample"])
def test_binary_pixels(how: str, photos: Path) -> None:
    gray = all_rows("rbm", photos)
    run = {"source": DIGITS, "options": {**OPTIONS["options"], "binarize": how}}
    rows, again = (rbm_data.gray_rows(RbmModel("rbm", None, (8, 8), {**run})) for _ in range(2))
    for part, shades in ((rows.learnt, gray.learnt), (rows.held_out, gray.held_out)):
        assert part.dtype == np.float32
        assert set(np.unique(part)) == {0.0, 1.0}
        if how == "threshold":
            assert np.array_equal(part, shades > 0.5)
        else:
            assert np.all(part[shades == 0] == 0)
            assert np.all(part[shades == 1] == 1)
            deviation = np.sqrt((shades * (1 - shades)).sum())
            assert abs(part.sum() - shades.sum()) < 4 * deviation
    assert np.array_equal(rows.learnt, again.learnt)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_run_twice_gives_the_same_bits(
    photos: Path, tmp_path: Path, finished: dict[str, Path], name: str
) -> None:
    assert main(command(name, photos, tmp_path, "--threads", "2")) == 0
    assert_same_state(tmp_path, finished[name])
    ours, theirs = metrics_of(tmp_path), metrics_of(finished[name])
    for part in ("history", "reconstruction", "log_likelihood"):
        assert ours[part] == theirs[part]
    assert (tmp_path / "filters.png").read_bytes() == (finished[name] / "filters.png").read_bytes()


def test_chains_start_from_noise_and_from_data(finished: dict[str, Path], photos: Path) -> None:
    for name, out in finished.items():
        model = RbmModel.load(out / "model.safetensors", name)
        rows = all_rows(name, photos)
        pictures, again = (rbm_metrics.chains(model, rows) for _ in range(2))
        assert pictures.shape == (8, len(rbm_metrics.SWEEPS), *model.shape)
        assert np.array_equal(pictures, again)
        starts = pictures[:, 0].reshape(8, -1)
        held_out = {row.astype(np.float32).tobytes() for row in rows.held_out}
        in_data = [row.astype(np.float32).tobytes() in held_out for row in starts]
        assert in_data == [False] * 4 + [True] * 4
        moved = np.abs(np.diff(pictures[:, 1:], axis=1)).max(axis=(2, 3)) > 0
        assert moved.mean() > 0.8
        if name == "rbm":
            assert 0 <= pictures.min() < pictures.max() <= 1


class Interrupting(learn_rbm._Recorder):
    """Presses Ctrl-C after seven steps."""

    def __call__(self, step: dict[str, object]) -> None:
        super().__call__(step)
        if step["i"] == 6:
            raise KeyboardInterrupt


def interrupted_run(name: str, photos: Path, out: Path, *options: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn_rbm, "_Recorder", Interrupting)
        return main(command(name, photos, out, *options))


@pytest.mark.parametrize("name", COMMANDS)
def test_resume_goes_on_bit_for_bit(
    photos: Path, finished: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert interrupted_run(name, photos, tmp_path, "--threads", "1") == 130
    assert f"thalweg learn {name} --out {tmp_path} --resume" in capsys.readouterr().err
    assert "was interrupted after 7 steps" in (tmp_path / "report.html").read_text()
    metrics = metrics_of(tmp_path)
    assert (metrics["finished"], metrics["n_steps"], metrics["history"]["step"][-1]) == (False, 7, 7)
    resume = ["learn", name, "--out", str(tmp_path), "--resume", "--quiet"]
    assert main([*resume, "--threads", "2"]) == 0
    assert_same_state(finished[name], tmp_path)
    assert metrics_of(tmp_path)["history"] == metrics_of(finished[name])["history"]
    assert metrics_of(tmp_path)["log_likelihood"] == metrics_of(finished[name])["log_likelihood"]
    assert "interrupted" not in (tmp_path / "report.html").read_text()
    assert main(resume) == 0
    assert_same_state(finished[name], tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_more_epochs_can_be_learnt(photos: Path, tmp_path: Path, name: str) -> None:
    longer, extended = tmp_path / "longer", tmp_path / "extended"
    # A schedule that looks at the number of epochs would differ from the start.
    assert main(command(name, photos, longer, "--schedule", "constant", "--epochs", "5")) == 0
    assert main(command(name, photos, extended, "--schedule", "constant", "--epochs", "2")) == 0
    assert main(["learn", name, "--out", str(extended), "--resume", "--epochs", "5", "--quiet"]) == 0
    assert_same_state(longer, extended)


class Failing(learn_rbm._Recorder):
    """Fails after seven steps."""

    error: Exception = FloatingPointError("no finite number")

    def __call__(self, step: dict[str, object]) -> None:
        super().__call__(step)
        if step["i"] == 6:
            raise self.error


@pytest.mark.parametrize("name", COMMANDS)
def test_an_error_keeps_what_was_learnt(
    photos: Path, finished: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn_rbm, "_Recorder", Failing)
        assert main(command(name, photos, tmp_path)) == 2
    kept, said = capsys.readouterr().err.splitlines()
    assert "an error after 7 steps" in kept
    assert said == "thalweg: no finite number"
    assert main(["learn", name, "--out", str(tmp_path), "--resume", "--quiet"]) == 0
    assert_same_state(finished[name], tmp_path)


def test_a_run_is_not_lost(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted_run("rbm", photos, tmp_path)
    again = command("rbm", photos, tmp_path)
    assert "an unfinished run (7 steps): go on with --resume, start anew" in complaint(capsys, again)
    assert "--learning-rate 0.7: the run" in complaint(capsys, [*again, "--resume", "--learning-rate", "0.7"])
    assert "--patch-size 4: the run" in complaint(capsys, [*again, "--resume", "--patch-size", "4"])
    assert "begun with other images" in complaint(capsys, [*again, "--resume", photos])
    assert main([*again, "--resume"]) == 0
    assert "a finished run (33 steps): go on with --resume and more --epochs" in complaint(capsys, again)
    assert "--epochs 2: the run" in complaint(capsys, [*again, "--resume", "--epochs", "2"])
    assert main([*again, "--overwrite", "--seed", "1"]) == 0
    assert metrics_of(tmp_path)["options"]["seed"] == 1


def test_changed_images_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mnist(tmp_path)
    out = tmp_path / "run"
    learn = ["learn", "rbm", str(tmp_path), "--out", str(out), *SMALL]
    assert main(learn) == 0
    write_mnist(tmp_path, n_train=121)
    assert "images, or how they decode, have changed" in complaint(capsys, [*learn, "--resume"])


def test_a_checkpoint_of_another_model_is_refused_and_both_are_named(
    photos: Path, finished: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sparse = [*("--patch-size", "4", "--n-components", "10", "--n-patches", "300", "--epochs", "1")]
    out = tmp_path / "sparse"
    assert main(["learn", "sparse-coding", str(photos), "--out", str(out), "--quiet", *sparse]) == 0
    runs = {
        "rbm": ("BernoulliRBM", finished["rbm"]),
        "gaussian-rbm": ("GaussianBernoulliRBM", finished["gaussian-rbm"]),
        "sparse-coding": ("MiniBatchDictionaryLearning", out),
    }
    for wanted in runs:
        for found, (kind, folder) in runs.items():
            if wanted == found:
                continue
            before = {p.name: p.read_bytes() for p in folder.iterdir()}
            names = f"holds a {kind} of `thalweg learn {found}`, not learnt by `thalweg learn {wanted}`"
            assert names in complaint(capsys, ["learn", wanted, "--out", folder, "--resume"])
            line = complaint(capsys, ["learn", wanted, "--out", folder])
            assert names in line
            assert "--overwrite replaces it" in line
            assert before == {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("name", COMMANDS)
def test_show_knows_them_and_codes_refuse_them(
    finished: dict[str, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    model, picture = finished[name] / "model.safetensors", tmp_path / "filters.png"
    assert main(["show", str(model), "--out", str(picture)]) == 0
    assert picture.read_bytes() == (finished[name] / "filters.png").read_bytes()
    printed = capsys.readouterr().out
    kind, size = {"rbm": ("BernoulliRBM", "8 x 8"), "gaussian-rbm": ("GaussianBernoulliRBM", "4 x 4")}[name]
    assert re.search(rf"^model +{kind}$", printed, re.M)
    assert re.search(rf"^visible units +{size} pixels, float32$", printed, re.M)
    assert re.search(r"^hidden units +8$", printed, re.M)
    refused = f"holds a {kind} of `thalweg learn {name}`, not learnt by `thalweg learn sparse-coding`"
    assert refused in complaint(capsys, ["encode", model, photos, "--out", tmp_path / "codes.npz"])
    learn = ["learn", "sparse-coding", photos, "--out", tmp_path / "run", "--quiet", "--patch-size", "4"]
    assert main([*map(str, learn), "--n-patches", "300", "--n-components", "9", "--epochs", "1"]) == 0
    codes = tmp_path / "codes.npz"
    dictionary = str(tmp_path / "run" / "model.safetensors")
    assert main(["encode", dictionary, str(photos), "--out", str(codes), "--quiet"]) == 0
    assert refused in complaint(capsys, ["reconstruct", codes, "--model", model, "--out", tmp_path / "x"])


def test_show_chooses_the_name_of_the_picture(
    finished: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["show", str(finished["rbm"] / "model.safetensors")]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["filters.png"]


def test_strong_filters_come_first() -> None:
    class Learner:
        components_ = np.array([[1.0, 0.0], [0.0, -3.0], [2.0, 0.0]])

    filters = RbmModel("rbm", Learner(), (1, 2)).filters()
    assert filters.tolist() == [[[0.0, -3.0]], [[2.0, 0.0]], [[1.0, 0.0]]]


OPTION_VALUES = {
    "rbm": [
        *(("loss", loss) for loss in ("cd", "fpcd", "pt", "nce")),
        *(("schedule", "constant"), ("schedule", "inverse"), ("momentum", 0.3), ("l2", 0.01)),
        *(("n_gibbs_steps", 2), ("n_chains", 7), ("centering", False), ("sample_hidden", True)),
        *(("init_visible", "zeros"), ("max_grad_norm", 2.0), ("learning_rate", 0.02)),
    ],
    "gaussian-rbm": [
        *(("loss", "cd"), ("loss", "score_matching"), ("sigma_type", "scalar"), ("learn_sigma", False)),
        *(("init_sigma", 0.8), ("sigma_learning_rate", 0.001)),
    ],
}


@pytest.mark.parametrize(
    ("name", "option", "value"), [(name, *pair) for name, pairs in OPTION_VALUES.items() for pair in pairs]
)
def test_options_reach_the_estimator(
    photos: Path, tmp_path: Path, name: str, option: str, value: object
) -> None:
    flag = option.replace("_", "-")
    given = [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}={value}"]
    assert main(command(name, photos, tmp_path, "--epochs", "1", *given)) == 0
    learner = load_model_and_extra(tmp_path / "model.safetensors")[0]
    assert learner.get_params()[option] == value
    assert np.isfinite(learner.components_).all()


def test_sparsity_and_precision(photos: Path, tmp_path: Path) -> None:
    wish = ("--sparsity-target", "0.05", "--sparsity-cost", "0.1", "--dtype", "float64", "--seed", "3")
    assert main(command("rbm", photos, tmp_path, *wish)) == 0
    learner = load_model_and_extra(tmp_path / "model.safetensors")[0]
    assert (learner.sparsity_target, learner.sparsity_cost, learner.random_state) == (0.05, 0.1, 3)
    assert learner.components_.dtype == np.float64


@pytest.mark.parametrize("name", COMMANDS)
def test_sigint_keeps_what_was_learnt(photos: Path, tmp_path: Path, name: str) -> None:
    arguments = [a for a in command(name, photos, tmp_path) if a != "--quiet"]
    errors = errors_of_sigint([*arguments, "--epochs", "1000000"], tmp_path)
    assert "reconstruction error" in errors  # in the progress bar
    assert {p.name for p in tmp_path.iterdir()} == RESULTS


def test_wrong_inputs(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mnist, out = tmp_path / "mnist", ["--out", tmp_path / "run", *SMALL]
    mnist.mkdir()
    write_mnist(mnist)
    for name in COMMANDS:
        assert "there is no" in complaint(capsys, ["learn", name, *out, "--resume"])
        assert "nowhere: no such file" in complaint(capsys, ["learn", name, tmp_path / "nowhere", *out])
    assert "must be the only input" in complaint(capsys, ["learn", "rbm", mnist, photos, *out])
    line = complaint(capsys, ["learn", "rbm", mnist, *out, "--patch-size", "4"])
    assert "--patch-size: only images are cut into patches, not MNIST" in line
    line = complaint(capsys, ["learn", "rbm", *out, "--n-patches", "400"])
    assert "--n-patches: only images are cut into patches, not digits" in line
    assert "no PNG, JPEG or TIFF" in complaint(capsys, ["learn", "gaussian-rbm", mnist, *out])
    for name, rest in (("rbm", ["--sparsity-target", "0.1"]), ("gaussian-rbm", ["--sparsity-cost", "1"])):
        assert "--sparsity-cost: expected both" in complaint(capsys, ["learn", name, *out, *rest])
    line = complaint(capsys, ["learn", "rbm", *out, "--momentum", "1"])
    assert "momentum: expected a number in [0, 1)" in line
    (mnist / "t10k-images-idx3-ubyte.gz").unlink()
    assert "t10k-images-idx3-ubyte" in complaint(capsys, ["learn", "rbm", mnist, *out])
    (mnist / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bnothing")
    assert "corrupt or truncated" in complaint(capsys, ["learn", "rbm", mnist, *out])
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--learning-rate", v) for v in ("-1", "nan", "x")),
        *(("--n-gibbs-steps", v) for v in ("0", "1.5")),
        *(("--loss", v) for v in ("score_matching", "ml")),
        *(("--binarize", v) for v in ("half",)),
        *(("--sparsity-target", v) for v in ("0", "1", "x")),
        *(("--n-temperatures", v) for v in ("1",)),
        *(("--ais-temperatures", v) for v in ("1",)),
    ],
)
def test_bad_option_values(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["learn", "rbm", f"{option}={value}"])
    assert ended.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err


def test_a_model_of_no_command_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from thalweg import BernoulliRBM

    learner = BernoulliRBM(4, n_iter=1, random_state=0).fit(np.eye(6))
    save_model(learner, tmp_path / "model.safetensors")
    line = complaint(capsys, ["learn", "rbm", "--out", tmp_path, "--resume"])
    assert "holds a BernoulliRBM, not learnt by `thalweg learn rbm`" in line


def test_names_of_files_are_escaped_in_the_report(tmp_path: Path) -> None:
    photograph(0).save(tmp_path / "<b>.png")
    out = tmp_path / "run"
    assert main(["learn", "rbm", str(tmp_path / "<b>.png"), "--out", str(out), *SMALL, *PATCHES]) == 0
    text = (out / "report.html").read_text()
    assert "<b>.png" not in text
    assert "&lt;b&gt;.png" in text


# --- devices


@pytest.mark.parametrize("name", COMMANDS)
def test_learning_on_the_device(
    cuda: object, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(rbm_metrics, "SWEEPS", (0, 1, 2))
    tiny = ["--n-components", "3", "--patch-size", "3", "--n-patches", "30", "--batch-size", "10"]
    learn = ["learn", name, str(photos / "p0.png"), *SMALL, *tiny, "--epochs", "1", "--out"]
    assert main([*learn, str(tmp_path / "cpu")]) == 0
    assert main([*learn, str(tmp_path / "cuda"), "--device", "cuda"]) == 0
    found = metrics_of(tmp_path / "cuda")
    assert found["builds"][-1]["device"].startswith("cuda (")
    # Draws are those of the CPU, but for a probability that rounding moves across one.
    on_host, there = (
        load_model_and_extra(tmp_path / place / "model.safetensors")[0] for place in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.components_, on_host.components_, atol=1e-4)
    assert (on_host.device, there.device) == ("cpu", "cuda")
    hide_cuda(monkeypatch)
    monkeypatch.setattr(rbm_metrics, "SWEEPS", (0, 1))
    assert main(["learn", name, "--out", str(tmp_path / "cuda"), "--resume", "--epochs", "2", "--quiet"]) == 0
    assert [build["device"] for build in metrics_of(tmp_path / "cuda")["builds"]][1:] == ["cpu"]


def test_a_loss_that_the_device_has_not_is_refused(
    cuda: object, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learn = ["learn", "gaussian-rbm", photos, "--loss", "score_matching", "--out", tmp_path / "run"]
    line = complaint(capsys, [*learn, "--device", "cuda"])
    assert (
        "--device cuda: --loss score_matching has no kernels there; give --loss cd, pcd, fpcd, pt or" in line
    )
    assert not (tmp_path / "run").exists()

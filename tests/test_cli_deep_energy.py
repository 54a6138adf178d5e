"""`thalweg learn deep-energy`, `score` and `modes`: results, resume, tables, and wrong inputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import multivariate_normal

from command_line import (
    assert_same_state,
    complaint,
    devices_of_kernels,
    errors_of_sigint,
    hide_cuda,
    metrics_of,
    photograph,
)
from test_cli_rbm import write_mnist
from thalweg import BernoulliRBM, ConstrainedGaussian, ScoreMatchingAutoencoder, SparseCoder
from thalweg.cli import density_metrics, density_scores, learn_deep_energy, main, page, patch_gaussian, score
from thalweg.cli.density_data import density_rows
from thalweg.cli.density_model import DensityModel
from thalweg.cli.modes import distinct
from thalweg.cli.patch_gaussian import PatchGaussian, fit_gaussian
from thalweg.cli.report_deep_energy import spread_of
from thalweg.cli.score_sets import split_arguments
from thalweg.persistence import load_model_and_extra, save_model

RESULTS = {
    *("model.safetensors", "filters.png", "filters-analysis.png", "filters-synthesis.png"),
    *("metrics.json", "report.html"),
}
SMALL = [
    *("--n-components", "6", "--hidden-layer-sizes", "5", "--patch", "4", "--n-patches", "300"),
    *("--batch-size", "50", "--epochs", "3", "--schedule", "constant", "--gaussian-radius", "1"),
    *("--threads", "1", "--quiet"),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(2):
        textured(i).save(folder / f"p{i}.png")
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs that nothing is learnt from."""
    folder = tmp_path_factory.mktemp("others")
    for i in (7, 8):
        textured(i).save(folder / f"q{i}.png")
    return folder


def textured(seed: int) -> Image.Image:
    """A photograph without a patch of one gray."""
    pixels = np.asarray(photograph(seed), np.float64)
    noise = np.random.default_rng(seed).normal(0, 4, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def command(photos: object, out: Path, *options: object) -> list[str]:
    return [str(a) for a in ("learn", "deep-energy", photos, "--out", out, *SMALL, *options)]


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all its pictures drawn."""
    out = tmp_path_factory.mktemp("results") / "run"
    assert main(command(photos, out)) == 0
    return out


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of a small run's time; those of `finished`, which is made before this, are drawn."""
    monkeypatch.setattr(page, "figure", lambda draw, words: f"<picture>{words}</picture>")


# --- learning


def test_learning_leaves_all_results(finished: Path) -> None:
    assert {p.name for p in finished.iterdir()} == RESULTS
    metrics = metrics_of(finished)
    assert metrics["finished"] is True
    assert (metrics["n_learnt"], metrics["n_steps"], metrics["n_constant"]) == (300, 18, 0)
    history = metrics["history"]
    assert history["step"] == [1, 6, 12, 18]
    assert history["epoch"][1:] == [1, 2, 3]
    assert history["objective"][0] is None
    learner = load_model_and_extra(finished / "model.safetensors")[0]
    assert history["objective"][1:] == learner.loss_curve_.tolist()
    for name in ("filters.png", "filters-analysis.png"):
        with Image.open(finished / name) as picture:
            assert picture.width > 500


def test_the_report_needs_nothing_else(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    sources = re.findall(r'(?:src|srcset|href)="([^"]{0,40})', text)
    assert len(sources) == 3 + 2 * 2 + 3 * 2 + 2  # filters, histograms, curves, patches beside samples
    assert all(s.startswith("data:image/") for s in sources)
    assert "://" not in text
    assert "<script" not in text
    for title in ("Filters", "Is it able", "Scores at", "Over the ep", "Patches and", "Settings"):
        assert f"<h2>{title}" in text


def test_rows_are_whitened_by_the_fitted_gaussian(finished: Path) -> None:
    model = DensityModel.load(finished / "model.safetensors")
    rows = density_rows(model)
    gaussian = model.fitted
    assert np.allclose(model.pixels(rows.learnt[:50]), pixels_of(rows.learnt[:50], gaussian), atol=1e-5)
    pixels = pixels_of(rows.learnt[:50], gaussian)
    expected = multivariate_normal(gaussian.mean, np.linalg.inv(gaussian.precision)).logpdf(pixels)
    assert np.allclose(gaussian.log_density(pixels), expected, rtol=1e-5, atol=1e-3)
    assert np.allclose(model.log_gaussian(rows.learnt[:50]), expected, rtol=1e-5, atol=1e-3)


def pixels_of(rows: np.ndarray, gaussian: PatchGaussian) -> np.ndarray:
    values, vectors = np.linalg.eigh(gaussian.precision)
    return gaussian.mean + rows.astype(float) @ (vectors / np.sqrt(values)) @ vectors.T


def test_samples_have_the_gaussians_moments() -> None:
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(3, 3))
    gaussian = PatchGaussian(rng.normal(size=3), factor @ factor.T + np.eye(3), "full")
    samples = gaussian.sample(20_000, 1, np.float64)
    assert np.allclose(samples.mean(axis=0), gaussian.mean, atol=0.03)
    assert np.allclose(np.cov(samples.T), np.linalg.inv(gaussian.precision), atol=0.03)
    assert np.array_equal(samples[:10], gaussian.sample(10, 1, np.float64))
    assert not np.array_equal(samples[:10], gaussian.sample(10, 2, np.float64))


def test_regularisation_adds_to_the_covariance_and_leaves_the_mean() -> None:
    pixels = np.random.default_rng(0).normal(size=(40, 6)) * [1, 2, 3, 1, 1, 1] + 0.5
    made = patch_gaussian._regularised(pixels, 0.1)
    covariance = np.cov(pixels.T, bias=True)
    expected = covariance + 0.1 * np.trace(covariance) / 6 * np.eye(6)
    assert np.allclose(made.mean(axis=0), pixels.mean(axis=0))
    assert np.allclose(np.cov(made.T, bias=True), expected)


def test_filters_are_mapped_to_pixels(finished: Path) -> None:
    model = DensityModel.load(finished / "model.safetensors")
    found = {name: pictures.reshape(5, 16) for name, pictures in model.filters().items()}
    assert list(found) == ["filters", "analysis", "synthesis"]
    norms = np.linalg.norm(found["filters"], axis=1)
    assert (np.diff(norms) <= 0).all()
    P = model.fitted.whitener
    assert np.allclose(P @ P, model.fitted.precision)
    assert np.allclose(found["analysis"], found["filters"] @ P)
    assert np.allclose(found["synthesis"] @ P, found["filters"])


def test_figures_are_those_of_the_patches(finished: Path) -> None:
    model = DensityModel.load(finished / "model.safetensors")
    rows = density_rows(model)
    log_p = model.learner.score_samples(rows.held_out)
    found = metrics_of(finished)["scores"]
    assert found["log_p"]["held out"]["mean"] == pytest.approx(log_p.mean(), rel=1e-6)
    assert found["log_p"]["held out"]["std"] == pytest.approx(log_p.std(), rel=1e-6)
    assert found["log_p"]["held out"]["auc"] is None
    ratio = log_p - model.log_gaussian(rows.held_out)
    assert found["log_ratio"]["held out"]["mean"] == pytest.approx(ratio.mean(), rel=1e-6)
    last = metrics_of(finished)["history"]
    assert last["log_p_held_out"][-1] == pytest.approx(log_p.mean(), rel=1e-6)
    assert 0 <= last["auc"][-1] <= 1


def test_without_whitening_rows_lose_only_the_mean(photos: Path, tmp_path: Path) -> None:
    assert main(command(photos, tmp_path, "--no-whiten", "--sigma", "0.1")) == 0
    assert {p.name for p in tmp_path.iterdir()} == RESULTS - {"filters-analysis.png", "filters-synthesis.png"}
    model = DensityModel.load(tmp_path / "model.safetensors")
    rows = density_rows(model)
    assert np.abs(rows.learnt.mean(axis=0)).max() < 1e-6
    assert model.learner.sigma_ == pytest.approx(0.1)
    expected = model.fitted.log_density(model.pixels(rows.learnt[:20]))
    assert np.allclose(model.log_gaussian(rows.learnt[:20]), expected)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("loss", loss) for loss in ("score_matching", "denoising", "sliced", "conditional_nce", "cd")),
        *(("activation", "tanh"), ("activation", "softplus"), ("sigma", "learn"), ("hidden_bias", False)),
        *(("hidden_layer_sizes", (7, 5)), ("hidden_layer_sizes", ()), ("layerwise", True)),
        *(("learning_rate", 0.01), ("schedule", "linear"), ("init_bias", 0.5), ("dtype", "float64")),
    ],
)
def test_options_reach_the_estimator(photos: Path, tmp_path: Path, option: str, value: object) -> None:
    flag = option.replace("_", "-")
    text = (",".join(map(str, value)) or "0") if isinstance(value, tuple) else value
    given = [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}={text}"]
    assert main(command(photos, tmp_path, "--epochs", "1", *given)) == 0
    learner = load_model_and_extra(tmp_path / "model.safetensors")[0]
    if option == "dtype":
        assert learner.filters_.dtype == np.float64
    else:
        found = learner.get_params()[option]
        assert (tuple(found) if isinstance(value, tuple) else found) == value
    assert np.isfinite(learner.filters_).all()


@pytest.mark.parametrize("structure", ["full", "banded", "toeplitz"])
def test_structures_of_the_gaussian(photos: Path, tmp_path: Path, structure: str) -> None:
    assert main(command(photos, tmp_path, "--epochs", "1", "--gaussian", structure)) == 0
    gaussian = DensityModel.load(tmp_path / "model.safetensors").fitted
    assert gaussian.structure == structure
    assert np.linalg.eigvalsh(gaussian.precision)[0] > 0
    far = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) > 1
    apart = gaussian.precision.reshape(4, 4, 4, 4)[far.nonzero()[0], :, far.nonzero()[1], :]
    assert (np.abs(apart).max() < 1e-12) == (structure != "full")


# --- resume


class Interrupting(learn_deep_energy._Recorder):
    """Presses Ctrl-C after seven steps."""

    def __call__(self, step: dict[str, object]) -> None:
        super().__call__(step)
        if step["i"] == 6:
            raise KeyboardInterrupt


def interrupted_run(photos: Path, out: Path, *options: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learn_deep_energy, "_Recorder", Interrupting)
        return main(command(photos, out, *options))


def test_resume_goes_on_bit_for_bit(
    photos: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert interrupted_run(photos, tmp_path) == 130
    assert f"thalweg learn deep-energy --out {tmp_path} --resume" in capsys.readouterr().err
    assert "was interrupted after 7 steps" in (tmp_path / "report.html").read_text()
    metrics = metrics_of(tmp_path)
    assert (metrics["finished"], metrics["n_steps"], metrics["history"]["step"]) == (False, 7, [1, 6, 7])
    resume = ["learn", "deep-energy", "--out", str(tmp_path), "--resume", "--quiet"]
    assert main([*resume, "--threads", "2"]) == 0
    assert_same_state(finished, tmp_path)
    for part in ("history", "scores"):
        assert metrics_of(tmp_path)[part] == metrics_of(finished)[part]
    assert "interrupted" not in (tmp_path / "report.html").read_text()


def test_more_epochs_can_be_learnt_but_not_fewer(
    photos: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A schedule that looks at the number of epochs would differ from the start.
    assert main(command(photos, tmp_path, "--epochs", "1")) == 0
    again = command(photos, tmp_path)
    assert "a finished run (6 steps)" in complaint(capsys, again)
    assert "--sigma 2.0: the run" in complaint(capsys, [*again, "--resume", "--sigma", "2"])
    assert main([*again, "--resume"]) == 0
    assert_same_state(finished, tmp_path)
    assert "--epochs 2: the run" in complaint(capsys, [*again, "--resume", "--epochs", "2"])


def test_sigint_keeps_what_was_learnt(photos: Path, tmp_path: Path) -> None:
    arguments = [a for a in command(photos, tmp_path) if a != "--quiet"]
    errors = errors_of_sigint([*arguments, "--epochs", "1000000"], tmp_path)
    assert "objective" in errors  # in the progress bar
    assert {p.name for p in tmp_path.iterdir()} == RESULTS


# --- bad input


def test_constant_patches_are_dropped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.asarray(textured(0).convert("L")).copy()
    pixels[:, :20] = 128
    Image.fromarray(pixels).save(tmp_path / "half.png")
    out = tmp_path / "run"
    assert main(command(tmp_path / "half.png", out, "--epochs", "1")) == 0
    n = metrics_of(out)["n_constant"]
    assert 50 < n < 250
    assert metrics_of(out)["n_learnt"] == 300 - n
    assert f"{n} of 300 patches dropped, for they are of one gray" in capsys.readouterr().err
    Image.new("L", (40, 40), 77).save(tmp_path / "gray.png")
    line = complaint(capsys, command(tmp_path / "gray.png", tmp_path / "none"))
    assert "300 of 300 patches are of one gray: there is nothing to learn from" in line


def test_small_photographs_are_skipped_and_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(3, (3, 50, 3)).save(tmp_path / "small.png")
    out = tmp_path / "run"
    for name in ("p0.png", "p1.png"):
        (tmp_path / name).write_bytes((photos / name).read_bytes())
    assert main(command(tmp_path, out, "--epochs", "1")) == 0
    assert f"{tmp_path / 'small.png'}: skipped, for it is smaller than a patch" in capsys.readouterr().err
    assert metrics_of(out)["names"] == ["p0.png", "p1.png"]
    capsys.readouterr()
    assert main(command(photos, tmp_path / "none", "--patch", "100")) == 2
    assert "is as large as a patch" in capsys.readouterr().err.splitlines()[-1]


def test_too_few_patches_are_regularised_with_a_warning(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--n-patches", "12", "--gaussian", "full", "--epochs", "1")
    assert main(command(photos, tmp_path, *few)) == 0
    assert "12 patches of 16 pixels are too few to know their covariance" in capsys.readouterr().err
    values = np.linalg.eigvalsh(DensityModel.load(tmp_path / "model.safetensors").fitted.precision)
    assert values[0] > 0
    assert values[-1] / values[0] < 1e5


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--sigma", v) for v in ("0", "-1", "nan", "much")),
        *(("--hidden-layer-sizes", v) for v in ("64,", "-1", "a", "64,0", "")),
        *(("--loss", v) for v in ("ml",)),
        *(("--learning-rate", v) for v in ("0", "x")),
        *(("--gaussian", v) for v in ("round",)),
    ],
)
def test_bad_option_values(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["learn", "deep-energy", f"{option}={value}"])
    assert ended.value.code == 2
    assert f"argument {option}" in capsys.readouterr().err


def test_relu_is_refused_by_score_matching(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = ("--activation", "relu", "--loss", "score_matching")
    assert "integration by parts" in complaint(capsys, command(photos, tmp_path, *rest))


# --- show and modes


def test_show_knows_it(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "filters.png"
    assert main(["show", str(finished / "model.safetensors"), "--out", str(picture)]) == 0
    assert picture.read_bytes() == (finished / "filters.png").read_bytes()
    printed = capsys.readouterr().out
    assert re.search(r"^model +DeepEnergyModel$", printed, re.M)
    assert re.search(r"^layers +5, 6 units \(sigmoid\)$", printed, re.M)
    assert re.search(r"^patches +4 x 4 pixels, float32$", printed, re.M)


def test_modes_are_climbed_to(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["modes", str(finished), "--out", str(tmp_path), "--starts", "9"]
    assert main(arguments) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"modes.png", "starts.png", "modes.json"}
    found = json.loads((tmp_path / "modes.json").read_text())
    assert found["n_starts"] == sum(mode["n_starts"] for mode in found["modes"]) == 9
    heights = [mode["log_p"] for mode in found["modes"]]
    assert heights == sorted(heights, reverse=True)
    assert f"{found['n_modes']} mode" in capsys.readouterr().out
    model = DensityModel.load(finished / "model.safetensors")
    assert min(heights) > model.log_p(model.gaussian_rows(9, 0)).max()


def test_climbs_that_end_in_one_place_are_one_mode() -> None:
    ends = np.array([[1.0, 0.0], [0.0, 2.0], [1.001, 0.0], [0.0, 2.0]])
    chosen, counts = distinct(ends, np.array([1.0, 5.0, 1.5, 4.0]))
    assert (chosen.tolist(), counts.tolist()) == ([1, 2], [2, 2])


# --- scores


def test_auc_is_the_share_of_pairs() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(5, size=30), rng.integers(4, size=20)
    pairs = np.sign(first[:, None] - second)
    assert density_scores.auc(first, second) == pytest.approx((pairs.mean() + 1) / 2)
    assert density_scores.auc(first + 10, second) == 1
    assert density_scores.auc(first, first) == 0.5


def scores_of(out: Path) -> dict:
    return json.loads((out / "scores.json").read_text())


def test_scores_of_sets(
    finished: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path)
    out = tmp_path / "scores"
    sets = [f"natural={others}", "gaussian", f"mnist={tmp_path}"]
    assert main(["score", str(finished), *sets, "--patches", "200", "--out", str(out)]) == 0
    assert {p.name for p in out.iterdir()} == {"scores.json", "log-p.png", "log-ratio.png"}
    found = scores_of(out)
    assert [s["name"] for s in found["sets"]] == ["natural", "gaussian", "mnist"]
    assert [s["n_patches"] for s in found["sets"]] == [200, 200, 40]
    scores = found["models"][0]["scores"]
    model = DensityModel.load(finished / "model.safetensors")
    log_p = model.log_p(model.rows(model.fitted.sample(200, 0)))
    assert scores["log_p"]["gaussian"]["mean"] == pytest.approx(log_p.mean(), rel=1e-5)
    assert scores["log_p"]["natural"]["auc"] is None
    # Noise of full contrast is unlike any photograph.
    assert scores["log_p_gaussian"]["mnist"]["auc"] > 0.95
    printed = capsys.readouterr().out
    assert re.search(r"^gaussian +200 ", printed, re.M)
    assert f"{scores['log_ratio']['gaussian']['auc']:.3f}" in printed


def test_every_density_stands_in_the_table(
    finished: Path, photos: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = ["--n-components", "4", "--patch", "4", "--n-patches", "300", "--batch-size", "50", "--quiet"]
    for name in ("rbm", "gaussian-rbm"):
        learn = ["learn", name, str(photos), "--out", str(tmp_path / name), *rest, "--ais-temperatures", "50"]
        assert main([*learn, "--epochs", "1"]) == 0
    X = np.random.default_rng(0).normal(size=(400, 16)) + 0.5
    save_model(ConstrainedGaussian("full", image_shape=(4, 4)).fit(X), tmp_path / "g.safetensors")
    save_model(BernoulliRBM(3, n_iter=1, random_state=0).fit(X > 0), tmp_path / "b.safetensors")
    autoencoder = ScoreMatchingAutoencoder(3, n_iter=1, random_state=0).fit(X)
    save_model(autoencoder, tmp_path / "a.safetensors")
    names = ("rbm", "gaussian-rbm", "g.safetensors", "b.safetensors", "a.safetensors")
    runs = [str(finished), *(str(tmp_path / name) for name in names)]
    out = tmp_path / "scores"
    assert main(["score", *runs, f"natural={others}", "gaussian", "--patches", "100", "--out", str(out)]) == 0
    found = scores_of(out)["models"]
    kinds = ["DeepEnergyModel", "BernoulliRBM", "GaussianBernoulliRBM", "ConstrainedGaussian", "BernoulliRBM"]
    assert [m["kind"] for m in found] == [*kinds, "ScoreMatchingAutoencoder"]
    has_gaussian = [set(m["scores"]) > {"log_p"} for m in found]
    assert has_gaussian == [True, False, True, True, False, False]
    of_gaussian = found[3]["scores"]
    # The model is its own Gaussian: the ratio is the same everywhere.
    assert of_gaussian["log_ratio"]["natural"]["std"] < 1e-6 * abs(of_gaussian["log_p"]["natural"]["mean"])
    assert (out / "log-p-5.png").exists()
    assert "BernoulliRBM" in capsys.readouterr().out


def test_the_gaussian_of_a_gaussian_rbm_is_that_of_its_patches(photos: Path, tmp_path: Path) -> None:
    from thalweg.cli.rbm_data import whitened_rows
    from thalweg.cli.rbm_model import RbmModel
    from thalweg.cli.scored_models import load_scored

    learn = ["learn", "gaussian-rbm", str(photos), "--out", str(tmp_path), "--n-components", "4", "--quiet"]
    rest = ["--patch", "4", "--n-patches", "400", "--batch-size", "50", "--epochs", "1"]
    assert main([*learn, *rest, "--ais-temperatures", "50"]) == 0
    model = RbmModel.load(tmp_path / "model.safetensors", "gaussian-rbm")
    rows = whitened_rows(model)
    centred = model.whitening.inverse_transform(rows.learnt.astype(float))
    scored = load_scored(str(tmp_path))
    samples = scored.gaussian.sample(50_000, 0, np.float64)
    assert np.allclose(np.cov(samples.T), np.cov(centred.T, bias=True), atol=2e-3)
    pixels = centred[:30] + 0.3
    assert np.allclose(
        scored.scores(pixels)["log_p"], -model.learner.free_energy(rows.learnt[:30]), atol=1e-2
    )


def test_scores_are_drawn_by_their_seed(finished: Path, others: Path, tmp_path: Path) -> None:
    arguments = ["score", str(finished), f"natural={others}", "gaussian", "--patches", "50"]
    outs = [tmp_path / name for name in "abc"]
    for out, seed in zip(outs, ("0", "0", "1")):
        assert main([*arguments, "--out", str(out), "--seed", seed]) == 0
    first, again, other = (scores_of(out) for out in outs)
    assert first == again
    assert first["models"] != other["models"]


def test_arguments_of_score(tmp_path: Path) -> None:
    assert split_arguments(["run", "a=x", "gaussian", "b=y=z"]) == (
        ["run"],
        {"a": "x", "gaussian": None, "b": "y=z"},
    )
    folder = tmp_path / "p=4"
    folder.mkdir()
    assert split_arguments([str(folder), "gaussian"]) == ([str(folder)], {"gaussian": None})
    for wrong in (["run"], ["a=x"], ["run", "=x"], ["run", "a="], ["run", "a=x", "a=y"]):
        with pytest.raises(ValueError, match=r"expected|already"):
            split_arguments(wrong)


def test_wrong_sets_and_models(
    finished: Path, photos: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", tmp_path / "scores"]
    natural = f"natural={others}"
    assert "nowhere: no such file" in complaint(capsys, ["score", finished, "a=nowhere", *out])
    assert "nothing.safetensors" in complaint(capsys, ["score", "nothing.safetensors", natural, *out])
    coder = tmp_path / "coder.safetensors"
    save_model(SparseCoder(np.eye(16)), coder)
    assert "holds a SparseCoder, which has no density" in complaint(capsys, ["score", coder, natural, *out])
    rbm = tmp_path / "rbm.safetensors"
    save_model(BernoulliRBM(3, n_iter=1, random_state=0).fit(np.eye(9)), rbm)
    line = complaint(capsys, ["score", finished, rbm, natural, *out])
    assert "its patches are of 3 x 3 pixels, those of" in line
    assert "was learnt without a Gaussian" in complaint(capsys, ["score", rbm, natural, "gaussian", *out])
    save_model(BernoulliRBM(3, n_iter=1, random_state=0).fit(np.eye(10)), rbm)
    assert "which are no square patch" in complaint(capsys, ["score", rbm, natural, *out])
    Image.new("L", (40, 40), 77).save(tmp_path / "gray.png")
    line = complaint(capsys, ["score", finished, f"gray={tmp_path / 'gray.png'}", *out])
    assert "gray: all" in line
    assert "are of one gray" in line
    photograph(3, (3, 50, 3)).save(tmp_path / "small.png")
    capsys.readouterr()
    assert (
        main(["score", str(finished), f"small={tmp_path / 'small.png'}", "--out", str(tmp_path / "s")]) == 2
    )
    warned, said = capsys.readouterr().err.splitlines()
    assert "small.png: skipped, for it is smaller than a patch" in warned
    assert "no picture of" in said


def test_photographs_that_were_learnt_from_are_noticed(
    finished: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", str(finished), f"natural={photos}", "--patches", "50", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert "natural: 2 of its 2 pictures were learnt from" in capsys.readouterr().err


def test_scores_that_are_not_finite_are_an_error(
    finished: Path,
    others: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        score.ScoredModel, "scores", lambda self, pixels: {"log_p": np.full(len(pixels), np.inf)}
    )
    line = complaint(capsys, ["score", finished, f"natural={others}", "--out", tmp_path])
    assert "log p of set 'natural' is not finite" in line


def test_a_set_of_one_value_has_a_width() -> None:
    assert spread_of(np.zeros(5)) == 1.0
    assert spread_of(np.arange(101.0)) == 50.0


def test_the_gaussian_of_many_patches_is_not_regularised() -> None:
    pixels = np.random.default_rng(0).normal(size=(5000, 4)) @ np.diag([1.0, 2.0, 1.0, 1.0])
    gaussian = fit_gaussian(pixels, (2, 2), "full", 1, "maximum_likelihood", 0.0)
    assert np.allclose(gaussian.precision, np.linalg.inv(np.cov(pixels.T, bias=True)), rtol=1e-6, atol=1e-8)


# --- devices

TINY = ["--n-components", "3", "--hidden-layer-sizes", "3", "--patch", "3", "--n-patches", "40"]


@pytest.mark.parametrize("loss", ["nce", "conditional_nce", "cd"])
def test_learning_on_the_device(
    cuda: object, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    monkeypatch.setattr(density_metrics, "N_MONITORED", 20)
    monkeypatch.setattr(density_metrics, "_N_EVALUATED", 20)
    learn = [*command(photos / "p0.png", tmp_path, *TINY, "--loss", loss, "--epochs", "1"), "--out"]
    assert main([*learn, str(tmp_path / "cpu")]) == 0
    assert main([*learn, str(tmp_path / "cuda"), "--device", "cuda"]) == 0
    assert metrics_of(tmp_path / "cuda")["builds"][-1]["device"].startswith("cuda (")
    on_host, there = (
        load_model_and_extra(tmp_path / place / "model.safetensors")[0] for place in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.filters_, on_host.filters_, atol=1e-4)
    assert (on_host.device, there.device) == ("cpu", "cuda")


def test_losses_that_the_device_has_not_are_refused(
    cuda: object,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for options in ([], ["--loss", "sliced"]):
        line = complaint(capsys, [*command(photos, tmp_path / "run", *options), "--device", "cuda"])
        assert f"--device cuda: --loss {options[-1] if options else 'denoising'} has no kernels there" in line
        assert "give --loss nce, conditional_nce or cd, or leave --device out" in line
    assert not (tmp_path / "run").exists()


def test_scores_and_modes_on_the_device(
    cuda: object, finished: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [f"natural={others}", "gaussian", "--patches", "20"]
    climb = ["modes", str(finished), "--starts", "4", "--max-iter", "3"]
    outs = {device: tmp_path / device for device in ("cpu", "cuda")}
    found = {}
    for device, out in outs.items():
        taken = devices_of_kernels(monkeypatch)
        rest = ["--device", device, "--out", str(out)]
        assert main(["score", str(finished), *sets, *rest]) == 0
        assert main([*climb, *rest]) == 0
        assert taken == {device}
        log_p = scores_of(out)["models"][0]["scores"]["log_p"]
        found[device] = [each[name] for each in log_p.values() for name in ("mean", "std")]
        found[device] += [mode["log_p"] for mode in json.loads((out / "modes.json").read_text())["modes"]]
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=1e-3)


def test_a_density_that_was_learnt_on_a_device_is_scored_without_one(
    finished: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DensityModel.load(finished / "model.safetensors")
    model.learner.set_params(device="cuda")
    model.save(tmp_path / "model.safetensors")
    hide_cuda(monkeypatch)
    assert main(["score", str(tmp_path), f"natural={others}", "--patches", "20", "--out", str(tmp_path)]) == 0
    assert main(["modes", str(tmp_path), "--starts", "3", "--max-iter", "3", "--out", str(tmp_path)]) == 0


def test_a_density_that_the_device_has_not_is_refused(
    cuda: object, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g.safetensors"
    X = np.random.default_rng(0).normal(size=(400, 16))
    save_model(ConstrainedGaussian("full", image_shape=(4, 4)).fit(X), file)
    score_it = ["score", file, f"natural={others}", "--out", tmp_path / "scores"]
    line = complaint(capsys, [*score_it, "--device", "cuda"])
    assert "g.safetensors holds a ConstrainedGaussian, which has no kernels there" in line
    assert not (tmp_path / "scores").exists()

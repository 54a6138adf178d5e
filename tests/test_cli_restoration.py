"""`thalweg inpaint` and `thalweg denoise` end to end: files of every depth, repairs, faults in one line."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import complaint, devices_of_kernels, hide_cuda, photograph
from thalweg import ConvolutionalDictionaryLearning, SparseCoder
from thalweg.cli import main, picture_files
from thalweg.cli import restore as commands
from thalweg.cli.picture_files import Picture, picture_png, read_mask, read_picture
from thalweg.persistence import save_model

SHAPE = (24, 32)
CLEAN = np.asarray(photograph(0, (*SHAPE, 3)))
HOLES = np.random.default_rng(1).random(SHAPE) < 0.3


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(CLEAN).save("clean.png")
    Image.fromarray(HOLES).save("mask.png")
    Image.fromarray(np.where(HOLES[..., None], 0, CLEAN).astype(np.uint8)).save("damaged.png")


def save(samples: np.ndarray, name: str, profile: bytes | None = None) -> Path:
    """Samples (height, width, 1 to 4) as PNG of their depth."""
    data = np.atleast_3d(samples)
    n = 3 if data.shape[2] > 2 else 1
    alpha = data[..., -1] if data.shape[2] in (2, 4) else None
    pixels = data[..., :3] if n == 3 else data[..., 0]
    Path(name).write_bytes(picture_png(Picture(pixels, alpha, profile)))
    return Path(name)


def samples_of(picture: Picture) -> np.ndarray:
    data = np.atleast_3d(picture.pixels)
    return data if picture.alpha is None else np.concatenate([data, picture.alpha[..., None]], axis=2)


def run(*arguments: object) -> int:
    return main([str(a) for a in (*arguments, "--quiet", "--threads", 1)])


# --- files


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_come_back_as_they_were(dtype: type, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (7, 5, channels)).astype(dtype)
    found = read_picture(save(samples, "a.png", b"a profile"))
    np.testing.assert_array_equal(samples_of(found), samples)
    assert found.pixels.dtype == dtype
    assert found.profile == b"a profile"
    with Image.open("a.png") as image:  # by another reader, high bytes at least
        image.load()
        assert image.size == (5, 7)
        if image.mode in ("RGB", "RGBA") and channels > 2:
            high = samples >> 8 if dtype == np.uint16 else samples
            np.testing.assert_array_equal(np.asarray(image), high)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_16_bit_colour_with_each_of_the_filters_of_png(kind: int) -> None:
    # Filtered by the definition, byte by byte.
    samples = np.random.default_rng(kind).integers(0, 65536, (4, 3, 3)).astype(np.uint16)
    lines = samples.astype(">u2").view(np.uint8).reshape(4, 18).astype(int)
    before = np.pad(lines, ((1, 0), (6, 0)))
    a, b, c = before[1:, :-6], before[:-1, 6:], before[:-1, :-6]
    nearest = [abs(b - c), abs(a - c), abs(a + b - 2 * c)]
    paeth = np.where(
        (nearest[0] <= nearest[1]) & (nearest[0] <= nearest[2]), a, np.where(nearest[1] <= nearest[2], b, c)
    )
    rest = (lines - [0 * a, a, b, (a + b) // 2, paeth][kind]) % 256
    data = np.concatenate([np.full((4, 1), kind), rest], axis=1).astype(np.uint8).tobytes()
    chunks = [
        picture_files._chunk(b"IHDR", picture_files.struct.pack(">IIBBBBB", 3, 4, 16, 2, 0, 0, 0)),
        picture_files._chunk(b"IDAT", picture_files.zlib.compress(data)),
        picture_files._chunk(b"IEND", b""),
    ]
    Path("f.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    np.testing.assert_array_equal(read_picture(Path("f.png")).pixels, samples)


@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
def test_16_bit_gray_tiff(compression: str) -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (7, 5)).astype(np.uint16)
    Image.fromarray(samples).save("a.tif", compression=compression)
    np.testing.assert_array_equal(read_picture(Path("a.tif")).pixels, samples)


def test_palettes_become_rgb_and_transparency_alpha() -> None:
    image = Image.fromarray(CLEAN).quantize(8)
    image.save("p.png")
    found = read_picture(Path("p.png"))
    np.testing.assert_array_equal(found.pixels, np.asarray(image.convert("RGB")))
    assert found.alpha is None
    image.save("t.png", transparency=3)
    found = read_picture(Path("t.png"))
    np.testing.assert_array_equal(found.alpha, np.where(np.asarray(image) == 3, 0, 255))
    Image.fromarray(HOLES).save("b.png")
    assert read_picture(Path("b.png")).pixels.tolist() == np.where(HOLES, 255, 0).tolist()


def test_a_transparent_colour_of_16_bits_becomes_alpha() -> None:
    for channels, key in ((3, (1, 2, 3)), (1, (7,))):
        samples = np.full((2, 2, channels), 5, np.uint16)
        samples[0, 1] = key
        data = save(samples, "a.png").read_bytes()
        place = data.index(b"IDAT") - 4
        chunk = picture_files._chunk(b"tRNS", np.array(key, ">u2").tobytes())
        Path("a.png").write_bytes(data[:place] + chunk + data[place:])
        found = read_picture(Path("a.png"))
        assert found.alpha.tolist() == [[65535, 0], [65535, 65535]]
        np.testing.assert_array_equal(np.atleast_3d(found.pixels), samples)


def test_the_cameras_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(CLEAN).save("turned.png", exif=exif)
    np.testing.assert_array_equal(read_picture(Path("turned.png")).pixels, np.rot90(CLEAN, -1))


@pytest.mark.parametrize("form", ["bilevel", "gray", "palette", "deep", "colour", "alpha"])
def test_masks_of_every_form(form: str) -> None:
    white = np.where(HOLES, np.where(np.arange(SHAPE[1]) % 2, 255, 40), 25).astype(np.uint8)
    if form == "deep":
        save(white.astype(np.uint16) * 257, "m.png")
    elif form == "alpha":  # white paint on a layer that is transparent, and white, elsewhere
        save(np.stack([np.full(SHAPE, 255), white], axis=2).astype(np.uint8), "m.png")
    else:
        image = Image.fromarray({"bilevel": HOLES, "colour": np.stack([white] * 3, axis=2)}.get(form, white))
        (image.convert("P") if form == "palette" else image).save("m.png")
    np.testing.assert_array_equal(read_mask(Path("m.png")), HOLES)


def test_floating_point_pictures_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.ones((4, 4), np.float32)).save("f.tif")
    assert "f.tif: cannot be read as a picture (its values" in complaint(capsys, ["denoise", "f.tif"])


# --- repairs


def decibels(text: str) -> list[float]:
    return [float(d) for d in re.findall(r"([\d.]+) dB", text)]


def test_inpainting_fills_what_is_white_and_keeps_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inpaint", "damaged.png", "--mask", "mask.png", "--truth", "clean.png") == 0
    output = capsys.readouterr().out
    assert f"{HOLES.mean():.2%} of the pixels are missing" in output
    before, after = decibels(output)
    assert after > before + 10
    with Image.open("inpainted.png") as image:
        assert image.mode == "RGB"
        filled = np.asarray(image)
    np.testing.assert_array_equal(filled[~HOLES], CLEAN[~HOLES])
    assert -10 * np.log10(np.mean((filled / 255 - CLEAN / 255) ** 2)) == pytest.approx(after, abs=0.01)
    with Image.open("inpainted-panel.png") as panel:
        assert panel.width >= 3 * SHAPE[1]
        assert panel.height > SHAPE[0]


def test_denoising_gains_and_tells_its_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    clean = np.asarray(photograph(2, (96, 96)))
    noisy = np.clip(np.rint(clean + np.random.default_rng(0).normal(0, 20, clean.shape)), 0, 255)
    save(noisy.astype(np.uint8), "n.png")
    save(clean, "c.png")
    assert run("denoise", "n.png", "--truth", "c.png", "--out", "out.PNG", "--panel", "both.png") == 0
    output = capsys.readouterr().out
    estimate = float(re.search(r"sigma = ([\d.]+) gray levels of 255, estimated", output).group(1))
    assert estimate == pytest.approx(20, rel=0.1)
    before, after = decibels(output)
    assert after > before + 5
    assert Path("out.PNG").exists()
    assert Path("both.png").exists()


def test_sigma_is_in_gray_levels_of_8_bits_whatever_the_depth() -> None:
    gray = CLEAN[..., 0]
    save(gray, "g8.png")
    save(gray.astype(np.uint16) * 257, "g16.png")
    for depth in (8, 16):
        assert run("denoise", f"g{depth}.png", "--sigma", "12", "--out", f"out{depth}.png") == 0
    eight, sixteen = (read_picture(Path(f"out{depth}.png")).pixels for depth in (8, 16))
    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257 - eight).max() <= 0.51
    assert np.any(sixteen % 257)  # all of the depth is used


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_kept_beside(dtype: type, channels: int) -> None:
    depth = np.iinfo(dtype).max // 255
    alpha = np.random.default_rng(0).integers(0, 256, SHAPE)
    samples = (np.concatenate([CLEAN[..., : channels - 1], alpha[..., None]], axis=2) * depth).astype(dtype)
    save(samples, "a.png")
    assert run("inpaint", "a.png", "--mask", "mask.png", "--out", "b.png") == 0
    found = samples_of(read_picture(Path("b.png")))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[..., -1], samples[..., -1])
    np.testing.assert_array_equal(found[~HOLES], samples[~HOLES])
    assert np.any(found[HOLES] != samples[HOLES])


def test_a_palette_picture_becomes_rgb() -> None:
    Image.fromarray(CLEAN).quantize(16).save("p.png")
    assert run("denoise", "p.png", "--sigma", "10") == 0
    with Image.open("denoised.png") as image:
        assert image.mode == "RGB"


def test_seeds_decide_the_bits() -> None:
    save(CLEAN[..., 0], "clean.png")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("denoise", "clean.png", "--sigma", "20", "--seed", seed, "--out", f"{name}.png") == 0
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_black_mask_leaves_the_picture_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", SHAPE[::-1]).save("black.png")
    assert run("inpaint", "clean.png", "--mask", "black.png") == 0
    assert "warning: --mask black.png: black everywhere, nothing is missing" in capsys.readouterr().err
    np.testing.assert_array_equal(read_picture(Path("inpainted.png")).pixels, CLEAN)


def test_no_noise_leaves_the_picture_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("denoise", "clean.png", "--sigma", "0") == 0
    assert "no noise to remove" in capsys.readouterr().err
    np.testing.assert_array_equal(read_picture(Path("denoised.png")).pixels, CLEAN)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with models: gray patches, whitened and not, and colour."""
    folder = tmp_path_factory.mktemp("learnt")
    photograph(4, (60, 70, 3)).save(folder / "photo.png")
    small = ["--patch-size", "5", "--n-components", "24", "--n-patches", "400", "--epochs", "2", "--quiet"]
    kinds = {"zca": [], "plain": ["--whitening", "none"], "colour": ["--color"]}
    for name, more in kinds.items():
        arguments = ["learn", "sparse-coding", str(folder / "photo.png"), "--out", str(folder / name)]
        assert main([*arguments, *small, *more]) == 0
    return folder


@pytest.mark.parametrize("kind", ["zca", "plain"])
def test_a_model_learnt_before_is_taken(learnt: Path, kind: str) -> None:
    model = learnt / kind / "model.safetensors"
    assert run("denoise", "clean.png", "--sigma", "15", "--out", "own.png") == 0
    assert run("denoise", "clean.png", "--sigma", "15", "--model", model, "--out", "given.png") == 0
    own, given = (read_picture(Path(name)).pixels for name in ("own.png", "given.png"))
    assert np.any(own != given)
    assert np.abs(own.astype(float) - given).mean() < 15


def test_atoms_of_a_whitened_model_are_those_of_pictures(learnt: Path) -> None:
    model = commands.PatchModel.load(learnt / "zca" / "model.safetensors")
    atoms = commands._patch_atoms(learnt / "zca" / "model.safetensors")
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-5)
    # What a code stands for, by the model and by the atoms, but for the mean and the norms.
    code = np.zeros((1, len(atoms)), np.float32)
    zero = model.patches(code @ model.learner.components_, np.zeros((1, 1), np.float32))
    code[0, 3] = 2.0
    patch = model.patches(code @ model.learner.components_, np.zeros((1, 1), np.float32)) - zero
    np.testing.assert_allclose((patch / np.linalg.norm(patch))[0], atoms[3], atol=1e-5)


def test_filters_learnt_before_are_taken() -> None:
    photograph(4, (60, 70, 3)).save("photo.png")
    small = ["--n-components", "4", "--filter-size", "5", "--epochs", "2", "--quiet"]
    assert main(["learn", "conv-sparse-coding", "photo.png", "--out", "learnt", *small]) == 0
    for method in ("auto", "convolutional"):
        options = ["--model", "learnt/model.safetensors", "--method", method, "--out", f"{method}.png"]
        assert run("inpaint", "damaged.png", "--mask", "mask.png", *options) == 0
    one, other = (Path(f"{method}.png").read_bytes() for method in ("auto", "convolutional"))
    assert one == other
    filled = read_picture(Path("auto.png")).pixels
    np.testing.assert_array_equal(filled[~HOLES], CLEAN[~HOLES])
    assert np.abs(filled.astype(float) - CLEAN).mean() < 10


# --- faults


def test_faults_end_in_one_line(learnt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (5, 6)).save("small.png")
    Image.new("L", SHAPE[::-1], 255).save("white.png")
    Image.new("L", SHAPE[::-1]).save("gray.png")
    Path("text.png").write_text("no picture")
    Path("cut.png").write_bytes(Path("clean.png").read_bytes()[:300])
    save_model(SparseCoder(np.eye(4)), "coder.safetensors")
    learner = ConvolutionalDictionaryLearning(2, 3, max_iter=1, random_state=0)
    save_model(learner.fit(CLEAN[None, ..., 0] / 255.0), "filters.safetensors")
    save_model(learner.fit(np.moveaxis(CLEAN, 2, 0)[None] / 255.0), "colour.safetensors")
    atoms = learnt / "plain" / "model.safetensors"
    inpaint, denoise = ["inpaint", "damaged.png", "--mask"], ["denoise", "clean.png", "--sigma", "5"]
    colour = learnt / "colour" / "model.safetensors"
    for arguments, words in (
        (
            [*inpaint, "small.png"],
            "--mask small.png: expected the image's size, 24 x 32 (height x width), got 6 x 5",
        ),
        ([*inpaint, "white.png"], "--mask white.png: white everywhere"),
        ([*inpaint, "none.png"], "none.png: No such file"),
        ([*inpaint, "text.png"], "text.png: cannot be read as a picture"),
        (["inpaint", "none.png", "--mask", "mask.png"], "none.png: No such file"),
        (["denoise", "."], ".: Is a directory"),
        (["denoise", "cut.png"], "cut.png: cannot be read as a picture"),
        ([*denoise, "--truth", "gray.png"], "--truth gray.png: expected colour, 24 x 32"),
        ([*denoise, "--truth", "small.png"], "--truth small.png: expected"),
        ([*denoise, "--out", "none/a.png"], "--out none/a.png: there is no folder"),
        ([*denoise, "--out", "a.jpg"], "--out a.jpg: expected a name that ends in .png"),
        ([*denoise, "--out", "clean.png"], "--out clean.png: is one of the files that are read"),
        ([*denoise, "--panel", "none/a.png"], "--panel none/a.png: there is no folder"),
        ([*denoise, "--panel", "denoised.png"], "--panel denoised.png: is --out too"),
        ([*inpaint, "mask.png", "--out", "mask.png"], "--out mask.png: is one of the files that are read"),
        ([*denoise, "--model", "none.safetensors"], "none.safetensors: No such file"),
        ([*denoise, "--model", "clean.png"], "clean.png"),
        ([*denoise, "--model", "coder.safetensors"], "coder.safetensors: holds a SparseCoder, not learnt by"),
        ([*denoise, "--model", colour], "learnt from colour"),
        ([*denoise, "--model", "colour.safetensors"], "expected filters of gray pictures"),
        ([*denoise, "--model", "filters.safetensors", "--method", "patches"], "for --method convolutional"),
        ([*denoise, "--model", atoms, "--method", "convolutional"], "for --method patches"),
    ):
        assert words in complaint(capsys, arguments), arguments
    assert not Path("inpainted.png").exists()
    assert not Path("denoised.png").exists()


@pytest.mark.parametrize("sigma", ["-1", "nan", "inf", "much"])
def test_a_bad_sigma(sigma: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["denoise", "clean.png", f"--sigma={sigma}"])
    assert error.value.code == 2
    assert "--sigma" in capsys.readouterr().err


@pytest.mark.parametrize("sigma", ["1e-300", "1e300"])
def test_a_sigma_far_from_the_range_of_the_picture(sigma: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sigma: expected 0, or at least" in complaint(
        capsys, ["denoise", "clean.png", "--quiet", "--sigma", sigma]
    )


def test_one_pixel() -> None:
    save(np.array([[7]], np.uint8), "one.png")
    assert run("denoise", "one.png", "--sigma", "5") == 0
    assert read_picture(Path("denoised.png")).pixels.tolist() == [[7]]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shut").mkdir(mode=0o500)
    arguments = ["denoise", "clean.png", "--out", "shut/a.png"]
    assert "cannot be written to" in complaint(capsys, arguments)


def test_the_bar_tells_how_far_the_work_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    assert main(["denoise", "clean.png", "--sigma", "5", "--threads", "1"]) == 0
    assert "100%" in told.getvalue()


def test_ctrl_c_ends_the_work_and_writes_nothing() -> None:
    save(np.asarray(photograph(0, (700, 700))), "large.png")
    command = [sys.executable, "-m", "thalweg", "denoise", "large.png", "--sigma", "20"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.read(1)  # the bar: the work has begun
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert "thalweg: interrupted" in process.stderr.read()
    assert not Path("denoised.png").exists()


# --- devices


def test_repairs_on_the_device(cuda: object, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = CLEAN[:8, :9, 0]
    save(clean, "small.png")
    save(HOLES[:8, :9].astype(np.uint8) * 255, "holes.png")
    learner = ConvolutionalDictionaryLearning(2, 3, max_iter=1, random_state=0, device="cuda")
    save_model(learner.fit(clean[None] / 255.0), "filters.safetensors")
    given = ["--model", "filters.safetensors"]
    for command in (
        ["denoise", "small.png", "--sigma", "9"],
        ["inpaint", "small.png", "--mask", "holes.png"],
    ):
        with monkeypatch.context() as patch:
            taken = devices_of_kernels(patch)
            assert run(*command, *given, "--out", "there.png", "--device", "cuda") == 0
            assert taken == {"cuda"}
            hide_cuda(patch)  # the model was learnt on the device all the same
            assert run(*command, *given, "--out", "here.png") == 0
        there, here = (read_picture(Path(f"{name}.png")).pixels.astype(int) for name in ("there", "here"))
        assert np.abs(there - here).max() <= 8  # codes are solved to a gap of 1e-2
        assert np.any(here != clean)


def test_patches_are_not_repaired_on_the_device(cuda: object, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["denoise", "clean.png", "--sigma", "9"],
        ["inpaint", "damaged.png", "--mask", "mask.png"],
    ):
        for method in ("auto", "patches"):
            line = complaint(capsys, [*command, "--method", method, "--device", "cuda", "--quiet"])
            assert "device: 'cuda' has no kernels for method 'patches'" in line
            assert "take method 'convolutional', or device 'cpu'" in line
    assert not Path("denoised.png").exists()
    assert not Path("inpainted.png").exists()

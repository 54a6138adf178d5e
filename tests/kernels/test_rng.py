import numpy as np
import pytest

from thalweg import _rng
from thalweg._native import cpu


def test_known_answers_of_random123():
    answers = [
        ([0] * 4, [0] * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    for counter, key, answer in answers:
        assert cpu.philox_block(counter, key) == answer


def test_draws_do_not_depend_on_how_many_are_made():
    long = _rng.words(5, 1, 2, 1000)
    np.testing.assert_array_equal(long[:37], _rng.words(5, 1, 2, 37))


def test_every_key_has_its_own_sequence():
    keys = [(1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2), (1 + 2**40, 1, 1, 1)]
    firsts = {int(_rng.words(seed, stream, step, 1, row)[0]) for seed, stream, step, row in keys}
    assert len(firsts) == len(keys)


def test_permutation_is_one():
    order = _rng.permutation(3, 1, 0, 1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != list(range(1000))
    np.testing.assert_array_equal(order, _rng.permutation(3, 1, 0, 1000))


def test_integers_are_uniform():
    draws = _rng.integers(3, 1, 0, 70_000, 7)
    counts = np.bincount(draws, minlength=7)
    assert counts.size == 7
    # Chi-squared with 6 degrees of freedom: 35 is exceeded once in 200,000 seeds.
    assert np.sum((counts - 10_000) ** 2 / 10_000) < 35


def test_normals_have_the_moments_of_a_normal():
    out = np.empty(200_001)
    cpu.standard_normals(out, 7, 1, 0, 0)
    assert abs(out.mean()) < 5 / np.sqrt(out.size)
    assert abs(out.var() - 1) < 5 * np.sqrt(2 / out.size)
    assert abs(np.mean(out**3)) < 5 * np.sqrt(15 / out.size)
    assert abs(np.mean(out**4) - 3) < 5 * np.sqrt(96 / out.size)


@pytest.mark.parametrize("size", [0, 1, 6, 4099])
def test_words_are_the_same_bits_on_every_backend(size, kernels):
    for seed, stream, row, step in ((0, 0, 0, 0), (2**63 + 5, 65535, 2**48 - 1, 2**32 - 1), (7, 3, 2**33, 4)):
        out = np.empty(size, np.uint32)
        kernels.philox_words(out, seed, stream, row, step)
        expected = np.empty(size, np.uint32)
        cpu.philox_words(expected, seed, stream, row, step)
        np.testing.assert_array_equal(out, expected)


def test_normals_agree_within_ulps_on_every_backend(kernels):
    out = np.empty(4099)
    kernels.standard_normals(out, 9, 1, 2, 3)
    expected = np.empty(4099)
    cpu.standard_normals(expected, 9, 1, 2, 3)
    # An angle that is rounded is a small difference where its sine is one.
    np.testing.assert_allclose(out, expected, rtol=1e-14, atol=1e-14)

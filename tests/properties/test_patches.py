import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thalweg.preprocessing import extract_patches, reconstruct_from_patches


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 25), st.integers(1, 25), st.integers(1, 3)),
    st.tuples(st.integers(1, 25), st.integers(1, 25)),
    st.integers(1, 9),
    st.sampled_from([np.float32, np.float64]),
)
def test_encode_decode_within_one_ulp(seed, shape, size, step, dtype):
    size = (min(size[0], shape[0]), min(size[1], shape[1]))
    step = min(step, *size)  # a larger one leaves holes
    image = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    patches, grid = extract_patches(image, size, step=step)
    back = reconstruct_from_patches(patches, grid)
    assert back.shape == image.shape
    assert (np.abs(back - image) <= np.spacing(np.abs(image))).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 500))
def test_random_patches_lie_in_the_image(seed, count):
    image = np.arange(15 * 11, dtype=float).reshape(15, 11)
    patches, _ = extract_patches(image, (4, 3), max_patches=count, random_state=seed)
    corner = patches[:, 0].astype(int)
    assert (corner // 11 <= 11).all()
    assert (corner % 11 <= 8).all()
    offsets = (11 * np.arange(4)[:, None] + np.arange(3)).ravel()
    np.testing.assert_array_equal(patches, corner[:, None] + offsets)

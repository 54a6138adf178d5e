"""Convolutional sparse coding in obvious float64 NumPy: dense maps, every product by loops over taps.

`y` (C, H, W), `f` (K, C, kh, kw), `z` (K, Hc, Wc); M are weights that broadcast with y, 1 where they are
None; alpha is a number or (K,).
"""

import numpy as np

from . import conv


def synthesis(z, f, image, boundary):
    return conv.convolve(np.asarray(z)[None], f, image, boundary)[0]


def weighted(y, M):
    """y in float64, the squared weights, and zeros where nothing is observed."""
    y = np.asarray(y, np.float64)
    w = np.ones_like(y) if M is None else np.broadcast_to(np.asarray(M, np.float64) ** 2, y.shape)
    return np.where(w > 0, y, 0.0), w


def residual(y, f, z, boundary, M=None):
    """w (y - f * z), w, and y with zeros where nothing is observed."""
    y, w = weighted(y, M)
    return w * (y - synthesis(z, f, y.shape[1:], boundary)), w, y


def square_of(r, w):
    """sum r^2 / w of a weighted residual."""
    return float((r[w > 0] ** 2 / w[w > 0]).sum())


def per_filter(alpha, f):
    return np.broadcast_to(np.asarray(alpha, np.float64), len(f))[:, None, None]


def objective(y, f, z, alpha, boundary, M=None):
    r, w, _ = residual(y, f, z, boundary, M)
    return 0.5 * square_of(r, w) + float((per_filter(alpha, f) * np.abs(z)).sum())


def analysis(r, f, boundary):
    """<r, f_k at p>."""
    return conv.correlate(r[None], f, boundary)[0]


def gap(y, f, z, alpha, boundary, M=None, positive=False):
    """E(z) - sup_t D(t), relative to 1/2 sum w y^2."""
    r, w, y = residual(y, f, z, boundary, M)
    c = analysis(r, f, boundary) / per_filter(alpha, f)
    largest = (c if positive else np.abs(c)).max()
    square, product = square_of(r, w), float((r * y).sum())
    t = product / square if square > 0 else 1.0
    t = max(t, 0.0)
    if largest > 0:
        t = min(t, 1 / largest)
    dual = t * product - 0.5 * t**2 * square
    return (objective(y, f, z, alpha, boundary, M) - dual) / (0.5 * float((w * y**2).sum()))


def violation(y, f, z, alpha, boundary, M=None, positive=False):
    """How far <w r, f_k at p> / alpha_k lies from the subdifferential at most: 0 where z is optimal."""
    c = analysis(residual(y, f, z, boundary, M)[0], f, boundary) / per_filter(alpha, f)
    at_zero = np.maximum((c if positive else np.abs(c)) - 1, 0)
    return float(np.where(z != 0, np.abs(c - np.sign(z)), at_zero).max())


def shrink(u, thresholds, positive):
    if positive:
        return np.maximum(u - thresholds, 0)
    return np.sign(u) * np.maximum(np.abs(u) - thresholds, 0)


def largest_curvature(f, w):
    """An upper bound of the Lipschitz constant of the smooth part's gradient."""
    return float(w.max()) * float((np.abs(f).sum(axis=(2, 3)) ** 2).sum())


def ista(y, f, alpha, boundary, M=None, positive=False, n_iter=1000, init=None, momentum=False, tol=0.0):
    """ISTA, or FISTA with `momentum`; ends early where the gap, looked at every 20 iterations, is <= tol."""
    f = np.asarray(f, np.float64)
    step = 1 / largest_curvature(f, weighted(y, M)[1])
    thresholds = step * per_filter(alpha, f)
    shape = conv.code_shape(np.shape(y)[1:], f.shape[2:], boundary)
    z = np.zeros((len(f), *shape)) if init is None else np.array(init, np.float64)
    point, t = z, 1.0
    for it in range(n_iter):
        if it % 20 == 0 and tol > 0 and gap(y, f, z, alpha, boundary, M, positive) <= tol:
            break
        r = residual(y, f, point, boundary, M)[0]
        new = shrink(point + step * analysis(r, f, boundary), thresholds, positive)
        if not momentum:
            z = point = new
            continue
        if ((point - new) * (new - z)).sum() > 0:  # momentum points uphill: begin it again
            t = 1.0
        after = (1 + np.sqrt(1 + 4 * t * t)) / 2
        point = new + (t - 1) / after * (new - z)
        z, t = new, after
    return z


def fista(*args, **kwargs):
    return ista(*args, momentum=True, **kwargs)


def filter_gradient(y, f, z, boundary, M=None):
    """1/2 sum w (y - f * z)^2 and its gradient in f."""
    r, w, _ = residual(y, f, z, boundary, M)
    size = np.shape(f)[2:]
    return 0.5 * square_of(r, w), -conv.filter_gradient(np.asarray(z)[None], r[None], size, boundary)


def inner(z, image, size, boundary):
    """z with zeros where an atom does not lie inside the image."""
    kept = np.zeros_like(z)
    spans = []
    for length, taps in zip(image, size, strict=True):
        offset = conv.geometry(length, taps, boundary)[1]
        spans.append(slice(offset, offset + length - taps + 1))
    kept[:, spans[0], spans[1]] = z[:, spans[0], spans[1]]
    return kept


def statistics(y, f, z, boundary):
    """A (K, K, 2 kh - 1, 2 kw - 1) and B (K, C, kh, kw) of the atoms inside the image, the others held."""
    y, f, z = (np.asarray(a, np.float64) for a in (y, f, z))
    (kh, kw), (rows, cols) = f.shape[2:], z.shape[1:]
    inside = inner(z, y.shape[1:], (kh, kw), boundary)
    A = np.zeros((len(f), len(f), 2 * kh - 1, 2 * kw - 1))
    padded = np.pad(inside, ((0, 0), (kh - 1, kh - 1), (kw - 1, kw - 1)))
    for dy in range(2 * kh - 1):
        for dx in range(2 * kw - 1):
            shifted = padded[:, dy : dy + rows, dx : dx + cols]
            A[:, :, dy, dx] = np.einsum("kyx,lyx->kl", inside, shifted)
    left = y - synthesis(z - inside, f, y.shape[1:], boundary)
    return A, conv.filter_gradient(inside[None], left[None], (kh, kw), boundary)

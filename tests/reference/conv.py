"""Correlation, convolution and the gradient in the filters by loops over taps, in obvious float64 NumPy."""

import numpy as np


def geometry(size, filter_size, boundary):
    """The codes' size along one axis, and their offset."""
    return {
        "valid": (size + filter_size - 1, filter_size - 1),
        "same": (size, (filter_size - 1) // 2),
        "full": (size - filter_size + 1, 0),
        "circular": (size, 0),
    }[boundary]


def code_shape(image, filters, boundary):
    return tuple(geometry(h, k, boundary)[0] for h, k in zip(image, filters, strict=True))


def pairs(size, filter_size, boundary, i):
    """Codes p, and the pixels p - o + i that they meet with tap i."""
    codes, offset = geometry(size, filter_size, boundary)
    p = np.arange(codes)
    y = p - offset + i
    if boundary == "circular":
        return p, y % size
    inside = (y >= 0) & (y < size)
    return p[inside], y[inside]


def meetings(image, filters, boundary):
    """Every tap (i, j), with the codes and the pixels that it joins."""
    for i in range(filters[0]):
        for j in range(filters[1]):
            p, y = pairs(image[0], filters[0], boundary, i)
            q, x = pairs(image[1], filters[1], boundary, j)
            yield i, j, np.ix_(p, q), np.ix_(y, x)


def correlate(X, filters, boundary):
    X, filters = np.asarray(X, np.float64), np.asarray(filters, np.float64)
    image, size = X.shape[2:], filters.shape[2:]
    Z = np.zeros((len(X), len(filters), *code_shape(image, size, boundary)))
    for i, j, (p, q), (y, x) in meetings(image, size, boundary):
        Z[:, :, p, q] += np.einsum("kc,ncyx->nkyx", filters[:, :, i, j], X[:, :, y, x])
    return Z


def convolve(Z, filters, image, boundary):
    Z, filters = np.asarray(Z, np.float64), np.asarray(filters, np.float64)
    X = np.zeros((len(Z), filters.shape[1], *image))
    for i, j, (p, q), (y, x) in meetings(image, filters.shape[2:], boundary):
        X[:, :, y, x] += np.einsum("kc,nkpq->ncpq", filters[:, :, i, j], Z[:, :, p, q])
    return X


def filter_gradient(Z, X, size, boundary):
    Z, X = np.asarray(Z, np.float64), np.asarray(X, np.float64)
    G = np.zeros((Z.shape[1], X.shape[1], *size))
    for i, j, (p, q), (y, x) in meetings(X.shape[2:], size, boundary):
        G[:, :, i, j] = np.einsum("nkpq,ncpq->kc", Z[:, :, p, q], X[:, :, y, x])
    return G

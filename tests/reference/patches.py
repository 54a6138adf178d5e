"""Patches by slicing, images by averaging, in obvious NumPy."""

import numpy as np


def extract(image, size, positions):
    image = image[:, :, None] if image.ndim == 2 else image
    rows = [image[y : y + size[0], x : x + size[1]].transpose(2, 0, 1).ravel() for y, x in positions]
    return np.array(rows).reshape(len(positions), size[0] * size[1] * image.shape[2])


def places(extent, size, step):
    starts = list(range(0, extent - size + 1, step))
    return starts if starts[-1] == extent - size else [*starts, extent - size]


def grid(shape, size, step):
    return [(y, x) for y in places(shape[0], size[0], step) for x in places(shape[1], size[1], step)]


def average(patches, shape, size, positions):
    height, width, channels = (*shape, 1)[:3]
    total, count = np.zeros((height, width, channels)), np.zeros((height, width, 1))
    for row, (y, x) in zip(patches, positions, strict=True):
        patch = row.reshape(channels, *size).transpose(1, 2, 0)
        total[y : y + size[0], x : x + size[1]] += patch
        count[y : y + size[0], x : x + size[1]] += 1
    return (total / count).reshape(shape)

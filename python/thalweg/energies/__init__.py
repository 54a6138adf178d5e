"""Energies E(x, z; W): what a model holds to be compatible has low energy."""

from .sparse_coding import SparseCodingEnergy

__all__ = ["SparseCodingEnergy"]

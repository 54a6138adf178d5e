"""thalweg: energy-based and latent-variable models with native kernels."""

__version__ = "0.1.0"

"""Recurrent networks that are hard to train: kernels, models, experiments and claims."""

__version__ = "0.1.0"

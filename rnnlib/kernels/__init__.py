"""Numbers on tensors, where the time goes: each operation has a definition and a fast path."""

from rnnlib.kernels.elman import elman_definition, elman_ensemble

__all__ = ["elman_definition", "elman_ensemble"]

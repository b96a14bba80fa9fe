"""Numbers on tensors, where the time goes: each operation has a definition and fast paths."""

from rnnlib.kernels.elman import Errors, elman_definition, elman_ensemble

__all__ = ["Errors", "elman_definition", "elman_ensemble"]

"""Numbers on tensors, where the time goes: each operation has a definition and fast paths."""

from rnnlib.kernels.elman import Errors, elman_definition, elman_ensemble
from rnnlib.kernels.maps import OneUnit, TwoUnitLSTM
from rnnlib.kernels.orbit import lyapunov_definition, lyapunov_exponents, orbit, orbit_definition
from rnnlib.kernels.scan import linear_scan, linear_scan_definition

__all__ = [
    "Errors",
    "OneUnit",
    "TwoUnitLSTM",
    "elman_definition",
    "elman_ensemble",
    "linear_scan",
    "linear_scan_definition",
    "lyapunov_definition",
    "lyapunov_exponents",
    "orbit",
    "orbit_definition",
]

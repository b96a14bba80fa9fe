"""Kernels compiled for the CPU by numba; imported only by the operation that runs them."""

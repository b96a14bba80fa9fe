"""Kernels compiled for a GPU by Triton; imported only by the operation that runs them."""

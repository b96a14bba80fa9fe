"""Random matrices with a stated scale, spectrum or structure, and the measures that state it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnlib import checks


def normal(
    shape: Sequence[int],
    std: float,
    *,
    generator: torch.Generator,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Independent entries from N(0, std^2).

    ``generator`` must live on ``device``; ``dtype`` defaults to torch's default.

    Raises:
        ArgumentError: if ``std`` is not a finite number above zero.
    """
    checks.positive("std", std)
    return std * torch.randn(*shape, generator=generator, dtype=dtype, device=device)


def orthogonal(
    n: int, gain: float = 1.0, *, generator: torch.Generator, dtype: torch.dtype | None = None
) -> Tensor:
    """``gain`` times an orthogonal ``(n, n)`` matrix drawn from the uniform (Haar) distribution.

    Source: Mezzadri (2007): the QR factor of a Gaussian matrix is uniform once the signs of
    ``R``'s diagonal are divided out.

    Raises:
        ArgumentError: if ``n < 1`` or ``gain`` is not a finite number above zero.
    """
    checks.at_least("n", n, 1)
    checks.positive("gain", gain)
    Q, R = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=dtype))
    return gain * Q * R.diagonal().sign()


def sparse(
    n: int,
    *,
    nonzeros: int = 15,
    radius: float = 0.95,
    generator: torch.Generator,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Gaussian ``(n, n)`` matrix with ``nonzeros`` entries a row, scaled to a spectral radius.

    Source: Martens (2010), "sparse initialisation", with the rescaling of Sutskever et al. (2013).

    Raises:
        ArgumentError: unless ``1 <= nonzeros <= n`` and ``radius`` is finite and above zero, or
            if the draw has radius 0 (only likely for one or two non-zeros a row).
    """
    checks.at_least("nonzeros", nonzeros, 1)
    checks.at_least("n", n, nonzeros)
    columns = torch.rand(n, n, generator=generator).argsort(dim=1)[:, :nonzeros]
    values = torch.randn(n, nonzeros, generator=generator, dtype=dtype)
    W = torch.zeros(n, n, dtype=values.dtype).scatter_(1, columns, values)
    return scaled_to_radius(W, radius)


def with_spectrum(
    eigenvalues: Tensor | Sequence[float],
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """``W = V diag(eigenvalues) V^-1`` with random unit eigenvectors: a prescribed real spectrum.

    Gaussian draws rarely have a real, well separated leading eigenvalue, which power iteration
    needs; here it is chosen. The condition number of ``V`` grows with ``n``, so the spectrum is
    met to about ``1e-12`` for ``n = 20`` in float64.

    Raises:
        ArgumentError: if ``eigenvalues`` is not one-dimensional, real and finite.
    """
    # A list is read in float64: torch's default would drop half its digits.
    lam = (
        eigenvalues
        if isinstance(eigenvalues, Tensor)
        else torch.tensor(eigenvalues, dtype=torch.float64)
    )
    if lam.ndim != 1 or lam.numel() == 0 or lam.is_complex() or not lam.isfinite().all():
        raise checks.ArgumentError(
            f"eigenvalues must be a non-empty list of finite real numbers, got {eigenvalues!r}"
        )
    lam = lam.to(dtype)
    V = torch.randn(len(lam), len(lam), generator=generator, dtype=dtype)
    V = V / V.norm(dim=0)
    return torch.linalg.solve(V, V * lam, left=False)


def spectral_radius(W: Tensor) -> Tensor:
    """Largest modulus of an eigenvalue of ``W``; ``(..., n, n)`` to ``(...)``.

    Governs ``W^l`` as ``l`` grows without bound. It bounds neither a finite power nor a product
    of different matrices; ``spectral_norm`` does. NaN for a matrix that is not finite: a network
    that diverged has one, and LAPACK may crash the process on it.
    """
    finite = W.isfinite().flatten(-2).all(-1)
    radius = torch.linalg.eigvals(W.where(finite[..., None, None], 0.0)).abs().amax(-1)
    return radius.where(finite, torch.nan)


def spectral_norm(W: Tensor) -> Tensor:
    """Largest singular value of ``W``; ``(..., n, n)`` to ``(...)``."""
    return torch.linalg.matrix_norm(W, ord=2)


def scaled_to_radius(W: Tensor, radius: float) -> Tensor:
    """Multiply ``W`` so that its spectral radius is ``radius``; leading axes are a batch.

    Raises:
        ArgumentError: if ``radius`` is not finite and above zero, or if a ``W`` has radius 0 or is
            not finite.
    """
    checks.positive("radius", radius)
    found = spectral_radius(W)
    if not (found > 0).all():
        bad = found[~(found > 0)][0].item()
        raise checks.ArgumentError(f"W must have a spectral radius > 0 to be rescaled, got {bad:g}")
    return W * (radius / found)[..., None, None]

"""Initialisers: the scale, spectrum or structure that each promises, measured another way."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlib import init
from rnnlib.checks import ArgumentError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_normal_has_the_stated_moments():
    draw = init.normal((300, 400), 0.1, generator=generator(), dtype=torch.float64)
    n = draw.numel()
    # Five standard errors of the mean, the standard deviation and the fourth moment (3 std^4).
    assert abs(float(draw.mean())) < 5 * 0.1 / math.sqrt(n)
    assert abs(float(draw.std()) - 0.1) < 5 * 0.1 / math.sqrt(2 * n)
    assert abs(float((draw / 0.1).pow(4).mean()) - 3) < 5 * math.sqrt(96 / n)


def test_normal_draws_from_the_generator_alone():
    first = init.normal((3, 2), 1.0, generator=generator(7))
    torch.manual_seed(99)
    assert torch.equal(first, init.normal((3, 2), 1.0, generator=generator(7)))
    assert not torch.equal(first, init.normal((3, 2), 1.0, generator=generator(8)))
    assert first.dtype == torch.get_default_dtype()


@pytest.mark.parametrize("std", [0, -1.0, math.nan, math.inf])
def test_normal_refuses_a_bad_std(std):
    with pytest.raises(ArgumentError, match="std must be a finite number > 0"):
        init.normal((2, 2), std, generator=generator())


@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_orthogonal_preserves_length_up_to_the_gain(n):
    Q = init.orthogonal(n, 1.3, generator=generator(), dtype=torch.float64)
    identity = torch.eye(n, dtype=torch.float64)
    torch.testing.assert_close(Q.mT @ Q, 1.69 * identity, rtol=0, atol=1e-12)


def test_orthogonal_is_uniform_not_just_orthogonal():
    """The bare QR factor has a first entry of one sign; a uniform one has mean zero."""
    g = generator()
    first = torch.stack([init.orthogonal(2, generator=g)[0, 0] for _ in range(1000)])
    assert abs(float(first.mean())) < 5 * math.sqrt(0.5 / 1000)  # five standard errors


def test_orthogonal_refuses_no_units():
    with pytest.raises(ArgumentError, match="n must be an integer >= 1, got 0"):
        init.orthogonal(0, generator=generator())


def test_sparse_has_its_nonzeros_in_random_columns_and_its_radius():
    W = init.sparse(40, nonzeros=6, radius=1.2, generator=generator(), dtype=torch.float64)
    assert torch.equal((W != 0).sum(1), torch.full((40,), 6))
    assert int((W != 0).sum(0).max()) < 40
    assert np.abs(np.linalg.eigvals(W.numpy())).max() == pytest.approx(1.2, rel=1e-10)


def test_sparse_defaults_are_fifteen_and_point_nine_five():
    W = init.sparse(30, generator=generator(), dtype=torch.float64)
    assert torch.equal((W != 0).sum(1), torch.full((30,), 15))
    assert float(init.spectral_radius(W)) == pytest.approx(0.95, rel=1e-10)


@pytest.mark.parametrize(("n", "nonzeros"), [(10, 11), (10, 0)])
def test_sparse_refuses_what_does_not_fit(n, nonzeros):
    with pytest.raises(ArgumentError, match="must be an integer >= "):
        init.sparse(n, nonzeros=nonzeros, generator=generator())


def test_with_spectrum_has_that_spectrum_and_is_not_normal():
    wanted = torch.tensor([1.05, -0.9, 0.5, 0.5, 0.0], dtype=torch.float64)
    W = init.with_spectrum(wanted, generator=generator())
    found = np.sort_complex(np.linalg.eigvals(W.numpy()))
    np.testing.assert_allclose(found, np.sort(wanted.numpy()), atol=1e-10)
    assert float((W @ W.mT - W.mT @ W).abs().max()) > 0.1


def test_with_spectrum_of_twenty_keeps_eleven_digits_of_a_list():
    wanted = [1.05 * 0.85**j for j in range(20)]
    for seed in range(5):
        W = init.with_spectrum(wanted, generator=generator(seed))
        assert float(init.spectral_radius(W)) == pytest.approx(1.05, rel=1e-11)


@pytest.mark.parametrize(
    "spectrum", [[], [1.0, math.nan], torch.ones(2, 2), torch.tensor([1.0 + 1.0j])]
)
def test_with_spectrum_refuses_what_is_no_real_spectrum(spectrum):
    with pytest.raises(ArgumentError, match="eigenvalues must be a non-empty list"):
        init.with_spectrum(spectrum, generator=generator())


@given(st.integers(0, 2**31), st.integers(1, 6))
def test_radius_and_norm_agree_with_numpy_and_radius_is_the_smaller(seed, n):
    W = torch.randn(3, n, n, generator=generator(seed), dtype=torch.float64)
    radius, norm = init.spectral_radius(W), init.spectral_norm(W)
    eigenvalues = np.abs(np.linalg.eigvals(W.numpy())).max(-1)
    np.testing.assert_allclose(radius.numpy(), eigenvalues, rtol=1e-8)
    # Second opinion on the norm: the largest eigenvalue of W^T W.
    np.testing.assert_allclose(
        norm.numpy() ** 2, torch.linalg.eigvalsh(W.mT @ W)[:, -1].numpy(), rtol=1e-9
    )
    assert bool((radius <= norm * (1 + 1e-12)).all())


def test_scaled_to_radius_scales_each_of_a_stack():
    W = torch.randn(4, 6, 6, generator=generator(), dtype=torch.float64)
    scaled = init.scaled_to_radius(W, 0.7)
    torch.testing.assert_close(init.spectral_radius(scaled), W.new_full((4,), 0.7))
    ratio = scaled / W
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio))


def test_scaled_to_radius_refuses_a_nilpotent_matrix():
    with pytest.raises(ArgumentError, match="W must have a spectral radius > 0"):
        init.scaled_to_radius(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), 1.0)


def test_radius_of_a_matrix_that_diverged_is_nan_and_leaves_the_others():
    W = torch.stack([torch.eye(3), torch.full((3, 3), torch.inf), torch.full((3, 3), torch.nan)])
    radii = init.spectral_radius(W)
    assert radii[0] == 1
    assert radii[1:].isnan().all()
    with pytest.raises(ArgumentError, match=r"W must have a spectral radius > 0 .* got nan"):
        init.scaled_to_radius(W, 0.5)

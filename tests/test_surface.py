"""The error surface against autograd and 40-digit arithmetic; descent against its own rules."""

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlib import surface
from rnnlib.checks import ArgumentError
from rnnlib.gradients import alignment, growth_rate

SIGMA = 0.6224593312018546  # sigma(0.5)


def error_by_loop(point, seq_len=50, x0=0.5, target=0.7):
    w, b = point.unbind(-1)
    x = torch.full_like(w, x0)
    for _ in range(seq_len):
        x = w * torch.sigmoid(x) + b
    return (torch.sigmoid(x) - target) ** 2


def across_the_wall(w, seq_len=50, half_width=4.0, count=4001):
    """Biases within ``half_width / max|g|`` of the gradient's peak, found by zooming in on it."""
    centre, reach = surface.wall_line(w), 2e-3
    for _ in range(12):
        b = centre + reach * torch.linspace(-1, 1, 201, dtype=torch.float64)
        norm = surface.error_surface(w, b, seq_len=seq_len).gradient.norm(dim=-1)
        centre, reach = float(b[norm.argmax()]), reach / 5
    peak = float(norm.max())
    return (
        centre,
        peak,
        centre + half_width / peak * torch.linspace(-1, 1, count, dtype=torch.float64),
    )


@given(
    w=st.floats(-3, 5), b=st.floats(-3, 3), seq_len=st.integers(1, 12), target=st.floats(0.1, 0.9)
)
def test_derivatives_are_autograds(w, b, seq_len, target):
    point = torch.tensor([w, b], dtype=torch.float64)

    def error(p):
        return error_by_loop(p, seq_len, 0.3, target)

    found = surface.error_surface(w, b, seq_len=seq_len, x0=0.3, target=target)
    gradient = torch.autograd.functional.jacobian(error, point)
    hessian = torch.autograd.functional.hessian(error, point)
    close = {"rtol": 1e-9, "atol": 1e-13}
    torch.testing.assert_close(found.error, error(point), **close)
    torch.testing.assert_close(found.gradient, gradient, **close)
    torch.testing.assert_close(
        torch.stack([found.hess_ww, found.hess_wb, found.hess_wb, found.hess_bb]),
        hessian.flatten(),
        **close,
    )


@pytest.mark.parametrize(("w", "b"), [(5.0, -2.6), (5.0, -2.7), (5.5, -2.93), (4.25, -2.0)])
def test_second_derivatives_keep_their_digits_in_forty_digit_arithmetic(w, b):
    def error(w, b):
        x = mpmath.mpf("0.5")
        for _ in range(50):
            x = w / (1 + mpmath.exp(-x)) + b
        return (1 / (1 + mpmath.exp(-x)) - mpmath.mpf("0.7")) ** 2

    found = surface.error_surface(w, b)
    with mpmath.workdps(40):
        truth = [
            float(mpmath.diff(error, (mpmath.mpf(w), mpmath.mpf(b)), order))
            for order in ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
        ]
    # Fifty expanding steps amplify rounding; ten digits are left of sixteen.
    assert [float(v) for v in found[1:6]] == pytest.approx(truth, rel=1e-9)


def test_it_broadcasts_and_reports_the_last_state():
    w, b = torch.tensor([[4.0], [6.0]]), torch.tensor([-3.0, -2.5, -2.0])
    found = surface.error_surface(w, b)
    assert all(field.shape == (2, 3) and field.dtype == torch.float64 for field in found)
    torch.testing.assert_close((found.state.sigmoid() - 0.7) ** 2, found.error)
    alone = surface.error_surface(6.0, -2.5)
    assert [float(f[1, 1]) for f in found] == [float(f) for f in alone]
    with pytest.raises(ArgumentError, match="seq_len must be an integer >= 1, got 0"):
        surface.error_surface(4.0, -2.0, seq_len=0)


def test_curvature_is_the_leading_eigenpair():
    w = torch.linspace(3, 6, 31)[:, None]
    found = surface.error_surface(w, torch.linspace(-3.2, -2, 41))
    hessian = torch.stack(
        [found.hess_ww, found.hess_wb, found.hess_wb, found.hess_bb], dim=-1
    ).unflatten(-1, (2, 2))
    values, vectors = torch.linalg.eigh(hessian)
    pick = values.abs().argmax(-1, keepdim=True)
    curvature, direction = found.curvature
    scale = values.abs().amax(-1)
    assert bool((scale > 0).all())
    torch.testing.assert_close(
        curvature / scale, values.gather(-1, pick)[..., 0] / scale, rtol=0, atol=1e-12
    )
    # Where the two eigenvalues are of equal modulus the leading one is a matter of rounding.
    clear = (values.sum(-1).abs() / scale > 1e-6) & (values.diff(dim=-1)[..., 0] / scale > 1e-6)
    leading = vectors.gather(-1, pick[..., None, :].expand(*pick.shape[:-1], 2, 1))[..., 0]
    cosine = alignment(direction, leading)[clear]
    torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=0, atol=1e-12)
    assert int((curvature < 0).sum()) > 0
    assert int((curvature > 0).sum()) > 0


def test_window_statistics_of_the_specification():
    """P12-C10: beside the wall the surface is flat."""
    w = torch.linspace(4, 6, 401, dtype=torch.float64)[:, None]
    found = surface.error_surface(w, torch.linspace(-3.2, -2, 401, dtype=torch.float64))
    norm = found.gradient.norm(dim=-1).flatten()
    assert float(norm.median()) == pytest.approx(0.102, abs=5e-4)
    assert float(norm.quantile(0.99)) == pytest.approx(0.757, abs=5e-4)
    assert float((norm > 1).double().mean()) == pytest.approx(0.0070, abs=5e-5)
    assert float((norm > 10).double().mean()) == pytest.approx(0.0016, abs=5e-5)
    assert float(found.error.max()) == pytest.approx(0.4266, abs=5e-5)


@pytest.mark.parametrize(
    ("w", "b_star", "peak"),
    [
        (4.5, -2.30296528, 157.007),
        (4.75, -2.45700213, 952.721),
        (5.0, -2.61234136, 6773.13),
        (5.25, -2.76791737, 5.1426e4),
        (5.5, -2.92352710, 3.8885e5),
        (6.0, -3.23475600, 1.9589e7),
    ],
)
def test_the_wall_stands_where_the_start_is_the_boundary(w, b_star, peak):
    """P12-F3 (a), and C9: the gradient there is normal to the line."""
    found, norm, _ = across_the_wall(w)
    assert found == pytest.approx(b_star, abs=1e-8)
    assert norm == pytest.approx(peak, rel=2e-5)
    line = surface.wall_line(w)
    assert line == pytest.approx(0.5 - SIGMA * w, abs=1e-14)
    if w >= 5:
        assert found == pytest.approx(line, abs=1e-4)
        gradient = surface.error_surface(w, found).gradient
        normal = torch.tensor([SIGMA, 1.0], dtype=torch.float64)
        assert float(alignment(gradient, normal)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("w", "curvature"), [(5.0, 2.3e8), (6.0, 1.7e15)])
def test_curvature_peaks_beside_the_wall_along_the_gradient(w, curvature):
    """P12-C8 and C9: of the order of the squared gradient, and in its direction."""
    _, _, b = across_the_wall(w)
    found = surface.error_surface(w, b)
    value, direction = found.curvature
    leading = value.abs().argmax()
    assert float(value.abs()[leading]) == pytest.approx(curvature, rel=0.03)
    cosine = alignment(direction[leading], found.gradient[leading])
    assert float(cosine) == pytest.approx(1, abs=1e-7)


# At w = 6 the wall is too narrow for float64 beyond fifty steps or so.
@pytest.mark.parametrize(("w", "first"), [(5.0, 70), (6.0, 40)])
def test_on_the_wall_the_gradient_grows_by_the_slope_and_the_curvature_by_its_square(w, first):
    """P12-C7 and C8, over ten steps."""
    gradients, curvatures = [], []
    for seq_len in range(first, first + 11):
        _, peak, b = across_the_wall(w, seq_len)
        curvature, _ = surface.error_surface(w, b, seq_len=seq_len).curvature
        gradients.append(peak)
        curvatures.append(float(curvature.abs().max()))
    slope = math.log(w * SIGMA * (1 - SIGMA))
    assert float(growth_rate(torch.tensor(gradients))) == pytest.approx(slope, abs=3e-4)
    assert float(growth_rate(torch.tensor(curvatures))) == pytest.approx(2 * slope, abs=6e-4)


def test_close_to_the_wall_means_a_thousandth():
    """P12-C31: gradient norms at 1e-1 .. 1e-5 below and above the wall."""
    wall, _, _ = across_the_wall(5.0)
    offsets = torch.tensor([1e-1, 1e-2, 1e-3, 1e-4, 1e-5], dtype=torch.float64)
    below = surface.error_surface(5.0, wall - offsets).gradient.norm(dim=-1)
    above = surface.error_surface(5.0, wall + offsets).gradient.norm(dim=-1)
    assert below.tolist() == pytest.approx([0.190, 0.239, 0.252, 165.5, 6040], rel=3e-3)
    assert above.tolist() == pytest.approx([0.137, 0.193, 0.849, 85.9, 5970], rel=3e-3)


def test_values_across_the_wall_and_on_it():
    for w, left, right in ((5.0, 0.3528, 0.0172), (5.5, 0.3971, 0.0300), (6.0, 0.4259, 0.0414)):
        b = surface.wall_line(w) + torch.tensor([-0.05, 0.05], dtype=torch.float64)
        found = surface.error_surface(w, b).error
        assert found.tolist() == pytest.approx([left, right], abs=6e-5)
    # On the line x_0 is a fixed point; after a few steps rounding has not yet pushed it off.
    on_it = surface.error_surface(5.0, surface.wall_line(5.0), seq_len=5).error
    assert float(on_it) == pytest.approx((SIGMA - 0.7) ** 2, abs=1e-12)


def test_the_valley_has_its_floor_where_the_start_lies_in_the_basin():
    w = torch.tensor([4.0, 4.2], dtype=torch.float64)
    # At w = 4 the fixed point's slope is 0.84: 50 steps leave 0.84^50 = 2e-4 of the distance.
    assert bool((surface.error_surface(w, surface.valley_line(w)).error < 1e-7).all())
    assert float(surface.valley_line(5.0)) == pytest.approx(0.8472978604 - 3.5, abs=1e-9)
    w = torch.tensor([4.5, 4.6], dtype=torch.float64)
    found = surface.error_surface(w, surface.valley_line(w)).error
    assert found.tolist() == pytest.approx([0.0898, 0.283], abs=5e-4)


# Descent -------------------------------------------------------------------------------------

ROWS = [
    ((5.0, -2.4), 0.05, 1.0, 29, 0.899),
    ((5.0, -2.4), 0.1, 1.0, 35, 0.335),
    ((5.0, -2.5), 0.1, 0.5, 43, 0.172),
    ((5.5, -2.7), 0.1, 0.5, 85, 1.219),
]


def nearby(start, count=200):
    noise = torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.tensor(start, dtype=torch.float64) + 1e-6 * noise


def test_a_path_is_gradient_descent_written_out():
    start = torch.tensor([[5.0, -2.4], [4.2, -2.1]], dtype=torch.float64)
    path = surface.descend(start, learning_rate=0.1, n_steps=5)
    point = start.clone()
    for t in range(6):
        torch.testing.assert_close(path.points[t], point, rtol=1e-10, atol=0)
        point = point.clone().requires_grad_()
        error = error_by_loop(point)
        (gradient,) = torch.autograd.grad(error.sum(), point)
        # The second start lies so deep in the valley that its error, 1e-17, is rounding squared.
        torch.testing.assert_close(path.error[t], error.detach(), rtol=1e-9, atol=1e-20)
        torch.testing.assert_close(path.grad_norm[t], gradient.norm(dim=-1), rtol=1e-9, atol=1e-14)
        if t < 5:
            torch.testing.assert_close(
                path.step_length[t], 0.1 * gradient.norm(dim=-1), rtol=1e-9, atol=1e-14
            )
        point = (point - 0.1 * gradient).detach()


@pytest.mark.parametrize("threshold", [math.inf, 0.05])
def test_its_errors_and_norms_are_those_of_the_surface(threshold):
    options = {"learning_rate": 0.05, "n_steps": 20, "seq_len": 30}
    path = surface.descend(torch.tensor([5.0, -2.4]), threshold=threshold, **options)
    w, b = path.points.unbind(-1)
    found = surface.error_surface(w, b, seq_len=30)
    torch.testing.assert_close(path.error, found.error, rtol=1e-10, atol=0)
    torch.testing.assert_close(path.grad_norm, found.gradient.norm(dim=-1), rtol=1e-10, atol=0)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0,)])
def test_any_number_of_starts(lead):
    start = torch.tensor([5.0, -2.4]).expand(*lead, 2)
    path = surface.descend(start, learning_rate=0.1, n_steps=4)
    assert path.points.shape == (5, *lead, 2)
    assert path.error.shape == path.grad_norm.shape == (5, *lead)
    assert path.step_length.shape == (4, *lead)


@pytest.mark.parametrize(("start", "learning_rate", "threshold", "index", "length"), ROWS)
def test_the_first_wall_contact_comes_when_it_should(
    start, learning_rate, threshold, index, length
):
    """Section 3.6; up to here the path is not yet chaotic in the rounding."""
    path = surface.descend(
        torch.tensor(start, dtype=torch.float64), learning_rate=learning_rate, n_steps=100
    )
    assert int((path.grad_norm > 1).nonzero()[0]) == index
    assert float(path.step_length[index]) == pytest.approx(length, abs=2e-3)


@pytest.mark.parametrize(("start", "learning_rate", "threshold"), [row[:3] for row in ROWS])
def test_rescaled_descent_stays_and_plain_descent_mostly_leaves(start, learning_rate, threshold):
    """P12-F3 (c), over 200 starts 1e-6 apart since single plain runs are chaotic."""
    options = {"learning_rate": learning_rate, "n_steps": 400}
    rescaled = surface.descend(nearby(start), threshold=threshold, **options)
    assert float(rescaled.step_length.max()) <= learning_rate * threshold * (1 + 1e-9)
    assert float(rescaled.error[-1].max()) < 0.01
    plain = surface.descend(nearby(start), **options)
    share = float((plain.error[-1] > 0.08).double().mean())
    # About .8 at learning rate .1, about a third at .05; 5 standard errors of 200 starts are .16.
    assert share > 0.5 if learning_rate == 0.1 else 0.15 < share < 0.5


def test_a_run_that_leaves_the_numbers_is_recorded_and_harms_no_other():
    start = torch.tensor([[5.0, -2.4], [math.nan, 0.0], [math.inf, 0.0]], dtype=torch.float64)
    for threshold in (1.0, math.inf):
        options = {"learning_rate": 0.1, "threshold": threshold, "n_steps": 10}
        path = surface.descend(start, **options)
        assert not bool(path.points[1:, 1:].isfinite().all(-1).any())
        assert bool(path.error[1:, 1:].isnan().all())
        alone = surface.descend(start[0], **options)
        torch.testing.assert_close(path.points[:, 0], alone.points, rtol=1e-12, atol=0)


def test_an_absurd_learning_rate_ends_in_no_crash():
    path = surface.descend(torch.tensor([5.0, -2.61234136]), learning_rate=1e308, n_steps=5)
    assert not bool(path.points[-1].isfinite().all())


@pytest.mark.parametrize("learning_rate", [0.0, -0.1, math.nan, math.inf])
def test_descend_refuses_a_bad_learning_rate(learning_rate):
    with pytest.raises(ArgumentError, match="learning_rate must be a finite number > 0, got"):
        surface.descend(torch.tensor([5.0, -2.4]), learning_rate=learning_rate, n_steps=1)


@pytest.mark.parametrize(
    ("start", "options", "message"),
    [
        (torch.zeros(3), {}, r"start must have shape \(..., 2\), got \(3,\)"),
        (torch.zeros(()), {}, "start must have shape"),
        (torch.zeros(2), {"n_steps": -1}, "n_steps must be an integer >= 0"),
        (torch.zeros(2), {"seq_len": 0}, "seq_len must be an integer >= 1"),
        (torch.zeros(2), {"threshold": 0.0}, "threshold must be a number > 0"),
    ],
)
def test_descend_names_what_is_wrong(start, options, message):
    with pytest.raises(ArgumentError, match=message):
        surface.descend(start, **{"learning_rate": 0.1, "n_steps": 1} | options)

"""The claims of Pascanu, Mikolov & Bengio (2012), in the order of the paper.

Each section's claims stand in a module of their own, every one beside the measure and the judge
that decide it: ``p12_unrolled`` (sections 1 to 2.1), ``p12_linear`` (2.2), ``p12_expansion`` and
``p12_lower_bound`` (2.3), ``p12_wall`` and ``p12_descent`` (2.4), ``p12_dynamics`` (2.5),
``p12_remedies`` (3), ``p12_experiments``, ``p12_success_rates`` and ``p12_training_runs`` (4, 5).
"""

from __future__ import annotations

from rnnlib.claims import p12_descent as descent
from rnnlib.claims import p12_dynamics as dynamics
from rnnlib.claims import p12_expansion as expansion
from rnnlib.claims import p12_experiments as experiments
from rnnlib.claims import p12_linear as linear
from rnnlib.claims import p12_lower_bound as bound
from rnnlib.claims import p12_remedies as remedies
from rnnlib.claims import p12_success_rates as success
from rnnlib.claims import p12_training_runs as training
from rnnlib.claims import p12_unrolled as unrolled
from rnnlib.claims import p12_wall as wall
from rnnlib.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = (
    # 1 Introduction and 1.1 Training recurrent networks
    unrolled.F1,
    unrolled.E1,
    unrolled.E2,
    unrolled.F2,
    unrolled.E3,
    unrolled.E4,
    unrolled.E5,
    # 2 Exploding gradients; 2.2 Linear model
    unrolled.C1,
    linear.E6,
    linear.E7,
    linear.C2,
    linear.C3,
    linear.E8,
    # 2.3 Nonlinear model
    expansion.E9,
    expansion.E10,
    expansion.C4,
    expansion.C5,
    expansion.C6,
    bound.E11,
    bound.E12,
    bound.E13,
    bound.C32,
    wall.C7,
    # 2.4 The geometrical interpretation
    wall.E14,
    descent.F3,
    wall.C33,
    wall.C8,
    wall.C9,
    descent.C11,
    wall.C10,
    descent.C12,
    # 2.5 Drawing similarities with dynamical systems
    dynamics.F4,
    dynamics.C13,
    dynamics.C14,
    dynamics.C31,
    dynamics.C15,
    dynamics.C16,
    dynamics.C17,
    dynamics.F5,
    dynamics.F6,
    # 3 Dealing with the exploding gradient
    remedies.C18,
    remedies.C19,
    remedies.C20,
    remedies.A1,
    remedies.C21,
    training.C22,
    remedies.C23,
    # 4 Experiments and results; 5 Summary
    experiments.T1,
    experiments.C24,
    experiments.T2,
    experiments.C25,
    experiments.C26,
    experiments.C27,
    success.F7,
    success.F7A,
    success.F7B,
    success.F7C,
    training.C28,
    training.C29,
    experiments.C30,
)

"""The claims of Pascanu, Mikolov & Bengio (2013), in the order of the paper (arXiv, version 2).

Each section's claims stand in a module of their own, every one beside the measure and the judge
that decide it: ``p13_mechanics`` (sections 1 to 2.1), ``p13_dynamics`` (2.2), ``p13_geometry``
(2.3), ``p13_remedies`` (3.1, 3.2), ``p13_regulariser`` (3.3), ``p13_tables`` (4) and
``p13_supplement``. What rests on records of runs is in ``p13_training_runs`` (3.2, 3.3, 4.1),
``p13_inside`` (3.3), ``p13_success_rates`` and ``p13_lengths`` (4.1.1), ``p13_experiments``
(4.1.2), ``p13_natural`` and ``p13_gains`` (4.2). What the paper shares with that of 2012 is
measured by the modules ``p12_*``.
"""

from __future__ import annotations

from rnnlib.claims import p13_dynamics as dynamics
from rnnlib.claims import p13_experiments as experiments
from rnnlib.claims import p13_gains as gains
from rnnlib.claims import p13_geometry as geometry
from rnnlib.claims import p13_inside as inside
from rnnlib.claims import p13_lengths as lengths
from rnnlib.claims import p13_mechanics as mechanics
from rnnlib.claims import p13_natural as natural
from rnnlib.claims import p13_regulariser as regulariser
from rnnlib.claims import p13_remedies as remedies
from rnnlib.claims import p13_success_rates as success
from rnnlib.claims import p13_supplement as supplement
from rnnlib.claims import p13_tables as tables
from rnnlib.claims import p13_training_runs as training
from rnnlib.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = (
    # 1 Introduction and 1.1 Training recurrent networks
    mechanics.F1,
    mechanics.E1,
    mechanics.E2,
    mechanics.F2,
    mechanics.E3,
    mechanics.E4,
    mechanics.E5,
    mechanics.C1,
    # 2 Exploding and vanishing gradients; 2.1 The mechanics
    mechanics.C2,
    mechanics.E6,
    mechanics.E7,
    mechanics.C4,
    mechanics.C3,
    # 2.2 Drawing similarities with dynamical systems
    dynamics.F3,
    dynamics.C5,
    dynamics.F4,
    dynamics.F5,
    dynamics.C6,
    # 2.3 The geometrical interpretation
    geometry.E8,
    geometry.F6,
    geometry.C7,
    geometry.C8,
    geometry.C9,
    # 3.1 Previous solutions
    remedies.C10,
    remedies.C31,
    remedies.C32,
    remedies.C33,
    # 3.2 Scaling down the gradients
    remedies.A1,
    remedies.C36,
    training.C11,
    # 3.3 Vanishing gradient regularisation
    training.C14,
    regulariser.E9,
    regulariser.E10,
    regulariser.C15,
    inside.C12,
    training.C13,
    inside.C35,
    # 4.1 Pathological synthetic problems
    success.F7,
    success.F7A,
    success.F7B,
    training.C30,
    lengths.C16,
    lengths.C16A,
    lengths.C16B,
    lengths.C17,
    lengths.C17A,
    lengths.C18,
    lengths.C18A,
    experiments.C19,
    experiments.C20,
    experiments.C21,
    experiments.C23,
    experiments.C22,
    experiments.C34,
    tables.C24,
    # 4.2 Natural problems
    natural.T1,
    gains.C25,
    natural.T2,
    natural.T2A,
    gains.C26,
    tables.C29,
    gains.C27,
    gains.C27A,
    # Supplement
    supplement.E12,
    supplement.E13,
    supplement.E14,
    supplement.S1,
    gains.C28,
)

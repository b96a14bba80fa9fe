"""The claims of Pascanu, Mikolov & Bengio (2013), in the order of the paper (arXiv, version 2).

Each section's claims stand in a module of their own, every one beside the measure and the judge
that decide it: ``p13_mechanics`` (sections 1 to 2.1), ``p13_dynamics`` (2.2), ``p13_geometry``
(2.3), ``p13_remedies`` (3.1, 3.2), ``p13_regulariser`` (3.3), ``p13_tables`` (4) and
``p13_supplement``. What the paper shares with that of 2012 is measured by the modules ``p12_*``.
"""

from __future__ import annotations

from rnnlib.claims import p13_dynamics as dynamics
from rnnlib.claims import p13_geometry as geometry
from rnnlib.claims import p13_mechanics as mechanics
from rnnlib.claims import p13_regulariser as regulariser
from rnnlib.claims import p13_remedies as remedies
from rnnlib.claims import p13_supplement as supplement
from rnnlib.claims import p13_tables as tables
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
    # From records: C11
    # 3.3 Vanishing gradient regularisation
    # From records: C14
    regulariser.E9,
    regulariser.E10,
    regulariser.C15,
    # From records: C12, C13, C35
    # 4.1 Pathological synthetic problems
    # From records: F7, C30, C16, C17, C18; C19, C20, C21, C23, C22, C34
    tables.C24,
    # 4.2 Natural problems
    # From records: T1, C25, T2
    tables.C26,
    tables.C29,
    # From records: C27
    # Supplement
    supplement.E12,
    supplement.E13,
    supplement.E14,
    supplement.S1,
    # From records: C28
)

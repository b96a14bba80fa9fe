"""P13, section 4: the printed tables, and what follows from them or from others' papers alone."""

from __future__ import annotations

from rnnlib.claims.claim import Claim

Scores = tuple[float | None, float | None, float | None]
"""SGD, SGD with clipping, SGD with clipping and regulariser; None where the print says N/A."""

# Tables 1 and 2 as printed in the arXiv text.
MUSIC: dict[str, dict[str, Scores]] = {
    "piano-midi": {"train": (6.87, 6.81, 7.01), "test": (7.56, 7.53, 7.46)},
    "nottingham": {"train": (3.67, 3.21, 3.24), "test": (3.80, 3.48, 3.46)},
    "musedata": {"train": (8.25, 6.54, 6.51), "test": (7.11, 7.00, 6.99)},
}
CHARACTERS: dict[str, dict[str, Scores]] = {
    "1 step": {"train": (1.46, 1.34, 1.36), "test": (1.50, 1.42, 1.41)},
    "5 steps": {"train": (None, 3.76, 3.70), "test": (None, 3.89, 3.74)},
}

C24 = Claim(
    "P13-C24",
    "statement",
    "section 4.1.2",
    "In most cases the results beat Martens & Sutskever (2011) in success rate, deal with longer "
    "sequences than Hochreiter & Schmidhuber (1997) and generalise to longer ones than Jaeger "
    "(2012).",
    note="A comparison with figures of other papers, for methods that are not run here "
    "(Hessian-free learning, LSTM, echo state networks). This paper prints no number for it; the "
    "success rates and lengths of its own method are claims of their own.",
)


C29 = Claim(
    "P13-C29",
    "statement",
    "section 4.2",
    "On Penn Treebank the regularised model performs as well as the one trained by Hessian-free "
    "learning.",
    paper="1.41 bits",
    note="The printed 1.41 equals the value that the literature gives for a multiplicative network "
    "trained by Hessian-free learning. That model and that method are not run here, so only the "
    "one side of the comparison can be measured, in table 2.",
)

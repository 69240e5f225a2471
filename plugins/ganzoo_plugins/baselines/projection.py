"""Projection: the label is a direction in D's feature space.

Miyato & Koyama 2018, "cGANs with Projection Discriminator", arXiv:1802.05637, equation 3:

    D(x, y) = v_yᵀ φ(x) + ψ(φ(x))

which is the form of the optimal D if p(y | x) is a softmax of features. A recipe selects it with
``conditioning: projection`` on a discriminator (``layers.Head``), and can use any loss. G gets the label through
conditional batch normalisation (``conditioning: batch-norm``), as in the paper.

Differences from the paper:

- Fakes get the labels of the batch's real images; in the authors' code, uniformly drawn ones.
"""

from __future__ import annotations

from ganzoo import beside

register_recipes = beside(__file__, "projection-mnist")

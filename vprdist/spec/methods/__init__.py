"""The methods of search: one object each, in a file of its own, found by its word.

To add a searcher of points: write its class in `search/methods/` (`search.methods.Proposer`), and its line here. One
of subsets says more: a subclass of `Method` beside the others.
"""

from __future__ import annotations

from vprdist.spec.methods.base import Method as Method
from vprdist.spec.methods.base import load as load
from vprdist.spec.methods.greedy import Greedy
from vprdist.spec.methods.listed import Listed
from vprdist.spec.methods.one_network import OneNetwork
from vprdist.spec.methods.points import OfTune
from vprdist.spec.methods.shapley import Shapley

LISTED = Listed()
"""The method of a sweep that names no searcher."""
METHODS = {
    method.word: method
    for method in (
        OfTune("random", "vprdist.search.methods.random:in_tune"),
        OfTune("optuna", "vprdist.search.methods.optuna:in_tune"),
        Greedy(),
        Shapley(),
        OneNetwork(),
    )
}

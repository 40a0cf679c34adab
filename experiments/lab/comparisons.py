"""What experiments do with the comparisons of gradients that they have made."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from jaxprop.verify.report import Comparison, LeafComparison, as_json


def worst_difference(comparisons: Iterable[Comparison]) -> float:
    """The largest scaled difference of any leaf or value; infinite where something could not even be measured."""
    scaled = [leaf.scaled_difference for comparison in comparisons for leaf in all_leaves(comparison)]
    return max(np.inf if difference is None else difference for difference in scaled)


def leaf_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row of a table for each leaf, and one for the value."""
    return [as_json(asdict(leaf)) for leaf in all_leaves(comparison)]


def all_leaves(comparison: Comparison) -> list[LeafComparison]:
    return [*comparison.leaves, comparison.value]

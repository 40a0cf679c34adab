"""What is made of comparisons: the worst difference of many, and the rows of a table."""

import math

import jax.numpy as jnp
import numpy as np

import jaxprop as jp
from lab.comparisons import leaf_rows, worst_difference

POINT = ({"w": jnp.ones(2)}, jnp.ones(1))


def comparison(slope) -> jp.Comparison:
    """Of a gradient that should be (1, 4), and is (1, slope)."""

    def gradient(second):
        return lambda params, batch: (jnp.array(3.0), {"w": jnp.array([1.0, second])})

    return jp.compare(gradient(4.0), gradient(slope), *POINT)


def test_the_worst_difference_is_that_of_the_worst_leaf_of_all():
    assert worst_difference([comparison(4.0)]) == 0
    assert worst_difference([comparison(4.0), comparison(5.0), comparison(4.5)]) == 1 / 4


def test_a_nan_is_worse_than_any_number():
    assert worst_difference([comparison(4.0), comparison(np.nan)]) == math.inf


def test_there_is_a_row_for_each_leaf_and_one_for_the_value():
    rows = leaf_rows(comparison(5.0))
    assert [(row["path"], row["agree"]) for row in rows] == [("['w']", False), ("value", True)]
    assert rows[0]["worst_index"] == [1]

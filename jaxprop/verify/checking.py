"""Is a gradient right? One comparison for each probe and each dtype, and the leaf where the mistake is named first."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxprop.costs import Cost, squared_error
from jaxprop.errors import BadInput
from jaxprop.networks import Network
from jaxprop.verify.comparison import (
    ValueAndGrad,
    compare_beyond_rounding,
    dtype_of,
)
from jaxprop.verify.points import Probe
from jaxprop.verify.report import TABLE_STYLE, Comparison, LeafComparison, as_text
from jaxprop.verify.suite import probe_networks, probes_for

# What draws tables is imported by the function that does, as in report.py.
if TYPE_CHECKING:
    from rich.table import Table

# How many notes a table shows.
_NOTES = 10
Rule = Callable[[Network, Cost], ValueAndGrad]  # as `jaxprop.autodiff` and `jaxprop.backprop`


@dataclasses.dataclass(frozen=True)
class Check:
    """A comparison for each probe, first in float64, then in float32. It is true where all agree, as `agree` is.

    `print` shows it; `to_dict` is for JSON.
    """

    results: tuple[tuple[str, Comparison], ...]  # the probe's name, and what was found there

    def __bool__(self) -> bool:
        return self.agree

    @property
    def agree(self) -> bool:
        """Whether every comparison agrees."""
        return all(comparison.agree for _, comparison in self.results)

    @property
    def leaves(self) -> tuple[str, ...]:
        """The paths of all that was compared, nearest to the output first: the value, then the tree from its end.

        For a chain of layers the end of the tree is the last layer. An error there spreads backwards to every earlier
        one, so the first that fails is the place to look.
        """
        _, first = self.results[0]
        ordered = dict.fromkeys(["value", *(leaf.path for leaf in reversed(first.leaves))])
        return tuple(ordered | dict.fromkeys(leaf.path for _, c in self.results for leaf in c.failures))

    @property
    def failing_leaves(self) -> tuple[str, ...]:
        """The paths of the leaves that failed at any probe, nearest to the output first."""
        failed = {leaf.path for _, comparison in self.results for leaf in comparison.failures}
        return tuple(path for path in self.leaves if path in failed)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON knows it."""
        probes = [{"probe": name, **comparison.to_dict()} for name, comparison in self.results]
        return {"agree": self.agree, "failing_leaves": list(self.failing_leaves), "probes": probes}

    def __rich__(self) -> "Table":
        from rich import box
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text

        title = f"They agree at {self._where()}"
        if not self.agree:
            first = self.failing_leaves[0]
            # Of a chain of layers the last one comes last in the tree; of a dictionary, the last name.
            why = ", the nearest to the output" if first.startswith("[") and first[1].isdigit() else ""
            title = f"They do NOT agree: look at {escape(first)} first{why}"
        table = Table(title=title, box=box.SIMPLE_HEAD, **TABLE_STYLE)
        notes = [f"{name}, {found.dtype}: {note}" for name, found in self.results for note in found.notes]
        more = [f"and {len(notes) - _NOTES} more notes"] if len(notes) > _NOTES else []
        table.caption = Text("\n".join(notes[:_NOTES] + more)) if notes else None
        for heading in ("leaf", "failed", "scaled difference, worst", "where", "verdict there"):
            table.add_column(heading)
        for path in self.leaves:
            found = [(name, c, leaf) for name, c in self.results for leaf in (c.value, *c.leaves) if leaf.path == path]
            failed = sum(not leaf.agree for *_, leaf in found)
            name, comparison, leaf = max(found, key=lambda entry: _badness(entry[2]))
            scaled = "" if leaf.scaled_difference is None else f"{leaf.scaled_difference:.2g}"
            where = f"{name}, {comparison.dtype}"
            verdict = Text(leaf.verdict, style="red" if failed else "green")
            table.add_row(escape(path), f"{failed} of {len(found)}", scaled, escape(where), verdict)
        return table

    def _where(self) -> str:
        """How many probes in which dtypes, such as "2 probes, in float64 and in float32"."""
        by_dtype: dict[str, set[str]] = {}
        for name, comparison in self.results:
            by_dtype.setdefault(comparison.dtype, set()).add(name)
        counts = [len(names) for names in by_dtype.values()]
        probes = f"{counts[0]} {'probe' if counts[0] == 1 else 'probes'}"
        if len(set(counts)) == 1:
            return f"{probes}, in {' and in '.join(by_dtype)}"
        dtype, *others = by_dtype
        return " and ".join([f"{probes} in {dtype}", *(f"{len(by_dtype[other])} in {other}" for other in others)])

    def __str__(self) -> str:
        return as_text(self)


def check(reference: ValueAndGrad, candidate: ValueAndGrad, probes: Iterable[Probe]) -> Check:
    """Runs `compare` with its default tolerances at each probe, in float64 and in float32.

    reference, candidate: `(params, batch) -> (value, grads)`, of anybody's parameters and batches. They are called as
        they are: `jax.jit` them first where that pays. Where the two part, the reference is called again a few ulps
        away: what rounding alone changes is no mistake, and a leaf that it changes throughout is not judged there.
    probes: `probes_for(network, cost)`, or your own: `[Probe("a batch of 1", params, batch), ...]`. Floats are cast to
        the dtype that is tried; whatever else a batch holds stays as it is. A probe that names a dtype is tried in that
        one alone.

    JAX's global x64 switch is left alone. Raises `BadInput` as `compare` does, naming the probe, and on no probes.
    What a function raised is the cause of that.
    """
    results = []
    if isinstance(probes, Probe) or not isinstance(probes, Iterable):
        probes = (probes,)
    probes = tuple(probes)
    if not all(isinstance(probe, Probe) for probe in probes):
        raise BadInput("probes are no Probe records: expected some, as from jaxprop.probes_for(network)")
    for dtype in (jnp.float64, jnp.float32):
        for probe in probes:
            if probe.dtype is not None and jnp.dtype(probe.dtype) != dtype:
                continue
            try:
                results.append((probe.name, compare_at(probe, reference, candidate, dtype)))
            except BadInput as error:
                where = f"at the probe {probe.name!r} in {jnp.dtype(dtype)}"
                # The cause is what somebody's function raised, if that is what has happened.
                raise BadInput(f"{where}: {error}") from (error.__cause__ or error)
    if not results:
        raise BadInput("there are no probes: expected one or more, as from jaxprop.probes_for(network)")
    return Check(tuple(results))


def check_rule(reference: Rule, candidate: Rule, cost: Cost = squared_error, quick: bool = False) -> dict[str, Check]:
    """`check` on every network of the suite: for a way to make gradients, such as `jaxprop.backprop`, for any network.

    reference, candidate: `(network, cost) -> value_and_grad`; what they return is compiled.
    quick: with batches of fewer sizes, as `probes_for` makes them then.

    Raises `BadInput` as `check` does.
    """
    return {
        name: check(
            jax.jit(reference(network, cost)), jax.jit(candidate(network, cost)), probes_for(network, cost, quick)
        )
        for name, network in probe_networks().items()
    }


def compare_at(probe: Probe, reference: ValueAndGrad, candidate: ValueAndGrad, dtype: Any) -> Comparison:
    """`compare` at one probe in one dtype, float64 or float32, with differences measured by the probe's yardstick.

    Raises `BadInput` as `compare` does.
    """
    with jax.enable_x64(dtype == jnp.float64):
        (params, batch), yardstick = cast(((probe.params, probe.batch), probe.yardstick), dtype)
        return compare_beyond_rounding(reference, candidate, params, batch, yardstick=yardstick)


def _badness(leaf: LeafComparison) -> tuple[bool, float]:
    """Orders the comparisons of one leaf: those that fail after those that agree, by how much of what is allowed."""
    scaled = math.inf if leaf.scaled_difference is None else leaf.scaled_difference
    return not leaf.agree, scaled / leaf.tolerance if leaf.tolerance else math.inf


def cast(tree: Any, dtype: Any) -> Any:
    """The same tree with its floats in this type; keys of random numbers and whole numbers stay what they are.

    An array of NumPy that is in it twice, as those of a point and its yardstick are, is cast once.
    """
    done: dict[int, Any] = {}

    def leaf(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return in_type(x)
        if id(x) not in done:
            done[id(x)] = in_type(x)
        return done[id(x)]

    def in_type(x: Any) -> Any:
        given = dtype_of(x)
        if jnp.issubdtype(given, jax.dtypes.extended):  # keys of random numbers
            return x
        if given.hasobject:
            raise BadInput(f"it holds a {type(x).__name__}: expected arrays of numbers")
        if not jnp.issubdtype(given, jnp.floating):
            return jnp.asarray(x)
        if isinstance(x, np.ndarray):  # which is cast by NumPy, so that nothing has to be compiled for it
            with np.errstate(over="ignore"):
                x = x.astype(dtype)
        return jnp.asarray(x, dtype)

    return jax.tree.map(leaf, tree)

"""L16, L17: how large a mini-batch pays, and how the gradients of single examples tell it beforehand.

L16 takes mini-batches of 100. With more examples in each step the gradient is better and fewer steps are needed, but
ten times the examples never save nine tenths of the steps, and at last no steps at all. McCandlish et al. ("An
empirical model of large-batch training", 2018) describe it by one curve for the steps S and the examples E = B S that
it takes to reach a cost:

    (S / Smin - 1) (E / Emin - 1) = 1        or, the same,        S = Smin + Emin / B

At the critical batch size Emin / Smin both are twice their least: below it, examples are saved and steps paid; above
it, steps are saved and examples paid. All batch sizes start from the same network here, each with the one of several
learning rates that reaches the cost first, and the curve is laid through what was measured.

The same paper predicts the critical size from gradients alone. L17's error of a mini-batch's gradient (see
`mini_batches.py`) is as long as the true gradient g itself at B = tr(Σ) / |g|², the noise scale. It is different at
every step of the way. A step of rate η lowers the cost by η |g|², less what noise costs, which is in proportion to
tr(Σ) / B. So both are added up over the way of the largest mini-batches, whose gradients hardly have noise, and the
quotient of the sums is the prediction. A mean of the quotients would say nothing: on the plateau at the beginning,
where all outputs are near 0.1 and the gradient nearly vanishes, some are infinite. `jaxprop.with_norms` gives what it
takes in the backward pass of the training step itself.

This also says why the curve of `batch_sizes.py` is flat on the left and steep on the right: below the critical size
more steps win little from the same examples, and above it they are what counts.

    uv run experiments/instruments/batch_size_pays.py
"""

from lab.signals import listen

if __name__ == "__main__":
    listen()  # before the imports that take seconds

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import least_squares

import jaxprop as jp
from jaxprop.layers import Params
from lab import running_example
from lab.claims import Claim, Experiment, conduct
from lab.common import Options, progress, run
from lab.figures import BLUE, GREEN, VERMILION, label_log, new_figure, styled

Row = dict[str, Any]


class Plan(NamedTuple):
    sizes: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1000, 3000)
    rates: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    target: float = 0.3  # the cost to reach, over the examples that it is measured on
    orders: int = 2  # of the examples; each batch size is trained on all of them, and the steps are averaged
    most_steps: int = 1000  # of the largest mini-batches, and `most_examples / B` more of others
    most_examples: int = 100_000
    measured: int = 4000  # training examples on which the cost is measured on the way
    window: int = 8  # steps over which what is drawn of the noise scale is averaged


SMOKE = Plan((10, 100), (4.0, 8.0), 0.88, orders=1, measured=500)


class Curve(NamedTuple):
    """McCandlish's curve: it takes `least_steps + least_examples / B` steps."""

    least_steps: float
    least_examples: float

    @property
    def critical(self) -> float:
        return self.least_examples / self.least_steps

    def steps(self, batch_size: Any) -> Any:
        return self.least_steps + self.least_examples / batch_size


class Findings(NamedTuple):
    plan: Plan
    rows: list[Row]  # a row for each batch size
    curve: Curve
    steps: list[Row]  # on the way of the largest mini-batches: what each one's gradients say


def measure(options: Options) -> Findings:
    examples = running_example.load(options).train
    plan = SMOKE if options.smoke else Plan()
    network = jp.mlp(running_example.SIZES)
    init_key, order_key = jax.random.split(jax.random.key(options.seed))
    start = network.init(init_key)
    sizes = [size for size in plan.sizes if size <= len(examples.labels)]
    rows = []
    with progress(len(sizes)) as report:
        for row in race(network, start, examples, plan, sizes, order_key):
            rows.append(row)
            rate = running_example.best_rate(row["rate"], plan.rates)
            report(f"mini-batches of {row['batch_size']:,}: {row['steps']:,.0f} steps at {rate}")
    steps = noise_along(network, start, examples, plan, rows[-1], order_key)
    return Findings(plan, rows, fit([row["batch_size"] for row in rows], [row["steps"] for row in rows]), steps)


def order_of(plan: Plan, key: PRNGKeyArray, n: int, size: int) -> Int[np.ndarray, "orders steps B"]:
    """The mini-batches of all steps that a batch size may take, in several orders."""
    steps = plan.most_steps + plan.most_examples // size
    keys = jax.random.split(key, plan.orders)
    return np.stack([running_example.mini_batches(k, n, steps, size) for k in keys])


def race(
    network: jp.Network, start: Params, examples: jp.Examples, plan: Plan, sizes: Sequence[int], key: PRNGKeyArray
) -> Iterator[Row]:
    """For each batch size the steps to the target, at the learning rate that is there first.

    Between two measurements of the cost, its logarithm is taken to fall evenly. Raises `BadInput` where no rate comes
    to the target within the steps of the plan.
    """
    some = running_example.select(examples, slice(plan.measured))
    mean_cost = jp.loss(network, jp.squared_error)

    @jax.jit
    def go(params: Params, rate: Any, order: Int[Array, "steps B"], examples: jp.Examples) -> tuple[Params, Array]:
        optimizer = optax.sgd(rate)
        step = jp.make_step(jp.backprop(network, jp.squared_error), optimizer)
        state, _ = jp.make_epoch(step, jp.as_batch)(jp.init_state(params, optimizer), examples, order)
        return state.params, mean_cost(state.params, running_example.whole(some))

    of_orders = jax.vmap(go, (0, None, 0, None))
    all_go = jax.jit(jax.vmap(of_orders, (0, 0, None, None)))
    rates = np.array(plan.rates)
    before = float(mean_cost(start, running_example.whole(some)))
    for size in sizes:
        orders = order_of(plan, key, len(examples.labels), size)
        between = 5 + 500 // size  # steps
        shape = (len(rates), plan.orders)
        params = jax.tree.map(lambda p, shape=shape: jnp.broadcast_to(p, (*shape, *p.shape)), start)
        costs = [np.full(shape, before)]
        reached = np.full(shape, np.nan)
        while np.isnan(reached).any(axis=1).all():
            done = between * (len(costs) - 1)
            if done + between > orders.shape[1]:
                raise jp.BadInput(
                    f"mini-batches of {size} do not come to a cost of {plan.target} within {done} steps at any of the "
                    f"rates {plan.rates}: these data take more"
                )
            params, cost = all_go(params, rates, orders[:, done : done + between], examples)
            costs.append(np.asarray(cost))
            reached = np.where(np.isnan(reached), crossing(costs[-2], costs[-1], plan.target, done, between), reached)
        steps = reached.mean(axis=1)
        best = int(np.nanargmin(steps))
        spread = float(np.ptp(reached[best]) / steps[best])
        row = {"batch_size": size, "rate": float(rates[best]), "steps": float(steps[best])}
        yield {**row, "examples": size * row["steps"], "spread": spread, "cost_before": before, "cost": plan.target}


def crossing(
    before: Float[np.ndarray, "..."], after: Float[np.ndarray, "..."], target: float, done: int, between: int
) -> Float[np.ndarray, "..."]:
    """The step at which a cost came to the target, between two measurements of it; NaN where it did not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.log(before / target) / np.log(before / after)
    return np.where(after <= target, done + part * between, np.nan)


def fit(sizes: Sequence[int], steps: Sequence[float]) -> Curve:
    """The curve that misses the measured steps by the least factors, in the least squares of their logarithms."""
    B, S = np.array(sizes, float), np.array(steps, float)

    def misses(logs: Any) -> Any:
        return np.log(Curve(*np.exp(logs)).steps(B) / S)

    found = least_squares(misses, [np.log(S.min()), np.log((B * S).min())])
    return Curve(*map(float, np.exp(found.x)))


def noise_along(
    network: jp.Network, start: Params, examples: jp.Examples, plan: Plan, row: Row, key: PRNGKeyArray
) -> list[Row]:
    """For every step of one batch size, at its best rate, to the target: cost, tr(Σ) and |g|², unbiased estimates."""
    order = order_of(plan, key, len(examples.labels), row["batch_size"])[0, : round(row["steps"])]
    shown = jp.with_norms(network, jp.squared_error)

    @jax.jit
    def walk(params: Params, order: Any, examples: jp.Examples) -> Any:
        def step(params: Params, rows: Any) -> tuple[Params, tuple[Array, jp.Noise]]:
            (cost, grads), norms = shown(params, jp.as_batch(*running_example.select(examples, rows)))
            return jax.tree.map(lambda p, g: p - row["rate"] * g, params, grads), (
                cost,
                jp.noise_scale(norms.whole, grads),
            )

        return jax.lax.scan(step, params, order)[1]

    costs, noise = jax.tree.map(np.asarray, walk(start, order, examples))
    each = zip(costs, noise.trace, noise.gradient_squared, strict=True)
    return [
        {"step": i, "cost": float(cost), "trace": float(trace), "gradient_squared": float(squared)}
        for i, (cost, trace, squared) in enumerate(each)
    ]


def noise_scale_over(steps: Sequence[Row]) -> float:
    """tr(Σ) / |g|², each added up over these steps; infinite where noise hides the gradient."""
    trace, squared = (sum(step[name] for step in steps) for name in ("trace", "gradient_squared"))
    return trace / squared if squared > 0 else float("inf")


def factor(a: float, b: float) -> float:
    """How many times as large the larger is."""
    return max(a / b, b / a)


def claims(found: Findings) -> list[Claim]:
    worst = max(found.rows, key=lambda row: factor(row["steps"], found.curve.steps(row["batch_size"])))
    return [
        Claim(
            "L16",
            f"steps to a cost of {found.plan.target}, measured and by the curve: how many times as many one has as the "
            f"other; of all batch sizes the worst, which is {worst['batch_size']:,}",
            factor(worst["steps"], found.curve.steps(worst["batch_size"])),
            "at most",
            1.5,
            because="two numbers describe all sizes, rates are a factor of 2 apart, and orders differ by some 10%",
        ),
        Claim(
            "L17",
            f"the batch size at which steps and examples trade evenly, {found.curve.critical:,.1f}, and the noise "
            f"scale over the way, {noise_scale_over(found.steps):,.1f}: how many times as large one is as the other",
            factor(found.curve.critical, noise_scale_over(found.steps)),
            "at most",
            3.0,
            because="the theory is of a curvature that is alike in all directions, and of the best rate at every step",
        ),
    ]


def tables(found: Findings) -> dict[str, list[Row]]:
    steps = [{**row, "steps_by_curve": found.curve.steps(row["batch_size"])} for row in found.rows]
    curve = {**found.curve._asdict(), "critical": found.curve.critical, "noise_scale": noise_scale_over(found.steps)}
    return {"batch_size_pays": steps, "curve": [curve], "noise_scale": found.steps}


@styled
def figures(found: Findings) -> dict[str, Figure]:
    figure = new_figure(11, 4.9)
    trade, noise = figure.subplots(1, 2)
    draw_trade(trade, found)
    draw_noise(noise, found)
    figure.suptitle(title(found), x=0.01, ha="left", size=14)
    return {"batch_size_pays": figure}


def draw_trade(axes: Axes, found: Findings) -> None:
    """Steps against examples, as measured and by the curve."""
    shown = [*(row["batch_size"] for row in found.rows), found.curve.critical, noise_scale_over(found.steps)]
    B = np.geomspace(min(shown), max(shown), 200)
    S = found.curve.steps(B)
    axes.plot(S, B * S, color=BLUE, label="the fitted curve")
    axes.plot([row["steps"] for row in found.rows], [row["examples"] for row in found.rows], "o", color=BLUE)
    for row in found.rows:
        point = (row["steps"], row["examples"])
        above = row["steps"] > found.curve.steps(row["batch_size"])
        away, side = ((7, 3), "left") if above else ((0, -15), "center")  # points; away from the curve
        text = f"{row['batch_size']:,}"
        axes.annotate(text, point, away, textcoords="offset points", color=BLUE, ha=side)
    for size, colour, marker, name in (
        (found.curve.critical, VERMILION, "s", "trade evenly"),
        (noise_scale_over(found.steps), GREEN, "^", "noise scale"),
    ):
        S = found.curve.steps(size)
        axes.plot(S, size * S, marker, color=colour, markersize=9, label=f"{name}: batches of {size:,.1f}")
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(0.5 * found.curve.least_steps, None),
        xlabel=f"steps to a cost of {found.plan.target:g}",
    )
    axes.set(ylabel="examples seen till then", title="Dots: measured at each batch size")
    label_log(axes.xaxis)
    label_log(axes.yaxis)
    axes.legend(loc="upper right")


def windows(found: Findings) -> list[Row]:
    """The noise scale over a few steps each, where it is finite."""
    width = found.plan.window
    parts = [found.steps[i : i + width] for i in range(0, len(found.steps), width)]
    scales = [(part[0]["step"] + (len(part) - 1) / 2, noise_scale_over(part)) for part in parts]
    return [{"step": step, "noise_scale": scale} for step, scale in scales if np.isfinite(scale)]


def draw_noise(axes: Axes, found: Findings) -> None:
    """The noise scale along the way."""
    shown = windows(found)
    axes.plot([w["step"] for w in shown], [w["noise_scale"] for w in shown], "o-", color=GREEN, markersize=4)
    axes.axhline(noise_scale_over(found.steps), color=GREEN, linestyle=":")
    axes.axhline(found.curve.critical, color=VERMILION, linestyle="--")
    axes.set(yscale="log", xlabel=f"step, mini-batches of {found.rows[-1]['batch_size']:,}")
    axes.set(ylabel=f"noise scale, examples, over {found.plan.window} steps")
    axes.set(title="Dotted: over the way. Dashed: the even trade")
    label_log(axes.yaxis)


def title(found: Findings) -> str:
    return (
        f"Steps and examples trade evenly at mini-batches of {found.curve.critical:,.0f}; the gradients' noise says "
        f"{noise_scale_over(found.steps):,.0f}"
    )


def finding(found: Findings) -> str:
    whole, last = noise_scale_over(found.steps), noise_scale_over(found.steps[-found.plan.window :])
    fewest, most = found.rows[0], found.rows[-1]
    return (
        f"To a cost of {found.plan.target:g}, mini-batches of {fewest['batch_size']} take {fewest['steps']:,.0f} steps "
        f"and {fewest['examples']:,.0f} examples, those of {most['batch_size']:,} take {most['steps']:,.0f} and "
        f"{most['examples']:,.0f}. By the curve, steps and examples trade evenly at {found.curve.critical:,.1f}. The "
        f"noise scale over the way is {whole:,.1f}, and over its last {found.plan.window} steps "
        f"{last:,.0f}."
    )


LOOK_AT = {
    "batch_size_pays": "On the left the curve comes down steeply from few steps to few examples, and bends where both "
    "are twice their least. On the right, how many examples it takes on the way until the gradient is as long as its "
    "noise: few at the first steps, by far the most on the plateau behind them (no dot is where noise hides it), and "
    "more again towards the end.",
}
EXPERIMENT = Experiment("batch_size_pays", measure, claims, tables, figures, finding, LOOK_AT, dtype="float32")


def main(options: Options) -> int:
    return conduct(EXPERIMENT, options)


if __name__ == "__main__":
    sys.exit(run(main, Options))

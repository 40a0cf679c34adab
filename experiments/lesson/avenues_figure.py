"""The picture of three avenues that move an output: its bias, its weights, and the activations before it."""

from jaxtyping import Float
from matplotlib.figure import Figure

from jaxprop.data.batches import NDArray
from lab.figures import BLUE, GREEN, ORANGE, SKY, new_figure, styled
from jaxprop.nudges import Wishes


@styled
def avenues_figure(
    label: int,
    outputs: Wishes,
    weights: Float[NDArray, "out in"],
    drops: Float[NDArray, " 4"],
    predicted: Float[NDArray, " 4"],
) -> Figure:
    """What an example wishes of one output's bias, its weights and the activations before it, and what each buys.

    label: the output. outputs: the wishes of the last layer. weights: into the outputs.
    drops, predicted: of the cost per step along each avenue and along all three together.
    """
    figure = new_figure(12.5, 4.8)
    by_activation, by_weight, bought = figure.subplots(1, 3)
    bias, per_weight = outputs.nudge.b[label], outputs.nudge.W.dz[label] * outputs.nudge.W.a
    by_activation.plot([0, 1], [0, bias], color="0.8", zorder=0)
    by_activation.plot(outputs.a_prev, per_weight, "o", color=BLUE, label=f"its {len(per_weight)} weights")
    by_activation.plot(1, bias, "D", color=ORANGE, label="its bias, as if from a 1")
    by_activation.set(xlabel="activation that the weight comes from", ylabel="wish for the weight (bias)")
    by_activation.set(title="Weights: by the activations")
    by_activation.legend()

    by_weight.axline((0, 0), slope=outputs.nudge_z[label], color="0.8", zorder=0)
    by_weight.plot(weights[label], outputs.requests[label], "o", color=BLUE)
    by_weight.set(xlabel="weight that the activation goes through", ylabel="wish for the activation")
    by_weight.set(title="Activations: by the weights")

    names = ("bias", "weights", "activations", "all three")
    bought.bar(names, drops, color=(ORANGE, BLUE, SKY, GREEN), label="measured")
    bought.plot(names, predicted, "_", color="black", markersize=32, label="predicted")
    bought.set(ylabel="drop of the cost, per unit of step", title="What a step along each buys")
    bought.legend(loc="upper left")
    bought.margins(y=0.2)
    figure.suptitle(f"Three avenues move the output for {label}, and what they buy adds up", x=0.01, ha="left", size=18)
    return figure

"""One clipped gradient in Opacus, by ghost clipping, as its users write it; and PyTorch's plain gradient beside it.

Ghost clipping finds the norms of the examples' gradients in a first backward pass, without multiplying the gradients
out, and in a second one the gradient of the costs, each multiplied by what its norm leaves of it (Li et al., "Large
language models can be strong differentially private learners", 2022). The network is one of dense layers with sigmoids.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports] - optional
from opacus.grad_sample import GradSampleModuleFastGradientClipping  # pyright: ignore[reportMissingImports] - optional
from opacus.optimizers import DPOptimizerFastGradientClipping  # pyright: ignore[reportMissingImports] - optional
from opacus.utils.fast_gradient_clipping_utils import (  # pyright: ignore[reportMissingImports] - optional
    DPLossFastGradientClipping,
)

from jaxprop.gradients import Batch
from jaxprop.layers import Params


class SquaredError(torch.nn.Module):
    """The sum over the outputs, of each example or in the mean: Opacus asks for the former by changing `reduction`."""

    reduction = "mean"

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        costs = ((outputs - targets) ** 2).sum(dim=1)
        return costs if self.reduction == "none" else costs.mean()


def gradients(params: Params, batch: Batch, limit: float) -> dict[str, Callable[[], list[np.ndarray]]]:
    """`clipped()` and `plain()`, from jaxprop's parameters: the gradient of each parameter, on the CPU.

    The clipped one is the mean, as jaxprop's. Opacus makes the sum, and its optimizer divides when it steps; here there
    is no step, no noise and no accountant.
    """
    inputs, targets = (torch.tensor(np.asarray(x)) for x in batch)
    cost = SquaredError()
    usual = _network(params)
    private = GradSampleModuleFastGradientClipping(_network(params), max_grad_norm=limit)
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(private.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=limit,
        expected_batch_size=len(inputs),
    )
    private_cost = DPLossFastGradientClipping(private, optimizer, SquaredError())

    def plain() -> list[np.ndarray]:
        usual.zero_grad(set_to_none=True)
        cost(usual(inputs), targets).backward()
        return [p.grad.numpy() for p in usual.parameters()]

    def clipped() -> list[np.ndarray]:
        private.zero_grad(set_to_none=True)
        private_cost(private(inputs), targets).backward()
        return [p.grad.div_(len(inputs)).numpy() for p in private.parameters()]

    return {"plain": plain, "clipped": clipped}


def _network(params: Params) -> Any:
    layers = []
    for W, b in (layer for layer in params if layer):
        linear = torch.nn.Linear(W.shape[1], W.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(np.asarray(W)))
            linear.bias.copy_(torch.tensor(np.asarray(b)))
        layers += [linear, torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers)

"""LeNet-5 in PyTorch: a module, Adam and `backward()`, as PyTorch's users write it."""

from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports] - optional

import jaxprop as jp
from benchmarking.in_torch import DEVICES
from benchmarking.lenet import Learner
from jaxprop.layers import Params


def in_torch(train: jp.Examples, params: Params, rate: float, device: str) -> Learner:
    """From jaxprop's parameters, in PyTorch's layouts; the images are held as a uint8 tensor."""
    images, labels = (torch.as_tensor(np.asarray(x), device=DEVICES[device]) for x in train)
    labels = labels.long()
    conv1, _, _, conv2, _, _, _, dense1, _, dense2, _, dense3 = params

    def start() -> Any:
        layers = [
            torch.nn.Conv2d(1, 6, 5),
            *(torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
            torch.nn.Conv2d(6, 16, 5),
            *(torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
            torch.nn.Flatten(),
            *(torch.nn.Linear(256, 120), torch.nn.ReLU()),
            *(torch.nn.Linear(120, 84), torch.nn.ReLU()),
            torch.nn.Linear(84, 10),
        ]
        # jaxprop's kernels are (rows, columns, in, out), and what it flattens is (4, 4, 16).
        kernels = [np.transpose(conv.W, (3, 2, 0, 1)) for conv in (conv1, conv2)]
        flat = np.transpose(np.reshape(dense1.W, (120, 4, 4, 16)), (0, 3, 1, 2)).reshape(120, 256)
        weights = [*kernels, flat, dense2.W, dense3.W]
        biases = [layer.b for layer in (conv1, conv2, dense1, dense2, dense3)]
        with torch.no_grad():
            learning = [layer for layer in layers if hasattr(layer, "weight")]
            for layer, W, b in zip(learning, weights, biases, strict=True):
                layer.weight.copy_(torch.tensor(np.asarray(W)))
                layer.bias.copy_(torch.tensor(np.asarray(b)))
        network = torch.nn.Sequential(*layers).to(DEVICES[device])
        return network, torch.optim.Adam(network.parameters(), lr=rate)

    def go(state: Any, order: np.ndarray) -> Any:
        network, optimizer = state
        for rows in torch.as_tensor(order, device=images.device):
            optimizer.zero_grad()
            outputs = network(images[rows][:, None].float() / 255)
            torch.nn.functional.cross_entropy(outputs, labels[rows]).backward()
            optimizer.step()
        if images.is_cuda:
            torch.cuda.synchronize()
        return state

    def outputs(state: Any, some: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return state[0](torch.as_tensor(some, device=images.device)[:, None].float() / 255).cpu().numpy()

    return Learner(start, go, outputs)

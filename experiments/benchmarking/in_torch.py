"""Two peers in PyTorch: eager, and with the whole step compiled."""

import itertools

import torch  # pyright: ignore[reportMissingImports] - optional

from benchmarking.work import Order, Params, Trainer, Work, shuffler

DEVICES = {"cpu": "cpu", "gpu": "cuda"}  # what PyTorch calls them


def eager(work: Work, device: str) -> Trainer:
    """A module, an optimiser, `backward()`: as PyTorch's users write it, with the images held as a uint8 tensor."""
    layers = [[torch.nn.Linear(*pair), torch.nn.Sigmoid()] for pair in itertools.pairwise(work.sizes)]
    network = torch.nn.Sequential(*itertools.chain(*layers)).to(DEVICES[device])
    optimizer = torch.optim.SGD(network.parameters(), lr=work.rate)
    images, targets = _on_device(work, device)

    def train(params: Params, order: Order) -> Params:
        with torch.no_grad():
            for p, given in zip(network.parameters(), params, strict=True):
                p.copy_(torch.as_tensor(given))
        for rows in torch.as_tensor(order, device=images.device):
            optimizer.zero_grad()
            outputs = network(images[rows].float() / 255)
            ((outputs - targets[rows]) ** 2).sum(dim=1).mean().backward()
            optimizer.step()
        return [p.detach().clone().cpu() for p in network.parameters()]

    return Trainer(train, shuffler(work))


def compiled(work: Work, device: str) -> Trainer:
    """`torch.compile` of a whole step: gather, gradient (`torch.func.grad`) and update in one graph.

    To compile the cost alone and keep `backward()` and the optimiser gained 1 % on the eager one; this takes a third.
    """

    def cost(params: Params, a: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for W, b in zip(params[::2], params[1::2], strict=True):
            a = torch.sigmoid(a @ W.T + b)
        return ((a - y) ** 2).sum(dim=1).mean()

    @torch.compile
    def step(params: Params, images: torch.Tensor, targets: torch.Tensor, rows: torch.Tensor) -> Params:
        grads = torch.func.grad(cost)(params, images[rows].float() / 255, targets[rows])
        return [p - work.rate * dp for p, dp in zip(params, grads, strict=True)]

    images, targets = _on_device(work, device)

    def train(params: Params, order: Order) -> Params:
        params = [torch.as_tensor(p, device=images.device) for p in params]
        with torch.no_grad():
            for rows in torch.as_tensor(order, device=images.device):
                params = step(params, images, targets, rows)
        return [p.cpu() for p in params]

    return Trainer(train, shuffler(work))


def _on_device(work: Work, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The images as (N, 784) uint8; the targets as (N, 10) floats, a twentieth of that much memory."""
    images = torch.as_tensor(work.images, device=DEVICES[device]).flatten(start_dim=1)
    return images, torch.eye(10, device=DEVICES[device])[torch.as_tensor(work.labels, device=DEVICES[device]).long()]

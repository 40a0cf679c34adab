"""What `train.py` does, in PyTorch: reads the data, trains, scores both sets after every epoch, prints the same lines.

Run by `time_to_accuracy`, as `python -m benchmarking.train_with_torch EXAMPLES SEED DEVICE EPOCHS`.
"""

import sys

import numpy as np
import torch  # pyright: ignore[reportMissingImports] - optional

# The first optimiser imports it anyway, and would have it counted with the data.
import torch._dynamo  # pyright: ignore[reportMissingImports] - optional

from benchmarking.in_torch import DEVICES, eager
from benchmarking.work import Params, Work, draw_start


def main(examples: str, seed: int, device: str, epochs: int) -> None:
    print(f"backend {DEVICES[device]} · PyTorch {torch.__version__}", flush=True)
    with np.load(examples, allow_pickle=False) as file:
        data = {name: file[name] for name in file}
    work = Work(data["train_images"], data["train_labels"], draw_start((784, 16, 16, 10), seed))
    train, shuffle = eager(work, device)
    params = work.start
    sets = {name: tensors(data, name, device) for name in ("train", "test")}
    print("13,002 parameters; compiled in 0.00 s: PyTorch eager compiles nothing", flush=True)
    for epoch in range(1, epochs + 1):
        params = train(params, shuffle())
        cost, _ = score(params, *sets["train"])
        _, accuracy = score(params, *sets["test"])
        print(f"epoch {epoch}: cost {cost:.4f}, test accuracy {accuracy:.2%}", flush=True)


def tensors(data: dict[str, np.ndarray], name: str, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = (torch.as_tensor(data[f"{name}_{x}"], device=DEVICES[device]) for x in ("images", "labels"))
    return images.flatten(start_dim=1), labels.long()


def score(params: Params, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """The cost and the accuracy, a thousand examples at a time as `jaxprop.make_evaluate` does."""
    params = [p.to(images.device) for p in params]
    cost = 0.0
    right = 0
    with torch.no_grad():
        for some, wanted in zip(images.split(1000), labels.split(1000), strict=True):
            a = some.float() / 255
            for W, b in zip(params[::2], params[1::2], strict=True):
                a = torch.sigmoid(torch.nn.functional.linear(a, W, b))
            cost += float(((a - torch.nn.functional.one_hot(wanted, 10)) ** 2).sum())
            right += int((a.argmax(dim=1) == wanted).sum())
    return cost / len(labels), right / len(labels)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))

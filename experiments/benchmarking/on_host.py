"""The peers that only a CPU can run: NumPy, scikit-learn, and what BLAS needs for the first layer alone."""

from collections.abc import Callable

import numpy as np
from threadpoolctl import ThreadpoolController

from benchmarking.work import Order, Params, Trainer, Work, shuffler


def numpy_backprop(work: Work, device: str) -> Trainer:
    """Backpropagation of a mini-batch at a time, as a careful person writes it in NumPy."""
    images = work.images.reshape(len(work.images), -1)
    targets = np.eye(10, dtype=np.float32)

    def train(params: Params, order: Order) -> Params:
        Ws = [W.copy() for W in params[::2]]
        bs = [b.copy() for b in params[1::2]]
        for rows in order:
            activations = [images[rows] * np.float32(1 / 255)]
            for W, b in zip(Ws, bs, strict=True):
                activations.append(1 / (1 + np.exp(-(activations[-1] @ W.T + b))))
            da = (activations[-1] - targets[work.labels[rows]]) * np.float32(2 / len(rows))
            for i in reversed(range(len(Ws))):
                dz = activations[i + 1] * (1 - activations[i + 1]) * da
                if i > 0:  # nobody asks how the cost changes with the pixels
                    da = dz @ Ws[i]
                Ws[i] -= work.rate * (dz.T @ activations[i])
                bs[i] -= work.rate * dz.sum(axis=0)
        return [x for layer in zip(Ws, bs, strict=True) for x in layer]

    return Trainer(train, shuffler(work))


def numpy_on_one_thread(work: Work, device: str) -> Trainer:
    """The same with BLAS held to one thread: for products this small, sharing them out can cost more than it saves."""
    train, shuffle = numpy_backprop(work, device)
    return Trainer(on_one_thread(train), shuffle)


def on_one_thread(function: Callable) -> Callable:
    threads = ThreadpoolController()

    def limited(*args):
        with threads.limit(limits=1, user_api="blas"):
            return function(*args)

    return limited


def scikit_learn(work: Work, device: str) -> Trainer:
    """`MLPClassifier`. It wants floats and gets them beforehand; start, order and cost (cross-entropy) are its own."""
    from sklearn.neural_network import MLPClassifier

    inputs = work.images.reshape(len(work.images), -1) / np.float32(255)
    network = MLPClassifier(
        work.sizes[1:-1],
        activation="logistic",
        solver="sgd",
        alpha=0,
        batch_size=work.batch_size,  # pyright: ignore[reportArgumentType], inferred from the default, "auto"
        learning_rate_init=work.rate / 4,
        momentum=0,
        random_state=0,
    )

    def train(params: Params, order: Order) -> Params:
        network.partial_fit(inputs, work.labels, classes=range(10))  # one epoch
        return [x for W, b in zip(network.coefs_, network.intercepts_, strict=True) for x in (W.T, b)]

    return Trainer(train, shuffler(work))


def blas_reference(work: Work) -> dict[str, Callable[[], None]]:
    """What the best code with BLAS could hope for in one epoch: its largest parts alone, as calls to be timed.

    products: for each step the two matrix products of the first layer, (B, in) @ (in, out) and (in, B) @ (B, out), in
        float32 by NumPy's BLAS, into arrays that are there already. Their operands are the same in every step, so that
        they stay in cache; each is laid out in memory as suits BLAS best.
    gather: for each step the rows of one mini-batch, as uint8, from all over the images into an array that is there.

    No shuffle, no conversion to floats, no further layer, no activation, no update.
    """
    images = work.images.reshape(len(work.images), -1)
    order = shuffler(work)()
    rows = order[0]
    gathered = images[rows]
    a = gathered * np.float32(1 / 255)
    W = np.ascontiguousarray(work.start[0].T)
    z = a @ W
    dz = np.ones_like(z)
    dW = np.empty_like(W)

    def products() -> None:
        for _ in order:
            np.matmul(a, W, out=z)
            np.matmul(a.T, dz, out=dW)

    def gather() -> None:
        for rows in order:
            np.take(images, rows, axis=0, out=gathered, mode="clip")  # other modes copy once more

    return {"products": products, "products on one thread": on_one_thread(products), "gather": gather}

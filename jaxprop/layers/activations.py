"""Activations: layers without parameters. Most work on each number by itself, from a function and its derivative."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxprop.errors import BadInput
from jaxprop.layers.core import Layer, Shape, check_number


def elementwise(name: str, function: Callable[[Array], Array], derivative: Callable[[Array, Array], Array]) -> Layer:
    """A layer without parameters that works on each number by itself: `a = function(z)`.

    derivative: `(z, a) -> da/dz`, number by number; it may use whichever of the two makes it shorter.

    From any shape to the same. Backwards, `dz = f'(z) da`. Derived in `jaxprop/README.md`.
    """

    def forward(params: tuple, z: Array) -> tuple[Array, tuple[Array, Array]]:
        a = function(z)
        return a, (z, a)

    def backward(params: tuple, residuals: tuple[Array, Array], da: Array) -> tuple[tuple, Array]:
        return (), derivative(*residuals) * da

    def init(key: Array, in_shape: Shape) -> tuple[tuple, Shape]:
        return (), in_shape

    def slopes(params: tuple, residuals: tuple[Array, Array]) -> tuple[Array]:
        """Its derivative is diagonal: what comes back for a gradient of ones."""
        return (backward(params, residuals, jnp.ones_like(residuals[1]))[1],)

    return Layer(name, init, forward, backward, slopes=slopes)


def sigmoid() -> Layer:
    """`a = 1 / (1 + exp(-z))`, so `da/dz = a (1 - a)`. `jax.nn.sigmoid` does not overflow and takes complex numbers.

    Number by number (Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", 1986).
    """
    return elementwise("sigmoid", jax.nn.sigmoid, lambda z, a: a * (1 - a))


def relu() -> Layer:
    """`a = max(z, 0)`, so `da/dz` is 1 where z > 0 and 0 elsewhere: 0 at 0 too, the choice of `jax.nn.relu`.

    Number by number (Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010).
    """
    return elementwise("relu", jax.nn.relu, lambda z, a: z > 0)


def tanh() -> Layer:
    """`a = tanh(z)`, so `da/dz = 1 - a^2`.

    Number by number (LeCun et al., "Efficient BackProp", 1998).
    """
    return elementwise("tanh", jnp.tanh, lambda z, a: 1 - a * a)


def leaky_relu(slope: float = 0.01) -> Layer:
    """`a = z` where z >= 0 and `slope z` elsewhere, so `da/dz` is 1 or `slope`: 1 at 0, as `jax.nn.leaky_relu` has it.

    A neuron that sleeps still learns (Maas et al., "Rectifier nonlinearities improve neural network acoustic models",
    2013).

    Number by number. Raises `BadInput` on a slope that is no finite number.
    """
    check_number("the slope of leaky_relu is", slope)
    return elementwise(
        f"leaky_relu({slope:.4g})",
        lambda z: jax.nn.leaky_relu(z, slope),
        lambda z, a: jnp.where(z >= 0, 1, slope),
    )


def softplus() -> Layer:
    """`a = log(1 + exp(z))`, a smooth ReLU, so `da/dz = 1 / (1 + exp(-z))`, the sigmoid.

    Complex z have a formula of their own, `a = z + log(1 + exp(-z))` on the right half of the plane: `jax.nn.softplus`
    adds pi to the imaginary part and takes it off again, in which a complex step of 1e-30 is lost.

    Number by number (Dugas et al., "Incorporating second-order functional knowledge for better option pricing", 2001).
    """

    def function(z: Array) -> Array:
        if not jnp.iscomplexobj(z):
            return jax.nn.softplus(z)
        right = z.real > 0
        return jnp.where(right, z, 0) + jnp.log1p(jnp.exp(jnp.where(right, -z, z)))

    return elementwise("softplus", function, lambda z, a: jax.nn.sigmoid(z))


def swish() -> Layer:
    """`a = z s(z)` with the sigmoid s, so `da/dz = s(z) + z s(z) (1 - s(z))`.

    Also known as SiLU (Elfwing et al., "Sigmoid-weighted linear units", 2018).

    Number by number.
    """

    def derivative(z: Array, a: Array) -> Array:
        s = jax.nn.sigmoid(z)
        return s + a * (1 - s)

    return elementwise("swish", jax.nn.swish, derivative)


def gelu(exact: bool = False) -> Layer:
    """`a = z Phi(z)`, Phi being the normal distribution (Hendrycks and Gimpel, "Gaussian error linear units", 2016).

    exact: by the error function, so `da/dz = Phi(z) + z phi(z)`. Otherwise, as JAX has it, by the tanh that is near it:
        `a = z (1 + t) / 2` with `t = tanh(c (z + 0.044715 z^3))`, `c = sqrt(2 / pi)`, so
        `da/dz = (1 + t) / 2 + z (1 - t^2) c (1 + 3 * 0.044715 z^2) / 2`.

    Number by number.

    The slope is 0 or 1 for large z, up to the largest number there is, where that of `jax.nn.gelu` by its tanh is NaN:
    from 2e19 on in float32, 1e154 in float64.
    """
    c, cubic = (2 / math.pi) ** 0.5, 0.044715

    def derivative(z: Array, a: Array) -> Array:
        if exact:
            Phi = jax.scipy.special.erfc(-z / 2**0.5) / 2
            phi = jnp.exp(-z * z / 2) / (2 * math.pi) ** 0.5
            return Phi + z * phi
        t = jnp.tanh(c * (z + cubic * z**3))
        # z^2 overflows long before z does, and 1 - t^2, which is 0 there, times infinity would be NaN. From 30 on it is
        # 0 in any type, whatever it is multiplied by. (No `jnp.clip`, which takes no complex numbers.)
        z = jnp.minimum(jnp.maximum(z, -30), 30)
        return (1 + t) / 2 + z * (1 - t * t) * (c * (1 + 3 * cubic * z * z)) / 2

    name = "gelu(exact)" if exact else "gelu"
    return elementwise(name, lambda z: jax.nn.gelu(z, approximate=not exact), derivative)


def identity() -> Layer:
    """`a = z`, so `da/dz = 1`.

    Number by number. Derived in `jaxprop/README.md`, as every activation.
    """
    return elementwise("identity", lambda z: z, lambda z, a: jnp.ones_like(z))


def softmax() -> Layer:
    """`y = exp(x) / sum exp(x)` along the last axis, so `dx = y (dy - sum y dy)`.

    The derivative of y_j by x_k is `y_j (1[j = k] - y_k)`: raising one input lowers all other outputs.

    (Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.) `init` raises
    `BadInput` where the input has no axis.
    """

    def init(key: Array, in_shape: Shape) -> tuple[tuple, Shape]:
        if not in_shape:
            raise BadInput("a softmax takes an axis of numbers to share one out: the input is one number")
        return (), in_shape

    def forward(params: tuple, x: Array) -> tuple[Array, Array]:
        y = jax.nn.softmax(x)
        return y, y

    def backward(params: tuple, y: Array, dy: Array) -> tuple[tuple, Array]:
        return (), y * (dy - jnp.sum(y * dy, axis=-1, keepdims=True))

    return Layer("softmax", init, forward, backward)


def swiglu() -> Layer:
    """`y = swish(a) b`, a and b being the two halves of the last axis, so `db = dy swish(a)`, `da = dy b swish'(a)`.

    One half opens and closes the other (Shazeer, "GLU variants improve transformer", 2020). A dense layer before it
    gives both: `chain(dense(2 * n), swiglu(), dense(m))`.

    (..., 2 n) to (..., n). `init` raises `BadInput` where the last axis has no even length.
    """

    def init(key: Array, in_shape: Shape) -> tuple[tuple, Shape]:
        if not in_shape or in_shape[-1] % 2:
            raise BadInput(
                f"swiglu cuts the last axis in two halves: an input of shape {in_shape} has none that is even"
            )
        return (), (*in_shape[:-1], in_shape[-1] // 2)

    def forward(params: tuple, x: Array) -> tuple[Array, Array]:
        a, b = jnp.split(x, 2, axis=-1)
        return jax.nn.swish(a) * b, x

    def backward(params: tuple, x: Array, dy: Array) -> tuple[tuple, Array]:
        a, b = jnp.split(x, 2, axis=-1)
        s = jax.nn.sigmoid(a)
        da = dy * b * (s + a * s * (1 - s))
        db = dy * a * s
        return (), jnp.concatenate([da, db], axis=-1)

    return Layer("swiglu", init, forward, backward)

"""The UCI handwritten digits that scikit-learn carries, as pictures like MNIST's."""

import numpy as np
from jaxtyping import Bool, Int, UInt8

from jaxprop.data.batches import Examples
from jaxprop.data.optional import optional_packages

TEST_EXAMPLES = 297

# Kept with the cached pictures, which are made again when it changes: change it with what this file does.
RECIPE = "UCI digits of 8 x 8, enlarged tenfold, framed as drawings are, evenly spread test examples of each class"


def make_digits() -> tuple[Examples, Examples]:
    """1,500 training and 297 test examples, the same ones every time."""
    # Imported here because it takes two seconds, and digits that are cached do without.
    with optional_packages("the data set digits"):
        from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    greys = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images, labels = np.stack([like_mnist(image) for image in greys]), labels.astype(np.int32)
    test = is_test(labels)
    return Examples(images[~test], labels[~test]), Examples(images[test], labels[test])


def like_mnist(image: UInt8[np.ndarray, "8 8"]) -> UInt8[np.ndarray, "28 28"]:
    """The picture as MNIST's were made, in a box of 20 x 20 and centred by mass: by `frame`, as people's drawings are.

    Enlarged tenfold first, so that strokes have edges that can be scaled. Bilinear, because it stays between the grey
    levels that were there; filters that overshoot draw ghosts around each stroke.
    """
    # Imported here, as above.
    from jaxprop.data.drawings import frame

    with optional_packages("the data set digits"):
        from PIL import Image

    padded = Image.fromarray(np.pad(image, 1))
    return frame(np.asarray(padded.resize((100, 100), Image.Resampling.BILINEAR)))


def is_test(labels: Int[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
    """Which examples are for testing: evenly spaced ones when all are lined up by class, in the order they came.

    So each class gives its share, give or take one, and the split depends on nobody's random numbers.
    """
    lined_up = np.argsort(labels, kind="stable")
    passed = np.arange(len(labels) + 1) * TEST_EXAMPLES // len(labels)
    test = np.empty(len(labels), bool)
    test[lined_up] = np.diff(passed) == 1
    return test

"""jaxprop: a laboratory for backpropagation in JAX."""

from jaxprop.autodiff import autodiff, loss
from jaxprop.backprop import backprop, per_example
from jaxprop.batches import Examples, as_batch
from jaxprop.check import Check, check, check_rule
from jaxprop.checkpoints import load_params, save_params
from jaxprop.compare import compare, per_example_scale
from jaxprop.comparison import Comparison
from jaxprop.costs import Cost, squared_error
from jaxprop.datasets import Dataset, load_dataset
from jaxprop.differences import central_differences, finite_differences
from jaxprop.errors import BadInput
from jaxprop.evaluation import Scores, make_evaluate
from jaxprop.fitting import Metrics, NonFinite, fit
from jaxprop.layers import Dense, Layer, chain, dense, identity, relu, sigmoid, tanh
from jaxprop.networks import Network, count_parameters, mlp
from jaxprop.nudges import Wishes, average_nudges, nudges, wishes
from jaxprop.outer import Outer, expand, mean_over_examples, sum_over_examples
from jaxprop.probes import Probe, probe_networks, probes_for
from jaxprop.referees import complex_step, forward_mode, hvp, in_float64
from jaxprop.training import State, epoch_order, init_state, make_epoch, make_step, steps_per_epoch

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "Check",
    "Comparison",
    "Cost",
    "Dataset",
    "Dense",
    "Examples",
    "Layer",
    "Metrics",
    "Network",
    "NonFinite",
    "Outer",
    "Probe",
    "Scores",
    "State",
    "Wishes",
    "as_batch",
    "autodiff",
    "average_nudges",
    "backprop",
    "central_differences",
    "chain",
    "check",
    "check_rule",
    "compare",
    "complex_step",
    "count_parameters",
    "dense",
    "epoch_order",
    "expand",
    "finite_differences",
    "fit",
    "forward_mode",
    "hvp",
    "identity",
    "in_float64",
    "init_state",
    "load_dataset",
    "load_params",
    "loss",
    "make_epoch",
    "make_evaluate",
    "make_step",
    "mean_over_examples",
    "mlp",
    "nudges",
    "per_example",
    "per_example_scale",
    "probe_networks",
    "probes_for",
    "relu",
    "save_params",
    "sigmoid",
    "squared_error",
    "steps_per_epoch",
    "sum_over_examples",
    "tanh",
    "wishes",
]

"""jaxprop: a laboratory for backpropagation in JAX."""

from jaxprop.costs import Cost, squared_error
from jaxprop.data.batches import Examples, as_batch, check_examples
from jaxprop.data.datasets import Dataset, load_dataset
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop, loss, per_example
from jaxprop.layers import Dense, Layer, chain, dense, elementwise, flatten, identity, relu, sigmoid, tanh
from jaxprop.networks import Network, count_parameters, mlp
from jaxprop.nudges import Wishes, average_nudges, per_example_nudges, requests, wishes
from jaxprop.run.checkpoints import Checkpoint, newest_checkpoint, restore, save_checkpoint
from jaxprop.run.diagnosis import Diagnosis, diagnose, follow
from jaxprop.run.ensembles import init_ensemble, make_ensemble_epoch
from jaxprop.run.evaluation import Scores, make_evaluate
from jaxprop.run.fitting import Metrics, NonFinite, epoch_order, fit, steps_per_epoch
from jaxprop.run.parameters import load_mlp, load_params, save_params
from jaxprop.run.placement import in_one_message, jit_over, local, make_mesh, place
from jaxprop.structured import Outer, Structured, expand, mean_over_examples, norm_squared, sum_over_examples
from jaxprop.training import Outcome, State, init_state, make_epoch, make_step
from jaxprop.verify.checking import Check, check, check_rule
from jaxprop.verify.comparison import compare, per_example_scale
from jaxprop.verify.differences import central_differences, finite_differences
from jaxprop.verify.finite import checked
from jaxprop.verify.oracles import complex_step, forward_mode, hvp, in_float64
from jaxprop.verify.points import Probe, probes
from jaxprop.verify.report import Comparison
from jaxprop.verify.suite import probe_networks, probes_for

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "Check",
    "Checkpoint",
    "Comparison",
    "Cost",
    "Dataset",
    "Dense",
    "Diagnosis",
    "Examples",
    "Layer",
    "Metrics",
    "Network",
    "NonFinite",
    "Outcome",
    "Outer",
    "Probe",
    "Scores",
    "State",
    "Structured",
    "Wishes",
    "as_batch",
    "autodiff",
    "average_nudges",
    "backprop",
    "central_differences",
    "chain",
    "check",
    "check_examples",
    "check_rule",
    "checked",
    "compare",
    "complex_step",
    "count_parameters",
    "dense",
    "diagnose",
    "elementwise",
    "epoch_order",
    "expand",
    "finite_differences",
    "fit",
    "flatten",
    "follow",
    "forward_mode",
    "hvp",
    "identity",
    "in_float64",
    "in_one_message",
    "init_ensemble",
    "init_state",
    "jit_over",
    "load_dataset",
    "load_mlp",
    "load_params",
    "local",
    "loss",
    "make_ensemble_epoch",
    "make_epoch",
    "make_evaluate",
    "make_mesh",
    "make_step",
    "mean_over_examples",
    "mlp",
    "newest_checkpoint",
    "norm_squared",
    "per_example",
    "per_example_nudges",
    "per_example_scale",
    "place",
    "probe_networks",
    "probes",
    "probes_for",
    "relu",
    "requests",
    "restore",
    "save_checkpoint",
    "save_params",
    "sigmoid",
    "squared_error",
    "steps_per_epoch",
    "sum_over_examples",
    "tanh",
    "wishes",
]

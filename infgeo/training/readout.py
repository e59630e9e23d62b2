"""A linear readout fitted on the features of a frozen encoder: class boundaries of representations without labels."""

import copy
import warnings
from collections import OrderedDict

import numpy
import torch
from torch import nn

from infgeo.arguments import instance, optional_import, positive_integer, real_number, shown
from infgeo.errors import InvalidInput, NotConverged

_BATCH = 512


def linear_readout(
    encoder: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    strength: float = 1.0,
    iterations: int = 1000,
) -> nn.Sequential:
    """Return encoder and linear readout as one module x -> logits (B, classes), in eval mode and frozen.

    The readout is multinomial logistic regression (scikit-learn's, lbfgs) on the features of `inputs`, each centred and
    divided by its standard deviation; both are absorbed into its weights. Class k is the k-th logit, for labels
    0, 1, ..., classes − 1.

    Args:
        encoder: module x -> features; its output is flattened. It is copied, and evaluated in eval mode.
        inputs: images or points (N, ...), as the encoder takes them.
        labels: (N,) int64, with every class from 0 to the largest one present.
        strength: inverse of the L2 penalty, scikit-learn's C.
        iterations: at most so many steps of lbfgs.

    Returns:
        nn.Sequential with the parts "encoder", "flatten" and "readout".

    Raises:
        InvalidInput: for labels that do not fit, or features that are not finite.
        NotConverged: when lbfgs needs more iterations.
        MissingExtra: where scikit-learn is not installed.

    Source: Chen et al. 2020, section 4.2 (linear evaluation).

    >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> probe = linear_readout(nn.Identity(), x, torch.tensor([0, 0, 1, 1]))
    >>> probe(torch.tensor([[-0.5], [0.5]])).argmax(dim=1).tolist()
    [0, 1]
    """
    with optional_import("linear_readout", "sklearn"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    real_number(strength, "strength", minimum=0.0, strict=True)
    most = positive_integer(iterations, "iterations")
    instance(encoder, "encoder", nn.Module, "a torch module")
    if not isinstance(inputs, torch.Tensor) or inputs.ndim < 2:
        raise InvalidInput(f"inputs is {shown(inputs)}; pass a tensor (N, ...)")
    frozen = copy.deepcopy(encoder).eval().requires_grad_(False)
    with torch.no_grad():
        features = torch.cat([frozen(part).flatten(1) for part in inputs.split(_BATCH)])
    classes = _checked_labels(labels, len(features))
    if not bool(torch.isfinite(features).all()):
        raise InvalidInput("the encoder's features are not finite; load weights of a training that did not diverge")
    values = features.double().cpu().numpy()
    centre, spread = values.mean(axis=0), values.std(axis=0)
    spread[spread == 0] = 1.0
    regression = LogisticRegression(C=strength, max_iter=most)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            regression.fit((values - centre) / spread, labels.cpu().numpy())
        except ConvergenceWarning:
            raise NotConverged(
                f"linear_readout: no optimum after {most} iterations; pass more iterations, or a smaller strength"
            ) from None
    weight, bias = regression.coef_ / spread, regression.intercept_
    if classes == 2:  # scikit-learn gives the difference of the two logits
        weight, bias = numpy.concatenate([-weight, weight]) / 2, numpy.concatenate([-bias, bias]) / 2
    bias = bias - weight @ centre
    readout = nn.Linear(values.shape[1], classes, device="meta").to_empty(device=features.device).to(features.dtype)
    with torch.no_grad():
        readout.weight.copy_(torch.from_numpy(weight))
        readout.bias.copy_(torch.from_numpy(bias))
    parts = OrderedDict[str, nn.Module](encoder=frozen, flatten=nn.Flatten(), readout=readout)
    return nn.Sequential(parts).eval().requires_grad_(False)


def _checked_labels(labels: torch.Tensor, count: int) -> int:
    """Return the number of classes."""
    if not isinstance(labels, torch.Tensor) or labels.shape != (count,) or labels.dtype.is_floating_point:
        got = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, torch.Tensor) else type(labels).__name__
        raise InvalidInput(f"labels is {got}; pass one integer for each of the {count} inputs")
    present = labels.unique().tolist()
    if len(present) < 2 or present != list(range(len(present))):
        raise InvalidInput(f"labels has the values {present[:20]}; number the classes from 0, at least two of them")
    return len(present)

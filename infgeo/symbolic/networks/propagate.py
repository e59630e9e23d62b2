"""A network is a fold: its layers act one after the other on a *state* of the features.

What is asked of a network (its kernel, its metric, whether a metric exists) differs in the state alone. A state knows
five operations, and each layer of `infgeo.symbolic.networks.layers` is written in them:

    affine(weight, bias)        h <- W h + b with E[W_ij^2] = weight / width of h, E[b_i^2] = bias
    activate(law)               h <- phi(h) for the activation with the dual `law`
    over_norm(epsilon, width)   h <- h / sqrt(|h|^2 / width + epsilon), |h|^2 the squared norm that states carry
    centred()                   h <- h - mean of the units of h
    add(branch, skip)           h <- sqrt(skip) h + h', h' an independent branch

Squared norms are means over the n units of hidden features and the sum over the d coordinates of the input, so that
width is 1 for the former and d for the latter.
"""

from collections.abc import Iterable
from typing import Protocol, Self, TypeVar

from sympy import Expr

from infgeo.symbolic.expectations.dual import Dual


class State(Protocol):
    """What is known of the features after some layers."""

    def affine(self, weight: Expr, bias: Expr) -> Self:
        """Return the state of W h + b, given the variances of weights and biases."""

    def activate(self, law: Dual) -> Self:
        """Return the state of phi(h) for preactivations h."""

    def over_norm(self, epsilon: Expr, width: Expr) -> Self:
        """Return the state of h / sqrt(|h|^2 / width + epsilon)."""

    def centred(self) -> Self:
        """Return the state of h - mean_j h_j."""

    def add(self, branch: Self, skip: Expr) -> Self:
        """Return the state of sqrt(skip) h + h', `branch` being that of h'."""


S = TypeVar("S", bound=State)


class Layer(Protocol):
    """What acts on a state."""

    def apply(self, state: S) -> S:
        """Return the state after the layer."""


def propagate(layers: Iterable[Layer], state: S) -> S:
    """Return the state of the features of a network, given that of its input."""
    for layer in layers:
        state = layer.apply(state)
    return state

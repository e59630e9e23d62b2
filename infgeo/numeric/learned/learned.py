"""`infgeo.learned`: how a network learns its geometry, to order 1/n in its width n."""

from __future__ import annotations

from typing import Any

import numpy as np

from infgeo.arguments import instance, one_of, real_number
from infgeo.errors import InvalidInput
from infgeo.numeric.finite_width import with_numbers
from infgeo.numeric.learned.geometry import LearnedGeometry, checked, has_smooth_slope
from infgeo.numeric.learned.unit_sums import require_fourth_moments
from infgeo.symbolic.networks.layers import Dense
from infgeo.symbolic.networks.network import MLP

RULES = {"posterior": "noise_variance", "gradient_step": "learning_rate", "gradient_flow": "time"}
PARAMETRISATIONS = ("ntk", "mean_field")
_MOST_POINTS = 10_000
_MOST_POINTS_DEEP = 1000  # which nets of units fill 1 GB a layer for
_INTEGERS = ("torch.int64", "torch.int32", "torch.int16", "torch.int8", "torch.uint8")


def learned(
    mlp: MLP,
    X: Any,
    y: Any,
    noise_variance: float | None = None,
    rule: str = "posterior",
    *,
    learning_rate: float | None = None,
    time: float | None = None,
    parametrisation: str = "ntk",
) -> LearnedGeometry:
    r"""Return the geometry that a network has after learning, to order 1/n in the width n of all hidden layers.

    In one layer a unit's weights have their prior density times 1 + (h - <h>)/n after learning; means over units are

        (1/n) sum_j o(w_j) = <o> + (1/n) Cov_w(o(w), h(w)),   for the metric o = phi'(z_x)^2 w w.

    Rule "posterior" (readout N(0, I), Gaussian noise, features phi/sqrt(n)): h = (1/2) sum_ab M_ab phi(z_a) phi(z_b),
    M = G^-1 y y^T G^-1 - C G^-1, G = K + noise_variance I, for C outputs. Rule "gradient_step": what one step on
    (1/2) sum_ac (f_c(x_a) - y_ac)^2 from random initialisation does, in the mean over readout and weights. Rule
    "gradient_flow": what descent in continuous time does, all layers together, at any time up to infinity, where the
    data are fitted. Their h is in `infgeo.numeric.learned.rules`. In parametrisation "ntk" f is the sum of
    a_j phi(z_j)/sqrt(n), and labels act at order eta^2/n. In "mean_field" it is that of a_j phi(z_j)/n, the rate is
    n eta, and the shift does not fall with n: what is returned is its term in eta^2, or in the square of a small time,
    the first that is not 0.

    Deep networks, rule "posterior": a layer is shifted by its own units, as above with the derivative of
    (1/2) sum_ab M_ab K_ab by its kernel in the place of M/2, and by the shifts of the layers before, to first order.
    That is the posterior mean less the prior mean, both at width n; prior means have a term of order 1/n too.

    Args:
        mlp: an `infgeo.MLP` of dense layers; scales that it leaves symbolic are 1.
        X: training points (P, d), P <= 10,000 in one layer, 1000 in several.
        y: labels (P,) or (P, C).
        noise_variance: sigma^2 > 0 of the posterior.
        rule: "posterior", "gradient_step" or "gradient_flow".
        learning_rate: eta > 0 of a gradient step, with respect to weights of unit variance.
        time: t > 0 of a gradient flow, eta times the number of small steps; may be infinite ("ntk").
        parametrisation: "ntk" or "mean_field", of gradient descent.

    Returns:
        A `LearnedGeometry`. Its `kind` is "closed form" for erf, Gaussians, z^2 and the like, and for the posterior of
        ReLU, leaky ReLU and |z|; else "quadrature" (up to three weights and bias, no kinks) or "nets", with
        `standard_error`. Several layers are "quadrature" for one training point without kinks, else "nets".

    Raises InvalidInput for arguments outside their domain, ExpectationDiverges where E[phi^4] is infinite; its methods
    NotConverged for points at which a quadrature is too coarse.

    Example:
        XOR, and two points: what learning adds to the metric and to log sqrt det g, times n.

        >>> import infgeo, numpy as np
        >>> X, y = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]), np.array([-1.0, 1, 1, -1])
        >>> xor = learned(infgeo.MLP("erf", weight_std=1, bias_std=1), X, y, noise_variance=0.1)
        >>> xor.kind, xor.metric(np.array([0.3, -0.4])).round(3).tolist()
        ('closed form', [[0.149, -0.281], [-0.281, 0.257]])
        >>> xor.volume_shift(np.array([[0.0, 0], [1, 0], [1, 1]])).round(2).tolist()
        [-0.9, 3.21, 1.96]
        >>> two = learned(infgeo.MLP("erf", weight_std=1, bias_std=1), X[[1, 3]] * [1, 0], np.array([1.0, -1]), 0.1)
        >>> two.volume_shift(np.array([[0.0, 0], [1, 0], [2, 0]])).round(2).tolist()
        [1.31, 0.26, -0.73]

        Two layers: the shift of both kernels at a training point.

        >>> deep = learned(infgeo.MLP("erf", depth=2), X[:1], np.array([3.0]), 0.5)
        >>> [deep.kernel(X[:1], layer=layer).round(2).tolist() for layer in (1, 2)]
        [[[0.08]], [[0.54]]]

    Source: perturbation of a Gaussian process by its finite width; compare Yaida 2020 (arXiv 1910.00019), Zavatone-Veth
    et al. 2021 (arXiv 2106.00651) on the layers of deep networks.
    """
    instance(mlp, "mlp", MLP, "an infgeo.MLP of dense layers")
    if not all(isinstance(layer, Dense) for layer in mlp.layers):
        raise InvalidInput(f"mlp is {mlp}; learned geometry is that of dense layers: pass a network of these alone")
    one_of(rule, "rule", RULES)
    one_of(parametrisation, "parametrisation", PARAMETRISATIONS)
    if rule != "posterior" and mlp.depth > 1:
        raise InvalidInput(f"mlp is {mlp}; rule {rule!r} is that of one layer: pass depth=1, or rule='posterior'")
    inputs = checked(X, "X").astype(np.float64)
    most = _MOST_POINTS if mlp.depth == 1 else _MOST_POINTS_DEEP
    if inputs.ndim != 2 or not 1 <= len(inputs) <= most:
        raise InvalidInput(f"X has shape {inputs.shape}; pass 1 to {most} training points, (P, d)")
    # Classes are numbers too.
    integers = getattr(getattr(y, "dtype", None), "kind", "f") in "iu" or str(getattr(y, "dtype", "")) in _INTEGERS
    labels = checked(np.asarray(y, dtype=float) if integers else y, "y").astype(np.float64)
    if labels.ndim not in (1, 2) or len(labels) != len(inputs):
        raise InvalidInput(f"y has shape {labels.shape}; pass labels ({len(inputs)},) or ({len(inputs)}, C), as X has")
    labels = labels.reshape(len(inputs), -1)
    given = {"noise_variance": noise_variance, "learning_rate": learning_rate, "time": time}
    for other, name in RULES.items():
        if other != rule and given[name] is not None:
            raise InvalidInput(f"{name} is given, which rule={other!r} has alone: leave it out, or pass rule={other!r}")
    if rule == "gradient_flow" and time == np.inf and parametrisation == "ntk":
        given["time"] = np.inf
    else:
        given[RULES[rule]] = real_number(given[RULES[rule]], RULES[rule], minimum=0.0, strict=True)
    noise = given["noise_variance"]
    if rule != "posterior" and not has_smooth_slope(mlp.activation, order=3):
        raise InvalidInput(
            f"activation {mlp.activation.name} has a kink; gradient descent is expanded in derivatives of phi up to the"
            " third: take a smooth one, or rule='posterior'"
        )
    network = with_numbers(mlp, inputs.shape[1])
    result = LearnedGeometry(
        network, inputs, labels, noise, rule, given["learning_rate"], parametrisation, given["time"]
    )
    require_fourth_moments(network.with_weights[0].activation, result.variance(inputs))
    if noise is not None and noise < (least := 1e-13 * float(network.numeric().kernel_diag(inputs).sum())):
        raise InvalidInput(
            f"noise_variance is {noise:g}: training points that are close or equal make the kernel of X singular; pass"
            f" {least:.0e} or more"
        )
    return result

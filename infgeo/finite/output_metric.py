"""Metrics of outputs: the Fisher metric as the flat one of other features, and g = Jᵀ h J for an h that varies.

R of g at x depends on values, J and H of the outputs f only: third derivatives cancel. So f is replaced by its Taylor
polynomial of degree 2 at x, in coordinates in which g is the identity there, and R follows from the derivatives of

    g(t) = (J + H t)ᵀ h(f + J t + H t t/2) (J + H t)

by the Christoffel symbols. h is differentiated by torch.func; J and H come from the routes of all features. h need not
have an inverse, only g.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from infgeo.arguments import one_of
from infgeo.errors import InvalidInput
from infgeo.finite.gauss_equation import Frame, LocalGeometry, frame

OutputMetric = Callable[[torch.Tensor], torch.Tensor]
_TOGETHER = 2**22  # numbers in the matrices of paths that are made at once
_MOST_NOISE = 1e-3  # roundings of the terms that meet in R, relative to R or 1: beyond, R is NaN


def gaussian_metric(outputs: torch.Tensor) -> torch.Tensor:
    """Return the Fisher metric of normal distributions at outputs (mean, log σ), each half of (n,)."""
    log_scale = outputs.chunk(2)[1]
    return torch.cat((torch.exp(-2 * log_scale), torch.full_like(log_scale, 2.0))).diag()


def matrices(form: OutputMetric, outputs: torch.Tensor) -> torch.Tensor:
    """Return h (P, n, n), float64, at outputs (P, n); raises InvalidInput where `form` gives none."""
    n = outputs.shape[-1]
    try:
        h = torch.func.vmap(form)(outputs.to(torch.float64))
    except Exception as error:  # whatever a user's function raises
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InvalidInput(f"output is a function that fails on float64 outputs ({n},) under vmap ({said})") from error
    if not isinstance(h, torch.Tensor) or tuple(h.shape[1:]) != (n, n) or h.dtype != torch.float64:
        raise InvalidInput(f"output must give a float64 matrix ({n}, {n}) for outputs ({n},)")
    return h


def chord_squares(form: OutputMetric | None, values: torch.Tensor) -> torch.Tensor:
    """Return the squared lengths (P, m − 1) of the chords of paths (P, m, n), in the metric half way."""
    steps = values.double().diff(dim=1)
    if form is None:
        return steps.square().sum(dim=2)
    middle = (values[:, 1:] + values[:, :-1]).double() / 2
    size = max(1, _TOGETHER // max(1, middle[:1].numel() * middle.shape[-1]))
    pairs = zip(middle.split(size), steps.split(size), strict=True)
    # h s, and then its product with s
    parts = [(matrices(form, f.flatten(0, 1)) @ s.flatten(0, 1)[..., None]).reshape(s.shape) * s for f, s in pairs]
    return torch.cat(parts).sum(dim=2)


def acceleration(form: OutputMetric | None, f: torch.Tensor, v: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Return d/dt (h f′) − ∂_f (f′ᵀ h f′)/2 (P, n) from f, f′ = v and f″ = a: h times the covariant acceleration."""
    if form is None:
        return a
    _ = matrices(form, f)

    def one(f: torch.Tensor, v: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        along = torch.func.jvp(lambda f, v: form(f) @ v, (f, v), (v, a))[1]
        return along - torch.func.grad(lambda f: v @ form(f) @ v)(f) / 2

    return torch.func.vmap(one)(f.double(), v.double(), a.double()).to(a.dtype)


def rooted(form: OutputMetric, outputs: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
    """Return h^{1/2} J (P, n, d), in the dtype of J, whose flat metric is Jᵀ h J; raises InvalidInput for no metric."""
    h = matrices(form, outputs)
    known = torch.isfinite(h).all(dim=-1).all(dim=-1)
    h = torch.where(known[:, None, None], h, 0.0)
    diagonal = h.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(diagonal > 0, diagonal, 1.0).sqrt()  # so that outputs of other units keep their digits
    h = h / scale[:, :, None] / scale[:, None]
    if bool(((h - h.mT).abs() > 1e-10).any()):
        raise InvalidInput("output gives a matrix that is not symmetric, which is no metric: give (h + hᵀ)/2")
    values, vectors = torch.linalg.eigh((h + h.mT) / 2)
    slack = 16 * h.shape[-1] * torch.finfo(torch.float64).eps
    if bool((values < -slack).any()):
        raise InvalidInput(
            f"output gives a matrix that is no metric: with diagonal 1, it has the eigenvalue {float(values.min()):.3g}"
        )
    roots = torch.where(values > slack, values, 0.0).sqrt()[:, :, None] * vectors.mT * scale[:, None]
    found = (roots @ jacobian.to(torch.float64)).to(jacobian.dtype)
    return torch.where(known[:, None, None], found, torch.nan)


@dataclass(frozen=True)
class Curved:
    """Riemann tensor and Christoffel symbols at P points in the orthonormal frame `tangent`: all indices alike."""

    tangent: Frame
    riemann: torch.Tensor
    symbols: torch.Tensor

    def local(self) -> LocalGeometry:
        """Return metric, log determinant and R."""
        s = self.tangent.s
        value = self.tangent.known(torch.einsum("pikik->p", self.riemann))
        return LocalGeometry(s.mT @ s, self.tangent.log_determinant, value)

    def ricci_tensor(self) -> torch.Tensor:
        """Return Ric_ij (P, d, d)."""
        s = self.tangent.s
        return self.tangent.known(s.mT @ torch.einsum("pkikj->pij", self.riemann) @ s)

    def christoffel(self) -> torch.Tensor:
        """Return Γ^k_ij (P, d, d, d), index [k, i, j]."""
        s, e = self.tangent.s, self.tangent.inverse
        return self.tangent.known(torch.einsum("pka,pabc,pbi,pcj->pkij", e, self.symbols, s, s))

    def sectional_curvature(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Return K (P,) of the planes of u and v (P, d)."""
        plane = frame(self.tangent.s @ torch.stack((u, v), dim=-1).to(torch.float64))
        a, b = plane.q.unbind(-1)
        value = torch.einsum("pijkl,pi,pj,pk,pl->p", self.riemann, a, b, a, b)
        return self.tangent.known(plane.known(value))


def curved(form: OutputMetric, outputs: torch.Tensor, jacobian: torch.Tensor, hessian: torch.Tensor) -> Curved:
    """Return the curvature of g = Jᵀ h J from outputs (P, n), J (P, n, d), H (P, n, d, d); d⁴ numbers a point.

    In a frame in which g is the identity, with Γ_kij = (∂_i g_kj + ∂_j g_ki − ∂_k g_ij)/2,

        R_ikjl = (∂_k∂_j g_il + ∂_i∂_l g_kj − ∂_k∂_l g_ij − ∂_i∂_j g_kl)/2 + Γ_nkj Γ_nil − Γ_nkl Γ_nij.
    """
    tangent = frame(rooted(form, outputs, jacobian))
    e = tangent.inverse
    j = jacobian.to(torch.float64) @ e
    h = e.mT[:, None] @ hessian.to(torch.float64) @ e[:, None]

    def metric(t: torch.Tensor, f: torch.Tensor, j: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        bend = h @ t
        a = j + bend
        return a.mT @ form(f + j @ t + bend @ t / 2) @ a

    origin = j.new_zeros(len(j), j.shape[-1])
    arguments = origin, outputs.to(torch.float64), j, h
    first = torch.func.vmap(torch.func.jacfwd(metric))(*arguments)  # [k, j, i] is ∂_i g_kj
    second = torch.func.vmap(torch.func.jacfwd(torch.func.jacfwd(metric)))(*arguments)
    symbols = (first.mT + first - first.permute(0, 3, 1, 2)) / 2
    # [i, l, k, j] is ∂_k∂_j g_il
    linear = second.permute(0, 1, 3, 4, 2) + second.permute(0, 3, 1, 2, 4)
    linear = linear - second.permute(0, 1, 3, 2, 4) - second.permute(0, 3, 1, 4, 2)
    product = torch.einsum("pnkj,pnil->pikjl", symbols, symbols) - torch.einsum("pnkl,pnij->pikjl", symbols, symbols)
    terms = torch.maximum(second.flatten(1).abs().amax(dim=1), symbols.flatten(1).square().amax(dim=1))
    noise = terms * torch.finfo(jacobian.dtype).eps
    riemann = linear / 2 + product
    lost = noise > _MOST_NOISE * torch.einsum("pikik->p", riemann).abs().clamp_min(1.0)
    return Curved(tangent, torch.where(lost[:, None, None, None, None], torch.nan, riemann), symbols)


def _on_sphere(logits: torch.Tensor) -> torch.Tensor:
    roots = 2 * (torch.log_softmax(logits, dim=-1) / 2).exp()
    # Where all probabilities but one vanish in the format, so does the metric, which is none: no number there.
    certain = (roots == 0).sum(-1, keepdim=True) == max(roots.shape[-1] - 1, 1)
    return torch.where(certain, torch.nan, roots)


EMBEDDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "categorical": _on_sphere,
    "bernoulli": lambda logits: 2 * (logits / 2).exp().atan(),
    "poisson": lambda log_rates: 2 * (log_rates / 2).exp(),
    "hellinger": lambda logits: _on_sphere(logits) / 2,
    "expected": lambda outputs: torch.cat((outputs.chunk(2, -1)[0], outputs.chunk(2, -1)[1].exp()), -1),
}


class _Embedding(nn.Module):
    """Maps the outputs of a network to the features whose flat metric is their Fisher metric."""

    def __init__(self, family: str) -> None:
        super().__init__()
        self.family = family

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        return EMBEDDINGS[self.family](outputs)


def fisher(features: Callable[..., Any], family: str = "categorical") -> Callable[..., Any]:
    """Return features whose flat metric is the Fisher metric of a network's predictions.

    g = Jᵀ h J with h = E[∂ log p(y) ∂ log p(y)ᵀ] by the outputs J differentiates. For these families h is the flat
    metric of other features, so that everything which takes features takes these: `pullback`, slices, geodesics.

        categorical   2 √softmax(f), of the last axis: a sphere of radius 2, R = (C − 1)(C − 2)/4 for C classes
        bernoulli     2 arctan e^{f/2} for each output f, a logit
        poisson       2 e^{f/2} for each output f, the logarithm of a rate

        hellinger     √softmax(f): the distance of Hellinger without its factor 1/√2, |√p − √q|; a quarter of the
                      Fisher metric, R = (C − 1)(C − 2)
        expected      (μ, σ) for outputs (μ, log σ): no Fisher metric, but the mean of JᵀJ over samples μ + σ ε of a
                      stochastic decoder, ε ~ N(0, I): J_μᵀ J_μ + J_σᵀ J_σ

    The rank is at most C − 1 for C classes. A Gaussian of varying scale has no such features: see `pullback`.

    Args:
        features: a callable or module that gives logits, or logarithms of rates: (..., C).
        family: "categorical", "bernoulli", "poisson", "hellinger" or "expected". For a Gaussian of fixed scale σ divide
            the features by σ.

    Returns:
        A module, where `features` is one (with the same weights), or a function.

    Raises InvalidInput for another family. Where all probabilities but one are less than numbers of the format
    (logits more than about 1,400 apart, in float32 180) features are NaN, which what measures them refuses.

    Source: Amari & Nagaoka 2000, Methods of information geometry, section 2; of "expected", Arvanitidis, Hansen &
    Hauberg 2018, Latent space oddity.

    >>> from infgeo.finite import pullback
    >>> def logits(x):  # all distributions of 4 classes
    ...     return torch.nn.functional.pad(x, (0, 1))
    >>> f"{pullback(fisher(logits), [0.3, -1.0, 0.5]).ricci_scalar:.12f}"
    '1.500000000000'
    """
    embedding = _Embedding(one_of(family, "family", tuple(EMBEDDINGS)))
    if isinstance(features, nn.Module):
        return nn.Sequential(features, embedding).train(features.training)
    return lambda *arguments: embedding(features(*arguments))

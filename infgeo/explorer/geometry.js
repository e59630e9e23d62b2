"use strict";
// The geometry of a wide network of equal layers, from the expectations of its activation (FORMULAS):
// moments(v) = [m, m', m'', m0, m0', m0''] of m = E[phi^2], m0 = E[phi'^2] at variance v, and kernel(p, c, Delta).
// The metric is g = A I + B x x^T with s = |x|^2; a digit after a name counts derivatives by s.

// -- Special functions -----------------------------------------------------------------------------------------------

function erf(x) {
  if (Math.abs(x) > 2) return Math.sign(x) * (1 - erfc(Math.abs(x)));
  let term = x, sum = x; // 2/sqrt(pi) exp(-x^2) sum over n of 2^n x^(2n+1) / (2n+1)!!
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) sum += term *= (2 * x * x) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

function erfcx(x) {
  if (x < 2) return Math.exp(x * x) * (1 - erf(x));
  let fraction = x; // Laplace's continued fraction, from its end
  for (let n = 60; n > 0; n--) fraction = x + n / 2 / fraction;
  return 1 / (Math.sqrt(Math.PI) * fraction);
}

function erfc(x) {
  return x < 2 ? 1 - erf(x) : Math.exp(-x * x) * erfcx(x);
}

// P(X < h, Y < k) for normal X and Y of correlation cos(atan2(x, y)): the integral of the density over the correlation,
// from 0, or from -1 if it is negative, so that nothing cancels.
function BivariateNormal(h, k, y, x) {
  const normal = (t) => erfc(-t / Math.SQRT2) / 2;
  if (y >= 0) return normal(h) * normal(k) + arc(h, k, Math.atan2(x, y), Math.PI / 2);
  return Math.max(0, normal(h) + normal(k) - 1) + arc(h, -k, 0, Math.atan2(x, -y));
}

// The integral of exp(-(h^2 - 2 h k cos t + k^2) / (2 sin^2 t)) / (2 pi).
function arc(h, k, lower, upper) {
  const exponent = (t) => -(((h - k) / Math.sin(t)) ** 2) / 2 - (h * k) / (2 * Math.cos(t / 2) ** 2);
  return integral((t) => Math.exp(exponent(t)), lower, upper) / (2 * Math.PI);
}

function overNodes(summand) {
  return (...given) => {
    let total = null;
    for (let i = 0; i < NODES.length; i++) {
      for (let j = i; j < NODES.length; j++) {
        const weight = NODES[i][1] * NODES[j][1] * (i === j ? 1 : 2);
        const values = summand(...given, NODES[i][0], NODES[j][0]);
        total = total ?? values.map(() => 0);
        for (let n = 0; n < values.length; n++) total[n] += weight * values[n];
      }
    }
    return total;
  };
}

// -- Integrals -------------------------------------------------------------------------------------------------------

const GAUSS = [
  [-0.8611363115940526, 0.34785484513745385], [-0.3399810435848563, 0.6521451548625461],
  [0.3399810435848563, 0.6521451548625461], [0.8611363115940526, 0.34785484513745385],
];

function rule(f, lower, upper) {
  const middle = (lower + upper) / 2, half = (upper - lower) / 2;
  return half * GAUSS.reduce((sum, [node, weight]) => sum + weight * f(middle + half * node), 0);
}

// Panels are halved until that changes less than 1e-9 of the whole.
function integral(f, lower, upper) {
  let whole = 0;
  const refined = (left, right, value, halvings) => {
    const middle = (left + right) / 2, first = rule(f, left, middle), second = rule(f, middle, right);
    whole = Math.max(whole, Math.abs(first + second));
    if (halvings === 0 || !(Math.abs(first + second - value) > 1e-9 * whole)) return first + second;
    return refined(left, middle, first, halvings - 1) + refined(middle, right, second, halvings - 1);
  };
  return refined(lower, upper, rule(f, lower, upper), 12);
}

// -- The network -----------------------------------------------------------------------------------------------------

// A, B and the derivatives that curvature takes. A layer: A <- m0 A, B <- m0 B + 2 m0' (dv/ds)^2.
function metricOf(network, s) {
  const { moments } = FORMULAS[network.activation];
  const w = network.sigma_w ** 2, b = network.sigma_b ** 2;
  let v = b + w * s, v1 = w, v2 = 0, A = w, A1 = 0, A2 = 0, B = 0, B1 = 0;
  for (let layer = 1; ; layer++) {
    const [m, dm, ddm, m0, dm0, ddm0] = moments(v);
    const first = dm0 * v1, second = ddm0 * v1 ** 2 + dm0 * v2;
    B1 = first * B + m0 * B1 + 2 * v1 * (ddm0 * v1 ** 2 + 2 * dm0 * v2);
    B = m0 * B + 2 * dm0 * v1 ** 2;
    A2 = second * A + 2 * first * A1 + m0 * A2;
    A1 = first * A + m0 * A1;
    A = m0 * A;
    if (layer === network.depth) return { s, A, A1, A2, B, B1 };
    v2 = w * (ddm * v1 ** 2 + dm * v2);
    v1 = w * dm * v1;
    v = b + w * m;
    [A, A1, A2, B, B1] = [A, A1, A2, B, B1].map((value) => w * value);
  }
}

// The sum of terms; 0 where nothing but rounding is left of them.
function cancelling(...terms) {
  const sum = terms.reduce((a, b) => a + b), size = Math.max(...terms.map(Math.abs));
  return Math.abs(sum) < 1e-13 * size ? 0 : sum;
}

// All that is shown at |x| = r. With h = A + s B and rho = r sqrt(A): K_tan = (1 - rho'^2)/rho^2, K_rad = -rho''/rho, a
// prime being the derivative by the distance from 0. excess = h - (d rho/dr)^2, the square of the slope of the profile.
function geometryOf(network, r) {
  const { s, A, A1, A2, B, B1 } = metricOf(network, r * r), d = network.d;
  const h = A + s * B, h1 = A1 + B + s * B1, u = A + s * A1, u1 = 2 * A1 + s * A2;
  const tangential = cancelling(A * B, -2 * A * A1, -s * A1 ** 2);
  const radial = cancelling(-2 * u1 * A * h, u * A1 * h, u * A * h1);
  const K_tan = tangential / (A * A * h), K_rad = radial / (A * h) ** 2;
  return {
    r, A, B, h,
    log_volume: ((d - 1) * Math.log(A) + Math.log(h)) / 2,
    R: (d - 1) * (2 * K_rad + (d - 2) * K_tan),
    excess: (s * tangential) / A,
  };
}

function distanceOf(network, r) {
  return integral((t) => Math.sqrt(geometryOf(network, t).h), 0, r);
}

// Kernels of inputs of norm r at angles of these cosines.
function kernelsOf(network, r, cosines) {
  const { kernel } = FORMULAS[network.activation];
  const w = network.sigma_w ** 2, b = network.sigma_b ** 2;
  const after = (p, c) => kernel(p, c, Math.max(1e-60 * p * p, (p - c) * (p + c)))[0];
  let norm = r * r, values = cosines.map((cosine) => norm * cosine);
  for (let layer = 1; layer <= network.depth; layer++) {
    const p = b + w * norm;
    values = values.map((value) => after(p, b + w * value));
    norm = after(p, p);
  }
  return values;
}

// The geometry up to |x| = extent, with the distance from 0 and the height of the surface of revolution at the ends of
// panels, which narrow towards 0, and without them at the nodes between.
function profileOf(network, extent, panels = 32) {
  const rows = [];
  let lower = 0, distance = 0, height = 0;
  for (let i = 1; i <= panels; i++) {
    const upper = extent * (i / panels) ** 2, middle = (lower + upper) / 2, half = (upper - lower) / 2;
    for (const [node, weight] of GAUSS) {
      const row = geometryOf(network, middle + half * node);
      distance += half * weight * Math.sqrt(row.h);
      height += half * weight * Math.sqrt(Math.abs(row.excess));
      rows.push(row);
    }
    rows.push({ ...geometryOf(network, upper), distance, height });
    lower = upper;
  }
  return rows;
}

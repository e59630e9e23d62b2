"use strict";
// Curves as SVG, and a surface of revolution on a canvas.

const WIDTH = 360, HEIGHT = 240, LEFT = 62, RIGHT = 14, TOP = 10, BOTTOM = 36;

function element(parent, name, attributes, text) {
  const child = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) child.setAttribute(key, value);
  if (text !== undefined) child.textContent = text;
  return parent.appendChild(child);
}

function inWords(value) {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(4)));
}

// Round numbers in an interval.
function ticks(low, high) {
  const raw = (high - low) / 4, unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * ([1, 2, 5].find((factor) => factor * unit >= raw) ?? 10);
  const first = Math.ceil(low / step - 1e-9), count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => (first + i) * step);
}

// The interval of values that is shown: all of them, but for what is beside a pole at 0.
function interval(points, largest) {
  const sorted = (least) => points.filter(([x, y]) => x >= least && Number.isFinite(y)).map(([, y]) => y).sort((a, b) => a - b);
  const all = sorted(0), outer = sorted(largest / 16);
  if (outer.length === 0) return [0, 1];
  const at = (share) => outer[Math.round(share * (outer.length - 1))];
  const reach = 5 * (at(0.95) - at(0.05)) || Infinity;
  let low = Math.max(all[0], at(0.05) - reach), high = Math.min(all.at(-1), at(0.95) + reach);
  if (high - low < 1e-9 * Math.max(Math.abs(low), Math.abs(high), 1e-12)) {
    const middle = (low + high) / 2, half = Math.abs(middle) / 2 || 1;
    [low, high] = [middle - half, middle + half];
  }
  const margin = (high - low) / 20;
  return [low - margin, high + margin];
}

// curves: arrays of [x, y], the first drawn full and the second dashed; marked: an x with the values of the curves there.
function chart(svg, title, xLabel, curves, marked) {
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("role", "img");
  const points = curves.flat(), xs = points.map(([x]) => x);
  const [left, right] = [0, Math.max(...xs)], [low, high] = interval(points, right);
  const x = (value) => LEFT + ((value - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
  const height = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const y = (value) => Math.min(10 * HEIGHT, Math.max(-10 * HEIGHT, height(value))); // what is beyond is clipped
  for (const tick of ticks(low, high)) {
    element(svg, "path", { class: "axis", d: `M${LEFT} ${y(tick)}H${WIDTH - RIGHT}` });
    element(svg, "text", { x: LEFT - 5, y: y(tick) + 4, "text-anchor": "end" }, inWords(tick));
  }
  for (const tick of right === 180 ? [0, 45, 90, 135, 180] : ticks(left, right)) {
    element(svg, "path", { class: "axis", d: `M${x(tick)} ${TOP}V${HEIGHT - BOTTOM}` });
    element(svg, "text", { x: x(tick), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, inWords(tick));
  }
  element(svg, "text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, xLabel);
  const clip = `${svg.id}-clip`;
  const frame = { x: LEFT, y: TOP, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM };
  element(element(svg, "clipPath", { id: clip }), "rect", frame);
  const inside = element(svg, "g", { "clip-path": `url(#${clip})` });
  curves.forEach((curve, i) => {
    const finite = curve.map(([a, b]) => (Number.isFinite(b) ? `${x(a).toFixed(2)} ${y(b).toFixed(2)}` : ""));
    const path = finite.map((point, n) => point && `${n && finite[n - 1] ? "L" : "M"}${point}`).join("");
    element(inside, "path", { class: `curve ${i ? "second" : "first"}`, d: path || "M0 0" });
  });
  if (marked) {
    element(inside, "path", { class: "marker", d: `M${x(marked.x)} ${TOP}V${HEIGHT - BOTTOM}` });
    marked.values.forEach((value, i) => {
      if (Number.isFinite(value)) element(inside, "circle", { class: i ? "second" : "first", cx: x(marked.x), cy: y(value), r: 4 });
    });
  }
  const ends = curves.map((curve) => `from ${inWords(curve[0][1])} to ${inWords(curve.at(-1)[1])}`).join("; second curve ");
  svg.setAttribute("aria-label", `${title} against ${xLabel}: ${ends}`);
}

const view = { turn: 0.6, tilt: 0.45 };

// rings: [distance from the axis, height] from the pole outwards.
function drawSurface(canvas, rings, sectors = 40) {
  const style = getComputedStyle(canvas), ratio = window.devicePixelRatio || 1;
  const width = (canvas.width = canvas.clientWidth * ratio), height = (canvas.height = canvas.clientHeight * ratio);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (rings.length < 2) return;
  const top = rings.at(-1)[1], widest = Math.max(...rings.map(([radius]) => radius));
  const scale = (0.46 * Math.min(width, 1.4 * height)) / Math.hypot(widest, top / 2);
  const [sine, cosine] = [Math.sin(view.tilt), Math.cos(view.tilt)];
  const project = (i, j) => {
    const angle = view.turn + (2 * Math.PI * j) / sectors, [radius, z] = rings[i];
    const [a, b, c] = [radius * Math.cos(angle), radius * Math.sin(angle), z - top / 2];
    return { x: width / 2 + scale * a, y: height / 2 - scale * (c * cosine + b * sine), depth: b * cosine - c * sine };
  };
  const faces = [];
  for (let i = 1; i < rings.length; i++) {
    for (let j = 0; j < sectors; j++) {
      const corners = [project(i - 1, j), project(i - 1, j + 1), project(i, j + 1), project(i, j)];
      faces.push({ corners, depth: corners.reduce((sum, { depth }) => sum + depth, 0) });
    }
  }
  faces.sort((one, other) => other.depth - one.depth); // what is nearer is drawn over what is behind
  context.fillStyle = style.getPropertyValue("--paper");
  context.strokeStyle = style.getPropertyValue("--first");
  context.lineWidth = ratio * 0.8;
  context.globalAlpha = 0.85;
  for (const { corners } of faces) {
    context.beginPath();
    for (const { x, y } of corners) context.lineTo(x, y);
    context.closePath();
    context.fill();
    context.stroke();
  }
}

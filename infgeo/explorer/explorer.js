"use strict";
// The page: controls, the address, and what is shown of a network.

const SLIDERS = [
  { name: "depth", label: "depth", least: 1, most: 6, step: 1, start: 1 },
  { name: "sigma_w", label: "weights σ<sub>w</sub>", least: 0.1, most: 3, step: 0.05, start: 1 },
  { name: "sigma_b", label: "biases σ<sub>b</sub>", least: 0, most: 3, step: 0.05, start: 0.5 },
  { name: "d", label: "inputs d", least: 2, most: 50, step: 1, start: 2 },
  { name: "r", label: "|x|", least: 0.05, most: 10, step: 0.05, start: 1 },
  { name: "extent", label: "|x| up to", least: 1, most: 10, step: 0.5, start: 4 },
];
const ANGLES = Array.from({ length: 91 }, (_, i) => 2 * i);
const MINKOWSKI = "R<sup>2,1</sup> with a time-like axis";
const find = (id) => document.getElementById(id);
const cosineOf = (degrees) => Math.cos((degrees * Math.PI) / 180);
const state = Object.fromEntries(SLIDERS.map(({ name, start }) => [name, start]));
state.activation = Object.keys(FORMULAS)[0];
let rings = [];

// -- Controls and the address ----------------------------------------------------------------------------------------

function accept(name, text) {
  const { least, most, step } = SLIDERS.find((slider) => slider.name === name), value = Number(text);
  if (text === "" || !Number.isFinite(value)) return;
  state[name] = Math.min(most, Math.max(least, step === 1 ? Math.round(value) : value));
}

function fromAddress() {
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    if (name === "activation" && Object.hasOwn(FORMULAS, text)) state.activation = text;
    if (SLIDERS.some((slider) => slider.name === name)) accept(name, text);
  }
}

function buildControls() {
  for (const [text, { label }] of Object.entries(ACTIVATIONS)) find("activation").add(new Option(label, text));
  find("activation").addEventListener("change", ({ target }) => change(() => (state.activation = target.value)));
  for (const { name, label, least, most, step } of SLIDERS) {
    const line = document.createElement("label");
    line.innerHTML = `<span>${label}</span>`;
    for (const type of ["number", "range"]) {
      const input = Object.assign(document.createElement("input"), { type, min: least, max: most, name });
      input.step = type === "range" ? step : step === 1 ? 1 : "any";
      input.id = `${name}-${type}`;
      input.setAttribute("aria-label", line.textContent);
      input.addEventListener(type === "range" ? "input" : "change", () => change(() => accept(name, input.value)));
      line.append(input);
    }
    find("sliders").append(line);
  }
}

function showControls() {
  find("activation").value = state.activation;
  for (const { name } of SLIDERS) for (const type of ["range", "number"]) find(`${name}-${type}`).value = state[name];
}

// Several changes before the next picture are drawn once.
let waiting = false;
function change(edit) {
  edit();
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    history.replaceState(null, "", `#${new URLSearchParams(state)}`);
    show();
  });
}

// -- What is shown ---------------------------------------------------------------------------------------------------

function show() {
  const started = performance.now();
  showControls();
  for (const place of document.querySelectorAll(".radius")) place.textContent = inWords(state.r);
  const { no_metric } = ACTIVATIONS[state.activation];
  const kernels = kernelsOf(state, state.r, ANGLES.map(cosineOf));
  chart(find("kernel"), "Kernel", "angle between x and y, degrees", [ANGLES.map((angle, i) => [angle, kernels[i]])]);
  for (const id of ["metric", "shear", "volume", "curvature", "distance", "surface"]) find(id).closest("figure").hidden = Boolean(no_metric);
  const values = [0, 90, 180].map((angle) => [`kernel at ${angle}°`, kernels[ANGLES.indexOf(angle)]]);
  const notes = no_metric ? [`There is no metric: ${no_metric}.`] : showMetric(values);
  find("notes").textContent = notes.join(" ");
  find("values").replaceChildren(...values.map(valueRow));
  showFormula();
  document.body.dataset.milliseconds = performance.now() - started;
}

function valueRow([name, value]) {
  const row = document.createElement("tr"), head = document.createElement("th"), cell = document.createElement("td");
  [head.scope, head.textContent, cell.textContent] = ["row", name, Number.isFinite(value) ? (value && value.toPrecision(8)) : "–"];
  cell.dataset.value = value;
  row.append(head, cell);
  return row;
}

// Draws what comes of the metric, puts its values first, and returns what is to be said.
function showMetric(values) {
  const rows = profileOf(state, state.extent), here = geometryOf(state, state.r), distance = distanceOf(state, state.r);
  const ends = rows.filter((row) => "distance" in row);
  const curve = (name) => rows.map((row) => [row.r, row[name]]);
  const mark = (...marked) => ({ x: state.r, values: marked });
  const across = (row) => row.r * Math.sqrt(row.A);
  chart(find("metric"), "A, and A + |x|² B", "|x|", [curve("A"), curve("h")], mark(here.A, here.h));
  chart(find("shear"), "B", "|x|", [curve("B")], mark(here.B));
  chart(find("volume"), "Log of the volume element", "|x|", [curve("log_volume")], mark(here.log_volume));
  chart(find("curvature"), "Ricci scalar R", "|x|", [curve("R")], mark(here.R));
  const lengths = [[0, 0], ...ends.map((row) => [row.r, row.distance])], radii = [[0, 0], ...rows.map((row) => [row.r, across(row)])];
  chart(find("distance"), "Distance from the origin, and radius", "|x|", [lengths, radii], mark(distance, across(here)));
  values.unshift(
    ["A", here.A], ["B", here.B], ["A + |x|² B", here.h], ["log √det g", here.log_volume], ["R", here.R],
    ["distance from the origin", distance],
  );
  showSurface(rows, ends.map((row) => [across(row), row.height]));
  const notes = rows.every((row) => row.R === 0) ? ["The metric is flat: R = 0 everywhere."] : [];
  if (!rows.every((row) => Number.isFinite(row.R))) notes.push("Curves end where numbers are too large for the browser.");
  if (ACTIVATIONS[state.activation].mixture) notes.push(`A mixture of error functions: ${ACTIVATIONS[state.activation].mixture}.`);
  return notes;
}

function showSurface(rows, profile) {
  const signs = new Set(rows.map((row) => (Math.abs(row.excess) < 1e-10 * row.h ? 0 : Math.sign(row.excess))));
  const spaces = signs.has(1) && signs.has(-1)
    ? `partly in R³, partly in ${MINKOWSKI}`
    : signs.has(-1) ? `in ${MINKOWSKI}` : signs.has(1) ? "in R³" : "in R³: flat";
  find("space").innerHTML = spaces;
  const end = profile.findIndex((ring) => !ring.every(Number.isFinite));
  rings = [[0, 0], ...(end < 0 ? profile : profile.slice(0, end))];
  drawSurface(find("surface"), rings);
}

function showFormula() {
  const { phi, one_layer, expectations, kernel, mixture, no_metric } = ACTIVATIONS[state.activation];
  const parts = [["Activation", phi]];
  if (!no_metric && state.depth === 1) parts.push([one_layer.mathml.length > 3 ? "One layer; s = |x|², a prime is the derivative by v" : "One layer; s = |x|²", one_layer]);
  if (!no_metric && state.depth > 1) parts.push(...Object.entries(DEEP));
  if (no_metric || state.depth > 1 || mixture) {
    const nodes = mixture ? ", sums over i and j of w_i w_j times" : "";
    parts.push([`m = E[φ²]${no_metric ? "" : ", m₀ = E[φ′²]"} at variance v${nodes}`, expectations]);
  }
  if (kernel.mathml.length) parts.push(["k = E[φ(u) φ(v)] at variances p and q, covariance c, Δ = p q − c²", kernel]);
  const html = parts.map(([title, { mathml }]) => `<h3>${title}</h3>${mathml.join("")}`).join("");
  if (find("formula").dataset.shown !== html) {
    find("formula").innerHTML = html;
    find("formula").dataset.shown = html;
  }
  const rows = parts.flatMap(([title, { latex }]) => latex);
  find("copy-latex").value = `\\begin{aligned}\n${rows.join(" \\\\\n")}\n\\end{aligned}`;
  const python = ACTIVATIONS[state.activation].python.replace(/\{(\w+)\}/g, (_, name) => state[name]);
  find("python").textContent = find("copy-python").value = python;
}

async function copy({ target }) {
  try {
    await navigator.clipboard.writeText(target.value);
    find("copied").textContent = "Copied.";
  } catch {
    find("copied").textContent = "The browser does not let this page copy; take the line from here by hand.";
  }
}

function turn(right, up) {
  view.turn += right;
  view.tilt = Math.min(1.5, Math.max(-1.5, view.tilt + up));
  drawSurface(find("surface"), rings);
}

function start() {
  buildControls();
  fromAddress();
  show();
  addEventListener("hashchange", () => change(fromAddress));
  addEventListener("resize", () => turn(0, 0));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => turn(0, 0));
  find("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["copy-python", "copy-latex"]) find(id).addEventListener("click", copy);
  const surface = find("surface"), keys = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
  surface.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    turn(...keys[event.key]);
  });
  surface.addEventListener("pointerdown", (event) => surface.setPointerCapture(event.pointerId));
  surface.addEventListener("pointermove", (event) => {
    if (surface.hasPointerCapture(event.pointerId)) turn(event.movementX / 100, event.movementY / 100);
  });
}

start();

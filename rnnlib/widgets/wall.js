// The wall: gradient descent on the error surface of a one-unit recurrent network.
//
//   x_t = w sigma(x_{t-1}) + b,   E = (sigma(x_T) - target)^2      (P12, equation 14 and Figure 3)
//
// The first part is mathematics (pure functions on float64 numbers, tested against rnnlib); the
// second draws, with the tools of host.js. `render` has anywidget's signature.

// ---------------------------------------------------------------- mathematics

export const WINDOW = { w: [4, 6], b: [-3.2, -2] };
export const DEFAULTS = {
  w: 5, b: -2.4, learning_rate: 0.1, threshold: 1, clipping: true, seq_len: 50,
};
export const N_STEPS = 400;
const PROBLEM = { seqLen: 50, x0: 0.5, target: 0.7 };

const logistic = (x) => 1 / (1 + Math.exp(-x));

/** State x_T after T applications of x -> w sigma(x) + b. */
export function state(w, b, T = PROBLEM.seqLen, x0 = PROBLEM.x0) {
  let x = x0;
  for (let t = 0; t < T; t++) x = w * logistic(x) + b;
  return x;
}

/** Error and its exact gradient: the derivatives of the state are carried forward with it. */
export function errorAndGradient(w, b, settings = {}) {
  const { seqLen, x0, target } = { ...PROBLEM, ...settings };
  let x = x0, dxdw = 0, dxdb = 0;
  for (let t = 0; t < seqLen; t++) {
    const s = logistic(x);
    const slope = w * s * (1 - s);
    dxdw = s + slope * dxdw;
    dxdb = 1 + slope * dxdb;
    x = w * s + b;
  }
  const y = logistic(x);
  const outer = 2 * (y - target) * y * (1 - y);
  return { error: (y - target) ** 2, gradW: outer * dxdw, gradB: outer * dxdb, state: x };
}

/**
 * Gradient descent from start = [w, b]; a gradient whose norm reaches the threshold is rescaled
 * to it (P12, algorithm 1). A null or infinite threshold never rescales. The walk stops early
 * where the surface is no longer finite; `n` counts the steps that were made.
 */
export function descend(start, settings = {}) {
  const { learningRate = 0.1, threshold = null, nSteps = N_STEPS, ...problem } = settings;
  const limit = threshold === null ? Infinity : threshold;
  const w = new Float64Array(nSteps + 1), b = new Float64Array(nSteps + 1);
  const error = new Float64Array(nSteps + 1), stepLength = new Float64Array(nSteps);
  const gradNorm = new Float64Array(nSteps + 1);
  [w[0], b[0]] = start;
  let n = 0;
  for (let k = 0; ; k++) {
    const here = errorAndGradient(w[k], b[k], problem);
    const norm = Math.hypot(here.gradW, here.gradB);
    error[k] = here.error;
    gradNorm[k] = norm;
    n = k;
    if (k === nSteps || !Number.isFinite(norm)) break;
    const rate = norm >= limit ? (learningRate * limit) / norm : learningRate;
    w[k + 1] = w[k] - rate * here.gradW;
    b[k + 1] = b[k] - rate * here.gradB;
    stepLength[k] = rate * norm;
  }
  return { n, w, b, error, stepLength, gradNorm };
}

/** Error over a grid, row by row: entry j * ws.length + i belongs to (ws[i], bs[j]). */
export function surface(ws, bs, settings = {}) {
  const { seqLen, x0, target } = { ...PROBLEM, ...settings };
  const errors = new Float64Array(ws.length * bs.length);
  let k = 0;
  for (const b of bs) {
    for (const w of ws) errors[k++] = (logistic(state(w, b, seqLen, x0)) - target) ** 2;
  }
  return errors;
}

/** b on the wall for long sequences: x0 is the unstable fixed point, or before that the fold. */
export function wallLine(w, x0 = PROBLEM.x0) {
  if (w < 4) return NaN;
  const s0 = logistic(x0);
  if (w * s0 * (1 - s0) >= 1) return x0 - s0 * w;
  const s = (1 + Math.sqrt(1 - 4 / w)) / 2;
  return Math.log(s / (1 - s)) - w * s;
}

/** b at which the target itself is a fixed point, so that the error is zero on its basin. */
export function valleyLine(w, target = PROBLEM.target) {
  return Math.log(target / (1 - target)) - target * w;
}

/** n starts spread evenly (a sunflower) over the disc of the given radius about a start. */
export function nearby([w, b], n, radius) {
  const golden = Math.PI * (3 - Math.sqrt(5));
  return Array.from({ length: n }, (_, i) => {
    const r = radius * Math.sqrt((i + 0.5) / n);
    return [w + r * Math.cos(i * golden), b + r * Math.sin(i * golden)];
  });
}

/** What a typed number must be; null when it is accepted, else the message. */
export function objection(name, value) {
  const range = { w: WINDOW.w, b: WINDOW.b, seq_len: [1, 100] }[name];
  const number = typeof value === "number" && Number.isFinite(value);
  if (range) {
    const whole = name === "seq_len";
    if (number && value >= range[0] && value <= range[1] && (!whole || Number.isInteger(value)))
      return null;
    const label = whole ? "T" : name;
    const kind = whole ? "a whole number" : "a number";
    return `${label}: ${kind} from ${range.map(plainNumber).join(" to ")}`;
  }
  if (number && value > 0) return null;
  return `${name.replace("_", " ")}: a number above 0`;
}

/** What the reader sees of a walk up to step k. */
export function summary(path, k) {
  const n = Math.min(k, path.n);
  const inside = (i) =>
    path.w[i] >= WINDOW.w[0] && path.w[i] <= WINDOW.w[1] &&
    path.b[i] >= WINDOW.b[0] && path.b[i] <= WINDOW.b[1];
  let largest = 0, left = -1;
  for (let i = 0; i < n; i++) {
    largest = Math.max(largest, path.stepLength[i]);
    if (left < 0 && !inside(i + 1)) left = i + 1;
  }
  return {
    steps: n, largest, w: path.w[n], b: path.b[n], error: path.error[n],
    left, inside: inside(n), stopped: path.n < k,
  };
}

// ---------------------------------------------------------------- colour

// Nine anchors of viridis; between them we interpolate.
const VIRIDIS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30",
  "fde725"].map((c) => [0, 2, 4].map((i) => parseInt(c.slice(i, i + 2), 16)));

// Low error lies closest to the page in both themes, so that the paths stand out from it.
const SHADES = {
  light: { page: [255, 255, 255], tint: 0.3, flip: true },
  dark: { page: [13, 17, 23], tint: 0.38, flip: false },
};

/** Colour of a fraction between 0 (no error) and 1 (the largest in the window). */
export function colour(fraction, theme = "light") {
  const { page, tint, flip } = SHADES[theme];
  const at = Math.min(Math.max(flip ? 1 - fraction : fraction, 0), 1) * (VIRIDIS.length - 1);
  const i = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[i].map((low, c) => {
    const full = low + (at - i) * (VIRIDIS[i + 1][c] - low);
    return Math.round(full + tint * (page[c] - full));
  });
}

const LARGEST_ERROR = 0.43;             // on the window, T = 50, it is 0.4266
const shade = (error) => Math.sqrt(error / LARGEST_ERROR);   // that is |sigma(x_T) - target|

/** The part of the segment p-q inside the box, as fractions [from, to] of it; null if outside. */
export function clipSegment(p, q, box) {
  let from = 0, to = 1;
  for (const axis of [0, 1]) {
    const d = q[axis] - p[axis];
    if (d === 0 && (p[axis] < box[axis][0] || p[axis] > box[axis][1])) return null;
    if (d === 0) continue;
    const ends = box[axis].map((edge) => (edge - p[axis]) / d);
    from = Math.max(from, Math.min(...ends));
    to = Math.min(to, Math.max(...ends));
  }
  return from < to ? [from, to] : null;
}

const degrees = (dy, dx) => Math.atan2(dy, dx) * (180 / Math.PI);

const WALL_CSS = `
.rnn-wall .rnn-map, .rnn-wall .rnn-curve { position: relative; }
.rnn-wall canvas { position: absolute; display: block; }
.rnn-wall .rnn-plain { stroke: var(--orange); stroke-width: 2; }
.rnn-wall .rnn-clipped { stroke: var(--blue); stroke-width: 2; }
.rnn-wall path.rnn-clipped, .rnn-wall line.rnn-clipped { stroke-dasharray: 5 3; }
.rnn-wall .rnn-dots { stroke: var(--blue); stroke-width: 2.2; stroke-linecap: round; }
.rnn-wall .rnn-mark { stroke: var(--casing); stroke-width: 1.5; }
.rnn-wall .rnn-plain.rnn-mark { fill: var(--orange); stroke: var(--casing); }
.rnn-wall .rnn-clipped.rnn-mark { fill: var(--blue); stroke: var(--casing); }
.rnn-wall .rnn-guide { stroke: var(--ink); stroke-width: 1.5; stroke-opacity: .8; }
.rnn-wall .rnn-map svg > * { pointer-events: none; }
.rnn-wall .rnn-map svg > :is(.rnn-surface, .rnn-handle) { pointer-events: auto; }
.rnn-wall .rnn-surface { cursor: crosshair; fill: transparent; }
.rnn-wall .rnn-handle { cursor: grab; outline: none; }
.rnn-wall .rnn-handle:active { cursor: grabbing; }
.rnn-wall .rnn-handle .rnn-ring { fill: none; stroke: none; }
.rnn-wall .rnn-handle:focus-visible .rnn-ring { stroke: var(--ink); stroke-width: 2; }
.rnn-wall .rnn-start { grid-column: 2 / 4; display: flex; gap: 6px 14px;
  justify-content: flex-end; }
.rnn-wall input[type=checkbox] { width: 16px; height: 16px; margin: 0 6px 0 0;
  vertical-align: -3px; }
`;

// ---------------------------------------------------------------- the figure

/** Draw the figure in `el` and keep it and `model` in step; returns a function that lets go. */
function render({ model, el }) {
  const serial = Math.random().toString(36).slice(2, 8);       // labels need ids of their own
  const id = (name) => `rnn-wall-${serial}-${name}`;
  const root = node("div", { class: "rnn-figure rnn-wall", role: "group", "aria-label":
    "Interactive figure: gradient descent on the error surface of a one-unit recurrent network" });
  el.append(node("style", {}, CSS + WALL_CSS), root);
  const life = lifetime(), { listen } = life;

  const now = () => Object.fromEntries(Object.keys(DEFAULTS).map((key) => [key, model.get(key)]));
  let good = now();                                            // the last accepted state
  let paths = {}, shown = N_STEPS, theme = "", box = null;

  function put(changes) {
    if ("w" in changes || "b" in changes) hint.remove();
    for (const [key, value] of Object.entries(changes)) model.set(key, value);
    model.save_changes();
  }

  // ---- controls
  const { inputs, message, number, clear, range, label } =
    form({ id, listen, objection, put, shown: (key) => good[key] });
  const clipping = node("input", { type: "checkbox", id: id("clipping"), name: "clipping" });
  listen(clipping, "change", () => put({ clipping: clipping.checked }));
  const sliders = {
    learning_rate: range("learning_rate", 0.005, 0.5, 0.005, "learning rate"),
    threshold: range("threshold", 0.05, 5, 0.05, "threshold of the gradient norm"),
    seq_len: range("seq_len", 1, 100, 1, "sequence length T"),
  };
  const scrub = node("input", { type: "range", min: 0, max: N_STEPS, step: 1, id: id("scrub") });
  const { button: play, stop } = player(life, { last: N_STEPS, now: () => shown, show });
  const controls = node("div", { class: "rnn-controls" },
    node("span", {}, "Start"),
    node("span", { class: "rnn-start" },
      node("label", {}, node("i", {}, "w"), " ", number("w", "0.01")),
      node("label", {}, node("i", {}, "b"), " ", number("b", "0.01"))),
    label("learning_rate", "Learning rate"), sliders.learning_rate, number("learning_rate", "any"),
    node("label", { for: id("clipping") }, clipping, "Clip norm at"), sliders.threshold,
    number("threshold", "any", "threshold of the gradient norm"),
    label("seq_len", "Length ", node("i", {}, "T")), sliders.seq_len, number("seq_len", "1"),
    label("scrub", "Steps shown"), scrub, play,
    message);

  // ---- picture
  const title = node("span");
  const bar = node("svg", { "aria-hidden": "true", style: "width:190px;height:30px" });
  const canvas = node("canvas", { "aria-hidden": "true" });
  const map = node("svg", { role: "group", "aria-label": "Map of the error: w from 4 to 6 to the " +
    "right, b from −3.2 to −2 upwards. A wall falls from the upper left to the lower right; the " +
    "error is high below it and low above it, lowest close to the wall." });
  const curve = node("svg", { role: "img", "aria-label": "Error against step of descent, on a " +
    "logarithmic axis from one to a millionth; the table gives the last values." });
  const rows = {}, cells = {};
  for (const kind of ["plain", "clipped"]) {
    cells[kind] = ["largest", "w", "b", "error"].map(() => node("td"));
    rows[kind] = node("tr", {}, node("th", { scope: "row" }, key(kind), kind), ...cells[kind]);
  }
  const caption = node("th", { scope: "col" });
  const columns = [["largest step"], [node("i", {}, "w")], [node("i", {}, "b")],
    ["error ", node("i", {}, "E")]].map((text) => node("th", { scope: "col" }, ...text));
  const readout = node("table", { class: "rnn-readout" },
    node("thead", {}, node("tr", {}, caption, ...columns)),
    node("tbody", {}, rows.plain, rows.clipped));
  const note = node("p", { class: "rnn-note" });
  const spoken = node("p", { class: "rnn-unseen", "aria-live": "polite" });
  root.append(
    node("div", { class: "rnn-head" }, title, bar),
    node("div", { class: "rnn-map" }, canvas, map),
    node("div", { class: "rnn-below" }, controls, node("div", { class: "rnn-curve" }, curve)),
    readout, note, spoken);

  function mark(kind) {                                        // the book's arms: disc, triangle
    return kind === "plain"
      ? node("circle", { r: 5, class: "rnn-mark rnn-plain" })
      : node("polygon", { points: "0,-6.5 6,4.5 -6,4.5", class: "rnn-mark rnn-clipped" });
  }
  function key(kind) {
    const end = node("g", { transform: "translate(27 6)" }, mark(kind));
    return node("svg", { viewBox: "0 0 34 12", "aria-hidden": "true" },
      line(0, 6, 24, 6, `rnn-${kind}`), end);
  }

  // ---- the map: axes, guides, paths, handle
  const lines = {}, ends = {}, exits = {};
  let wallName = null;
  const handle = node("g", { class: "rnn-handle", role: "slider", tabindex: "0",
    "aria-roledescription": "two-dimensional slider",
    "aria-label": "start of the descent; arrow keys move it, with Shift ten times as far",
    "aria-valuemin": WINDOW.w[0], "aria-valuemax": WINDOW.w[1] },
  node("circle", { r: 22, fill: "transparent" }),
  node("circle", { r: 11, class: "rnn-ring" }),
  node("circle", { r: 7, style: "fill:var(--casing);stroke:var(--ink);stroke-width:2" }),
  node("circle", { r: 2, style: "fill:var(--ink)" }));
  const hint = write(0, 0, "drag the start", "start", { class: "rnn-onmap" });
  handle.append(hint);

  const across = (w) => box.left + ((w - WINDOW.w[0]) / (WINDOW.w[1] - WINDOW.w[0])) * box.width;
  const down = (b) => box.top + ((WINDOW.b[1] - b) / (WINDOW.b[1] - WINDOW.b[0])) * box.height;

  function layout() {
    const full = root.clientWidth;
    if (full === 0 || full === box?.full) return;
    const left = 46, top = 6, width = full - 56;
    const height = Math.round(width * (full < 480 ? 0.8 : 0.6)), bottom = top + height;
    box = { full, left, top, width, height };
    map.setAttribute("viewBox", `0 0 ${full} ${bottom + 36}`);
    for (const side of ["left", "top", "width", "height"]) canvas.style[side] = `${box[side]}px`;
    const axes = [
      write(left + width / 2, bottom + 34, "w", "middle", ITALIC),
      write(left - 14, down(-2.5) + 4, "b", "end", ITALIC),
      ...ticks(...WINDOW.w, full < 480 ? 0.5 : 0.25).flatMap((w) => [
        line(across(w), bottom, across(w), bottom + 5, "rnn-axis"),
        write(across(w), bottom + 18, String(w), "middle", MUTED)]),
      ...ticks(...WINDOW.b, 0.2).flatMap((b) => [
        line(left - 5, down(b), left, down(b), "rnn-axis"),
        write(left - 8, down(b) + 4, fixed(b, 1), "end", MUTED)]),
    ];
    // The corner: beyond it the start no longer lies in the basin of the zero-error point.
    const valley = (w) => (w > 4.4789 ? NaN : valleyLine(w));
    const guides = [...guide(wallLine, "", 5.5, ""), ...guide(valley, "E = 0", 4.22, "1 4")];
    wallName = guides[1];
    for (const kind of ["plain", "clipped"]) {
      lines[kind] = [node("path", { class: "rnn-casing" }), node("path", { class: `rnn-${kind}` })];
      ends[kind] = mark(kind);
      exits[kind] = node("g");
    }
    const field = node("rect", { class: "rnn-surface", x: left, y: top, width, height });
    map.replaceChildren(...axes, ...guides, field, ...lines.plain, ...lines.clipped,
      exits.plain, exits.clipped, ends.plain, ends.clipped, handle);
    draw();
  }

  /** A line over the map with its name written along it at w = `at`. */
  function guide(of, name, at, dashes) {
    const points = ticks(...WINDOW.w, 0.005).map((w) => [w, of(w)])
      .filter(([, b]) => b >= WINDOW.b[0] && b <= WINDOW.b[1])
      .map(([w, b]) => [across(w), down(b)]);
    const x = across(at), y = down(of(at));
    const angle = degrees(down(of(at + 0.1)) - y, across(at + 0.1) - x);
    const drawn = node("path", { class: "rnn-guide", d: `M${points.join("L")}`,
      "stroke-dasharray": dashes, "stroke-linecap": "round" });
    const transform = `translate(${x} ${y}) rotate(${angle})`;
    return [drawn, write(0, -8, name, "middle", { class: "rnn-onmap", transform })];
  }

  function paintSurface() {
    const size = [320, 192], palette = Array.from({ length: 256 }, (_, i) => colour(i / 255, theme));
    const [ws, bs] = [WINDOW.w, WINDOW.b].map(([low, high], axis) =>
      Array.from({ length: size[axis] }, (_, i) => low + ((i + 0.5) / size[axis]) * (high - low)));
    [canvas.width, canvas.height] = size;
    const pen = canvas.getContext("2d"), image = pen.createImageData(...size);
    surface(ws, bs.reverse(), { seqLen: good.seq_len }).forEach((error, k) => {
      const [red, green, blue] = palette[Math.min(Math.round(255 * shade(error)), 255)];
      image.data.set([red, green, blue, 255], 4 * k);
    });
    pen.putImageData(image, 0, 0);
    const stops = Array.from({ length: 160 }, (_, i) => node("rect", { x: 20 + i, y: 2, width: 1,
      height: 9, fill: `rgb(${colour(i / 159, theme)})`, "shape-rendering": "crispEdges" }));
    const labels = [0, 0.01, 0.1, 0.4].map((error) =>
      write(20 + 160 * shade(error), 24, String(error), "middle", MUTED));
    bar.replaceChildren(write(4, 11, "E", "start", ITALIC), ...stops, ...labels);
  }

  // ---- what changes with every move
  function trace(path, upTo) {
    const bounds = [WINDOW.w, WINDOW.b];
    let d = "", pen = null;
    const arrows = [];
    for (let i = 0; i < Math.min(upTo, path.n); i++) {
      const p = [path.w[i], path.b[i]], q = [path.w[i + 1], path.b[i + 1]];
      const part = clipSegment(p, q, bounds);
      if (part === null) continue;
      const [a, z] = part.map((t) =>
        [across(p[0] + t * (q[0] - p[0])), down(p[1] + t * (q[1] - p[1]))]);
      if (pen !== i || part[0] > 0) d += `M${a.map((v) => v.toFixed(2))}`;
      d += `L${z.map((v) => v.toFixed(2))}`;
      pen = i + 1;
      if (part[1] < 1) arrows.push([...z, degrees(z[1] - a[1], z[0] - a[0])]);
    }
    return { d, arrows };
  }

  function draw() {
    if (box === null) return;
    const told = {};
    for (const kind of ["plain", "clipped"]) {
      const path = paths[kind], on = kind === "plain" || good.clipping;
      const s = (told[kind] = summary(path, shown));
      const { d, arrows } = trace(path, shown);
      for (const drawn of lines[kind]) {
        drawn.setAttribute("d", d);
        drawn.toggleAttribute("hidden", !on);
      }
      lines[kind][0].setAttribute("stroke-dasharray", kind === "clipped" ? "5 3" : "");
      exits[kind].replaceChildren(...(on ? arrows : []).map(([x, y, angle]) =>
        node("polygon", { points: "9,0 -3,-6 -3,6", class: `rnn-mark rnn-${kind}`,
          transform: `translate(${x} ${y}) rotate(${angle})` })));
      if (on && arrows.length && !s.inside) exits[kind].append(farPoint(arrows.at(-1), s));
      ends[kind].setAttribute("transform", `translate(${across(s.w)} ${down(s.b)})`);
      ends[kind].toggleAttribute("hidden", !on || !s.inside);
      rows[kind].hidden = !on;
      [readable(s.largest), fixed(s.w, 3), fixed(s.b, 3), readable(s.error)]
        .forEach((text, i) => { cells[kind][i].textContent = text; });
    }
    handle.setAttribute("transform", `translate(${across(good.w)} ${down(good.b)})`);
    const room = across(good.w) + 110 < box.left + box.width;
    for (const [name, value] of Object.entries({ x: room ? 14 : 8, y: room ? 4 : -16,
      "text-anchor": room ? "start" : "end" })) hint.setAttribute(name, value);
    handle.setAttribute("aria-valuenow", good.w);
    handle.setAttribute("aria-valuetext", `w ${fixed(good.w, 2)}, b ${fixed(good.b, 2)}`);
    caption.textContent = `after ${shown} steps`;
    wallName.textContent = good.seq_len < 20 ? "wall of longer sequences" : "wall";
    title.replaceChildren("Error after ", node("i", {}, "T"),
      ` = ${good.seq_len} step${good.seq_len === 1 ? "" : "s"} of the network`);
    tell(told);
    drawCurve();
  }

  function farPoint([x, y], s) {                               // where a walk ends that left the map
    const leftwards = x > box.left + 0.75 * box.width;
    const shift = y < box.top + 20 ? 18 : y > box.top + box.height - 12 ? -12 : 4;
    return write(x + (leftwards ? -14 : 14), y + shift, `to (${fixed(s.w, 2)}, ${fixed(s.b, 2)})`,
      leftwards ? "end" : "start", { class: "rnn-onmap" });
  }

  function departure(name, s) {
    if (s.stopped)
      return `${name} descent stops at step ${s.steps}, where the surface is no longer finite. `;
    if (s.left < 0) return "";
    const place = `w = ${fixed(s.w, 2)}, b = ${fixed(s.b, 2)}`;
    const end = s.inside ? "comes back" : `is at ${place} after ${s.steps}`;
    return `${name} descent leaves the window at step ${s.left} and ${end}. `;
  }

  let shares = "", speech = 0;
  function tell({ plain, clipped }) {
    const both = good.clipping;
    note.textContent =
      departure("Plain", plain) + (both ? departure("Clipped", clipped) : "") + shares;
    const course = (name, s) =>
      `${name} descent: error ${readable(s.error)}, largest step ${readable(s.largest)}. `;
    clearTimeout(speech);
    speech = setTimeout(() => {
      const from = `w ${fixed(good.w, 2)}, b ${fixed(good.b, 2)}`;
      spoken.textContent = `After ${shown} steps from ${from}. ` + course("Plain", plain) +
        (both ? course("Clipped", clipped) : "") + note.textContent;
    }, 700);
  }

  function drawCurve() {
    const full = curve.parentElement.clientWidth, left = 46, right = full - 10;
    const top = 24, bottom = 140, floor = 1e-6;
    const x = (k) => left + (k / N_STEPS) * (right - left);
    const y = (error) => {
      const kept = Number.isFinite(error) ? Math.min(Math.max(error, floor), 1) : 1;
      return top + (Math.log10(kept) / Math.log10(floor)) * (bottom - top);
    };
    const parts = [
      write(left, 12, "Error against step"),
      ...[[1, "1"], [1e-2, "10⁻²"], [1e-4, "10⁻⁴"], [1e-6, "10⁻⁶"]].flatMap(([error, name]) => [
        line(left, y(error), right, y(error), "rnn-axis"),
        write(left - 8, y(error) + 4, name, "end", MUTED)]),
      ...ticks(0, N_STEPS, 100).map((k) => write(x(k), bottom + 17, String(k), "middle", MUTED)),
    ];
    for (const kind of good.clipping ? ["plain", "clipped"] : ["plain"]) {
      const n = Math.min(shown, paths[kind].n);
      const points = Array.from(paths[kind].error.subarray(0, n + 1), (error, k) =>
        `${x(k).toFixed(1)},${y(error).toFixed(1)}`);
      const end = mark(kind);
      end.setAttribute("transform", `translate(${points[n]})`);
      parts.push(kind === "plain"                              // a dashed zigzag would be a blot
        ? node("path", { class: "rnn-plain", style: "stroke-width:1.5", d: `M${points.join("L")}` })
        : node("path", { class: "rnn-dots", d: `M${points.join("h0M")}h0` }), end);
    }
    curve.setAttribute("viewBox", `0 0 ${full} 176`);
    curve.replaceChildren(...parts);
  }

  // One run proves little: beyond the first wall its course depends on the last digit.
  let counting = 0;
  function survey() {
    clearTimeout(counting);
    shares = "";
    const starts = nearby([good.w, good.b], 100, 1e-6), count = { plain: [0, 0], clipped: [0, 0] };
    const settings = { learningRate: good.learning_rate, seqLen: good.seq_len };
    const some = () => {                                       // a few at a time keeps drags quick
      for (const start of starts.splice(0, 5)) {
        for (const [kind, threshold] of [["plain", null], ["clipped", good.threshold]]) {
          const walk = descend(start, { ...settings, threshold }), last = walk.error[walk.n];
          count[kind][0] += last > 0.08 || !Number.isFinite(last);
          count[kind][1] += last < 0.01;
        }
      }
      if (starts.length) {
        counting = setTimeout(some, 0);
        return;
      }
      const { plain, clipped } = count;
      shares = `Of 100 starts within 10⁻⁶ of this one, plain descent brings ${plain[0]} to ` +
        `an error above 0.08 and ${plain[1]} to one below 0.01` +
        (good.clipping ? `; clipped descent, ${clipped[0]} and ${clipped[1]}.` : ".");
      draw();
    };
    counting = setTimeout(some, 350);
  }

  function refresh() {
    const before = good;
    good = now();
    const settings = { learningRate: good.learning_rate, seqLen: good.seq_len };
    paths = { plain: descend([good.w, good.b], settings),
      clipped: descend([good.w, good.b], { ...settings, threshold: good.threshold }) };
    for (const [key, input] of Object.entries(inputs)) {
      const typing = input === document.activeElement && input.valueAsNumber === good[key];
      const text = String(Number(good[key].toFixed(6)));
      if (!typing) input.value = key.length === 1 && text.length < 5 ? good[key].toFixed(2) : text;
    }
    for (const [key, slider] of Object.entries(sliders)) slider.value = good[key];
    clipping.checked = good.clipping;
    sliders.threshold.disabled = inputs.threshold.disabled = !good.clipping;
    if (before.seq_len !== good.seq_len) paintSurface();
    survey();
    draw();
  }

  let due = 0;
  const soon = () => { if (!due) due = requestAnimationFrame(() => { due = 0; refresh(); }); };
  for (const name of Object.keys(DEFAULTS)) {
    model.on(`change:${name}`, soon);
    life.atEnd(() => model.off(`change:${name}`, soon));
  }

  // ---- moving the start
  const within = (value, [low, high]) => Number(Math.min(Math.max(value, low), high).toFixed(4));
  function place(w, b) {
    clear();
    put({ w: within(w, WINDOW.w), b: within(b, WINDOW.b) });
  }
  function moveTo(event) {
    const { left, top } = map.getBoundingClientRect();
    const right = (event.clientX - left - box.left) / box.width;
    const fall = (event.clientY - top - box.top) / box.height;
    place(WINDOW.w[0] + right * (WINDOW.w[1] - WINDOW.w[0]),
      WINDOW.b[1] - fall * (WINDOW.b[1] - WINDOW.b[0]));
  }
  let dragging = false;
  // A finger that takes the point must not scroll; `touch-action` does not hold inside an SVG.
  listen(handle, "touchstart", (event) => event.preventDefault(), { passive: false });
  listen(map, "pointerdown", (event) => {
    const held = handle.contains(event.target);
    if (event.button !== 0 || (!held && !event.target.matches(".rnn-surface"))) return;
    if (!held && event.pointerType !== "mouse") return;        // a finger on the surface may scroll
    event.preventDefault();
    handle.focus({ preventScroll: true });
    map.setPointerCapture(event.pointerId);
    dragging = true;
    moveTo(event);
  });
  listen(map, "pointermove", (event) => { if (dragging) moveTo(event); });
  for (const kind of ["pointerup", "pointercancel"]) listen(map, kind, () => { dragging = false; });
  listen(map, "click", (event) => { if (event.target.matches(".rnn-surface")) moveTo(event); });
  listen(handle, "keydown", (event) => {
    const by = event.shiftKey ? 0.1 : 0.01;
    const steps = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowDown: [0, -by], ArrowUp: [0, by] };
    const step = steps[event.key];
    if (!step && event.key !== "Home") return;
    event.preventDefault();
    if (step) place(model.get("w") + step[0], model.get("b") + step[1]);
    else place(DEFAULTS.w, DEFAULTS.b);
  });

  // ---- steps shown
  function show(k) { shown = k; scrub.value = k; draw(); }
  listen(scrub, "input", () => { stop(); show(scrub.valueAsNumber); });

  const sizer = new ResizeObserver(layout);
  followTheme(root, life, (now) => { theme = now; paintSurface(); });
  scrub.value = shown;
  refresh();
  layout();
  sizer.observe(root);

  return () => {
    life.end();
    sizer.disconnect();
    [counting, speech].forEach(clearTimeout);
    cancelAnimationFrame(due);
  };
}

export default { render };

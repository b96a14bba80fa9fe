// Backward in time: the norm of an error in a small tanh network, and what Omega makes of it.
//
//   h_t = tanh(g (W h_{t-1} + U u_t)),   delta_{t-1} = delta_t J_t,   J_t = g diag(1 - h_t^2) W
//   Omega = mean over k of (|delta_k|^2 / |delta_{k+1}|^2 - 1)^2      (P13, equations 9 and 10)
//
// The first part is mathematics (pure functions on float64 numbers, tested against rnnlib); the
// second draws, with the tools of host.js. Matrices lie row by row in one array. `render` has
// anywidget's signature.

// ---------------------------------------------------------------- mathematics

export const DEFAULTS = { radius: 0.9, gain: 1, alpha: 2, updates: 100, seed: 1 };
export const LIMITS = {
  radius: [0.2, 2], gain: [0.25, 1.5], alpha: [0, 8], updates: [0, 300], seed: [1, 100],
};
export const SIZES = { units: 12, inputs: 2, steps: 60 };
export const RATE = 0.01;                // of the descent, as in the authors' program
export const VANISHED = 1e-20;           // an error whose squared norm is below counts no more
const N_UPDATES = LIMITS.updates[1];

function norm(v) {                       // Math.hypot of an array is slow, and this is needed often
  let sum = 0;
  for (let i = 0; i < v.length; i++) sum += v[i] * v[i];
  return Math.sqrt(sum);
}

/** n numbers between -1 and 1, by the generator of Park and Miller: the same in every language. */
export function draws(seed, n) {
  let x = seed;
  const next = () => (x = (16807 * x) % 2147483647);
  for (let i = 0; i < 10; i++) next();                         // small seeds start alike
  return Float64Array.from({ length: n }, () => (2 * next()) / 2147483647 - 1);
}

/** The network of a seed: W of the given spectral radius, U, inputs u and the error at the end. */
export function network(seed, radius) {
  const { units, inputs, steps } = SIZES;
  const sizes = [units * units, units * inputs, steps * inputs, units];
  const drawn = draws(seed, sizes.reduce((sum, size) => sum + size));
  let from = 0;
  const [W, U, u, error] = sizes.map((size) => drawn.slice(from, (from += size)));
  const scale = radius / spectralRadius(W), length = norm(error);
  return { W: W.map((w) => scale * w), U: U.map((w) => w / 2), u,
    error: error.map((d) => d / length) };
}

/** Largest modulus of an eigenvalue, as the limit of |W^m|^(1/m), m doubled fifty times. */
export function spectralRadius(W) {
  const n = Math.sqrt(W.length);
  let power = W, logarithm = 0;
  for (let i = 0; i <= 50; i++) {
    const size = norm(power);
    if (size === 0) return 0;
    logarithm += Math.log(size) / 2 ** i;
    const unit = power.map((w) => w / size);
    power = new Float64Array(n * n);
    for (let r = 0; r < n; r++)
      for (let k = 0; k < n; k++)
        for (let c = 0; c < n; c++) power[r * n + c] += unit[r * n + k] * unit[k * n + c];
  }
  return Math.exp(logarithm);
}

/** Singular values, largest first: rows are turned in pairs until all are orthogonal (Jacobi). */
export function singularValues(M) {
  const n = Math.sqrt(M.length), A = Float64Array.from(M);
  for (let sweep = 0, turned = true; turned && sweep < 30; sweep++) {
    turned = false;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        let pp = 0, qq = 0, pq = 0;
        for (let i = 0; i < n; i++) {
          const a = A[p * n + i], b = A[q * n + i];
          pp += a * a;
          qq += b * b;
          pq += a * b;
        }
        if (Math.abs(pq) <= 1e-15 * Math.sqrt(pp * qq)) continue;
        turned = true;
        const z = (qq - pp) / (2 * pq);
        const t = (z < 0 ? -1 : 1) / (Math.abs(z) + Math.hypot(1, z)), c = 1 / Math.hypot(1, t);
        for (let i = 0; i < n; i++) {
          const a = A[p * n + i], b = A[q * n + i];
          A[p * n + i] = c * (a - t * b);
          A[q * n + i] = c * (t * a + b);
        }
      }
    }
  }
  const lengths = Array.from({ length: n }, (_, r) => norm(A.subarray(r * n, r * n + n)));
  return lengths.sort((a, b) => b - a);
}

/** States h_1..h_T in one array, from h_0 = 0. */
export function states({ W, U, u, error }, gain) {
  const n = error.length, m = U.length / n, steps = u.length / m;
  const h = new Float64Array(steps * n);
  for (let t = 0; t < steps; t++) {
    for (let r = 0; r < n; r++) {
      let a = 0;
      if (t > 0) for (let c = 0; c < n; c++) a += W[r * n + c] * h[(t - 1) * n + c];
      for (let i = 0; i < m; i++) a += U[r * m + i] * u[t * m + i];
      h[t * n + r] = Math.tanh(gain * a);
    }
  }
  return h;
}

/**
 * Send the error back from the last state: its norm after 0..T steps back, Omega, and the
 * immediate derivative of Omega, for which errors and states are constants.
 */
export function backward(net, gain) {
  const { W } = net, n = net.error.length, h = states(net, gain), steps = h.length / n;
  const norms = new Float64Array(steps + 1), gradient = new Float64Array(n * n);
  let delta = Float64Array.from(net.error), omega = 0, active = 0;
  norms[0] = norm(delta);
  for (let back = 1; back <= steps; back++) {
    const at = (steps - back) * n;
    const sloped = new Float64Array(n), carried = new Float64Array(n);
    for (let r = 0; r < n; r++) {
      sloped[r] = gain * (1 - h[at + r] * h[at + r]) * delta[r];
      for (let c = 0; c < n; c++) carried[c] += sloped[r] * W[r * n + c];
    }
    norms[back] = norm(carried);
    const before = norms[back - 1] ** 2;
    if (before >= VANISHED) {
      const excess = norms[back] ** 2 / before - 1, factor = (4 * excess) / before;
      omega += excess ** 2;
      active++;
      for (let r = 0; r < n; r++) {
        const scale = factor * sloped[r];
        for (let c = 0; c < n; c++) gradient[r * n + c] += scale * carried[c];
      }
    }
    delta = carried;
  }
  const share = 1 / Math.max(active, 1);
  return { norms, omega: share * omega, active, gradient: gradient.map((w) => share * w) };
}

/** Jacobian of the step that lies `back` steps in the past, back = 1..T. */
export function jacobian(net, gain, back, h = states(net, gain)) {
  const n = net.error.length, at = h.length - back * n;
  return net.W.map((w, i) => gain * (1 - h[at + Math.floor(i / n)] ** 2) * w);
}

/**
 * Descent on alpha Omega: W after 0..`updates` updates, and what the error does in each. A `path`
 * of the same settings is carried on. It ends early where a number is no longer finite.
 */
export function descend(start, { gain, alpha, updates = N_UPDATES }, path = null) {
  const { matrices, errors } = path ?? { matrices: [start.W], errors: [backward(start, gain)] };
  while (errors.length <= updates) {
    const { gradient } = errors.at(-1);
    const W = matrices.at(-1).map((w, i) => w - RATE * alpha * gradient[i]);
    const next = backward({ ...start, W }, gain);
    if (!Number.isFinite(next.omega + norm(next.gradient))) break;
    matrices.push(W);
    errors.push(next);
  }
  return { matrices, errors };
}

/** What the reader sees of a descent after k updates. */
export function summary(start, path, k, gain) {
  const at = Math.min(k, path.errors.length - 1), W = path.matrices[at];
  const { norms, omega, active } = path.errors[at];
  const net = { ...start, W }, h = states(net, gain), steps = norms.length - 1;
  const spread = Array.from({ length: steps }, (_, i) => {
    const values = singularValues(jacobian(net, gain, i + 1, h));
    return [values.at(-1), values[0]];
  });
  return {
    omega, active, norms, spread, radius: spectralRadius(W), largest: singularValues(W)[0],
    factors: Array.from({ length: steps }, (_, i) => norms[i + 1] / norms[i]),
    perStep: (norms[steps] / norms[0]) ** (1 / steps),
  };
}

const NAMES = { radius: "spectral radius", gain: "gain", alpha: "weight α", seed: "network",
  updates: "updates" };
const whole = (name) => name === "seed" || name === "updates";

/** What a typed number must be; null when it is accepted, else the message. */
export function objection(name, value) {
  const [low, high] = LIMITS[name], within = value >= low && value <= high;
  const fits = whole(name) ? Number.isInteger(value) : Number.isFinite(value);
  if (within && fits) return null;
  return `${NAMES[name]}: a ${whole(name) ? "whole " : ""}number from ${low} to ${high}`;
}

/** What a summary says beyond the table, in sentences; `gain` as the summary was made with. */
export function findings(told, gain) {
  const { norms, factors, spread, active } = told, steps = factors.length, half = steps / 2;
  const stretch = gain * told.largest;
  const [smallest, largest] = spread[half - 1].map(readable);
  return [
    stretch < 1
      ? `Gain × σ = ${readable(stretch)} is below 1: the error must vanish.`
      : `Gain × σ = ${readable(stretch)} is not below 1: the error may vanish, hold or explode.`,
    `${steps} steps back |δ| is ${readable(norms[steps] / norms[0])} of what it was.`,
    ...(active < steps ? [`Ω counts the last ${active} steps; before them it has vanished.`] : []),
    `In the Jacobian ${half} steps back the singular values run from ${smallest} to ${largest}; ` +
      `the error is scaled by ${readable(factors[half - 1])}.`,
  ].join(" ");
}

// ---------------------------------------------------------------- the figure

const DECADES = { norm: [-10, 5], factor: [-3, 1] };           // what the two panels show

const BACKWARD_CSS = `
.rnn-backward p { margin: 0 0 4px 46px; }
.rnn-backward p svg { display: inline-block; width: 30px; height: 10px; margin: 0 7px 0 0; }
.rnn-backward .rnn-keys { display: flex; flex-wrap: wrap; gap: 0 18px; }
.rnn-backward .rnn-start { stroke: var(--muted); stroke-width: 2; stroke-dasharray: 6 4; }
.rnn-backward .rnn-now { stroke: var(--blue); stroke-width: 2.5; }
.rnn-backward .rnn-one { stroke: var(--muted); stroke-width: 1; }
.rnn-backward .rnn-bar { stroke: var(--muted); stroke-opacity: .5; }
.rnn-backward .rnn-dots { stroke: var(--blue); stroke-linecap: round; }
.rnn-backward .rnn-buttons { grid-column: 1 / -1; display: flex; gap: 8px; }
.rnn-backward .rnn-buttons button { flex: 1; width: auto; height: 38px; }
.rnn-backward .rnn-note { margin-left: 0; }
`;

/** Draw the figure in `el` and keep it and `model` in step; returns a function that lets go. */
function render({ model, el }) {
  const serial = Math.random().toString(36).slice(2, 8);       // labels need ids of their own
  const id = (name) => `rnn-backward-${serial}-${name}`;
  const root = node("div", { class: "rnn-figure rnn-backward", role: "group", "aria-label":
    "Interactive figure: the norm of an error on its way back in time through a small tanh " +
    "network, before and after descent on the regulariser Omega" });
  el.append(node("style", {}, CSS + BACKWARD_CSS), root);
  const life = lifetime(), { listen } = life;

  const now = () => Object.fromEntries(Object.keys(DEFAULTS).map((key) => [key, model.get(key)]));
  let good = {}, net = null, path = null, told = {};

  function put(changes) {
    if ("updates" in changes) stop();
    for (const [key, value] of Object.entries(changes)) model.set(key, value);
    model.save_changes();
  }

  // ---- controls
  const { inputs, message, number, clear, range, label } =
    form({ id, listen, objection, put, shown: (key) => good[key] });
  const sliders = {};
  const row = (key, step, name) => [label(key, name),
    (sliders[key] = range(key, ...LIMITS[key], step, NAMES[key])),
    number(key, whole(key) ? "1" : "any")];
  const { button: play, stop } = player(life, { last: N_UPDATES, now: () => model.get("updates"),
    show: (k) => model.set("updates", k), done: () => model.save_changes() });
  const once = node("button", { type: "button" }, "One update");
  listen(once, "click", () => {
    clear();
    put({ updates: Math.min(model.get("updates") + 1, N_UPDATES) });
  });
  const restart = node("button", { type: "button" }, "To the start");
  listen(restart, "click", () => { clear(); put({ updates: 0 }); });
  const controls = node("div", { class: "rnn-controls" },
    ...row("radius", 0.01, "Spectral radius"), ...row("gain", 0.01, "Gain of tanh"),
    ...row("seed", 1, "Network"), ...row("alpha", 0.1, "Weight α of Ω"),
    ...row("updates", 1, "Updates on Ω"),
    node("div", { class: "rnn-buttons" }, play, once, restart), message);

  // ---- picture
  const swatch = (...drawn) =>
    node("svg", { viewBox: "0 0 30 10", "aria-hidden": "true" }, ...drawn);
  const stroke = (kind) => swatch(line(0, 5, 30, 5, `rnn-${kind}`));
  const after = node("span");
  const norms = node("svg", { role: "img", "aria-label": "Norm of the error against steps back in " +
    "time, on a logarithmic axis, at the start and now; the table gives the values." });
  const factors = node("svg", { role: "img", "aria-label": "For each step back in time, the range " +
    "of the Jacobian's singular values and the factor by which it scales the error." });
  const bars = swatch(
    node("path", { class: "rnn-bar", "stroke-width": 4, d: "M6,-1v12M15,-1v12M24,-1v12" }));
  const dots = swatch(
    node("path", { class: "rnn-dots", "stroke-width": 4, d: "M6,5h0M15,4h0M24,5h0" }));
  const cells = {};
  const body = ["start", "now"].map((kind) => {
    cells[kind] = ["omega", "radius", "largest", "perStep"].map(() => node("td"));
    return node("tr", {}, node("th", { scope: "row" }, stroke(kind), kind), ...cells[kind]);
  });
  const columns = ["", "Ω", "radius", "largest σ", "|δ| per step"];
  const readout = node("table", { class: "rnn-readout" },
    node("thead", {}, node("tr", {}, ...columns.map((name) => node("th", { scope: "col" }, name)))),
    node("tbody", {}, ...body));
  const note = node("p", { class: "rnn-note" });
  const spoken = node("p", { class: "rnn-unseen", "aria-live": "polite" });
  root.append(
    node("p", {}, "The error |δ| on its way back in time"),
    node("p", { class: "rnn-keys" }, node("span", {}, stroke("start"), "at the start"),
      node("span", {}, stroke("now"), after)),
    node("div", {}, norms),
    node("div", { class: "rnn-below" }, controls, node("div", {},
      node("p", {}, "What each step back multiplies by"),
      node("p", { class: "rnn-keys" }, node("span", {}, bars, "all directions"),
        node("span", {}, dots, "the error")),
      factors)),
    readout, note, spoken);

  /** Axes of a panel: steps back against decades. Returns the scales and the place to draw in. */
  function frame(svg, height, [low, high], labels) {
    const full = svg.parentElement.clientWidth, left = 46, right = full - 10, top = 8;
    const bottom = top + height, steps = SIZES.steps;
    const x = (back) => left + (back / steps) * (right - left);
    const y = (value) => {
      const decade = Math.log10(Math.max(value, 1e-300));
      return top + ((high - Math.min(decade, 99)) / (high - low)) * height;
    };
    // An inner svg clips to its own box.
    const plot = node("svg", { x: left, y: top, width: right - left, height,
      viewBox: `${left} ${top} ${right - left} ${height}`,
      style: `width:${right - left}px;overflow:hidden` });
    svg.setAttribute("viewBox", `0 0 ${full} ${bottom + 36}`);
    svg.replaceChildren(
      ...Object.entries(labels).flatMap(([name, value]) => [
        line(left, y(value), right, y(value), value === 1 ? "rnn-one" : "rnn-axis"),
        write(left - 8, y(value) + 4, name, "end", MUTED)]),
      ...ticks(0, steps, 10).map((back) => write(x(back), bottom + 16, String(back), "middle",
        MUTED)),
      write((left + right) / 2, bottom + 33, "steps back in time", "middle"), plot);
    return { plot, x, y, left, right, top, bottom };
  }

  function drawNorms() {
    const height = root.clientWidth < 480 ? 190 : 230;
    const { plot, x, y, left, right, top, bottom } = frame(norms, height, DECADES.norm,
      { "10⁵": 1e5, 1: 1, "10⁻⁵": 1e-5, "10⁻¹⁰": 1e-10 });
    const curve = (kind, name) => node("path", { class: name, d: "M" + Array.from(told[kind].norms,
      (norm, back) => `${x(back).toFixed(1)},${y(norm).toFixed(1)}`).join("L") });
    const words = { class: "rnn-muted rnn-onmap" };
    plot.append(
      write(left + 6, top + 15, "explodes", "start", words),
      write(left + 6, bottom - 7, "vanishes", "start", words),
      write(right - 6, bottom - 7, "below this, Ω no longer counts it", "end", words),
      curve("start", "rnn-start"), curve("now", "rnn-casing"), curve("now", "rnn-now"));
  }

  function drawFactors() {
    const [low, high] = DECADES.factor;
    const { plot, x, y, left, right } = frame(factors, 150, DECADES.factor,
      { 10: 10, 1: 1, 0.1: 0.1, 0.01: 0.01, 0.001: 0.001 });
    const pitch = (right - left) / SIZES.steps;
    const kept = (value) => Math.min(Math.max(value, 10 ** low), 10 ** high);
    const at = (i, value) => `${x(i + 0.5).toFixed(1)},${y(value).toFixed(1)}`;
    const bar = told.now.spread.map(([least, most], i) =>
      `M${at(i, kept(least))}L${at(i, kept(most))}`);
    const dot = told.now.factors.map((factor, i) => `M${at(i, factor)}h0`);
    const size = Math.min(0.75 * pitch, 5);
    plot.append(
      node("path", { class: "rnn-bar", "stroke-width": 0.7 * pitch, d: bar.join("") }),
      node("path", { class: "rnn-dots", "stroke-width": size, d: dot.join("") }));
  }

  // ---- what changes with every move
  let speech = 0;
  function draw() {
    if (root.clientWidth === 0) return;
    drawNorms();
    drawFactors();
    const n = good.updates;
    after.textContent = `after ${n} update${n === 1 ? "" : "s"} on Ω`;
    for (const [kind, { omega, radius, largest, perStep }] of Object.entries(told)) {
      [readable(omega), fixed(radius, 2), fixed(largest, 2), `× ${fixed(perStep, 3)}`]
        .forEach((text, i) => { cells[kind][i].textContent = text; });
    }
    note.textContent = findings(told.now, good.gain);
    clearTimeout(speech);
    speech = setTimeout(() => {
      spoken.textContent = `After ${n} updates with α ${readable(good.alpha)}: Omega ` +
        `${readable(told.now.omega)}, at the start ${readable(told.start.omega)}. ` +
        note.textContent;
    }, 700);
  }

  function refresh() {
    const before = good;
    good = now();
    const moved = (...keys) => keys.some((key) => before[key] !== good[key]);
    if (moved("radius", "seed")) net = network(good.seed, good.radius);
    if (moved("radius", "seed", "gain", "alpha")) path = null;
    const fresh = path === null;
    path = descend(net, good, path);
    if (fresh) told.start = summary(net, path, 0, good.gain);
    told.now = summary(net, path, good.updates, good.gain);
    for (const [key, input] of Object.entries(inputs)) {
      const typing = input === document.activeElement && input.valueAsNumber === good[key];
      if (!typing) input.value = String(Number(good[key].toFixed(6)));
      sliders[key].value = good[key];
    }
    draw();
  }

  let due = 0;
  const soon = () => { if (!due) due = requestAnimationFrame(() => { due = 0; refresh(); }); };
  for (const name of Object.keys(DEFAULTS)) {
    model.on(`change:${name}`, soon);
    life.atEnd(() => model.off(`change:${name}`, soon));
  }
  const sizer = new ResizeObserver(draw);
  followTheme(root, life);
  refresh();
  sizer.observe(root);

  return () => {
    life.end();
    sizer.disconnect();
    clearTimeout(speech);
    cancelAnimationFrame(due);
  };
}

export default { render };

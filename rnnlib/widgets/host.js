// What the interactive figures share: numbers in words, drawing, controls, the page's theme, and a
// model for pages that have no kernel. A figure's own module, NAME.js, follows below and gives
// DEFAULTS and render; the two are one module, without imports, since a static page inlines it.

// ---------------------------------------------------------------- words and numbers

const plainNumber = (x) => String(x).replace("-", "−");
const fixed = (x, digits) => (Math.abs(x) < 1000 ? plainNumber(x.toFixed(digits)) : readable(x));

/** Three digits where that reads well, powers of ten where it does not. */
export function readable(x) {
  if (!Number.isFinite(x)) return "not finite";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 0.001 && size < 1000) return plainNumber(Number(x.toPrecision(3)));
  const [digits, power] = x.toExponential(1).split("e");
  const raised = [...String(Number(power))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]));
  return `${plainNumber(digits)}·10${raised.join("")}`;
}

// ---------------------------------------------------------------- drawing

function node(tag, attributes = {}, ...children) {
  const drawn = ["svg", "g", "path", "circle", "rect", "text", "tspan", "line", "polygon"];
  const made = drawn.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Text at a place; `anchor` is start, middle or end. */
const write = (x, y, text, anchor = "start", more = {}) =>
  node("text", { x, y, "text-anchor": anchor, ...more }, text);
const line = (x1, y1, x2, y2, name) => node("line", { x1, y1, x2, y2, class: name });
const MUTED = { class: "rnn-muted" }, ITALIC = { "font-style": "italic" };

const ticks = (from, to, step) =>
  Array.from({ length: Math.round((to - from) / step) + 1 }, (_, i) => from + i * step);

// ---------------------------------------------------------------- theme and style

const THEME_SAID_BY = ["data-theme", "theme", "data-jp-theme-light", "class"];

/** Light or dark, as the page says it (book theme, JupyterLab, Colab, VS Code) or the system. */
function pageTheme() {
  const { documentElement: html, body } = document;
  const said = html.dataset.theme ?? html.getAttribute("theme");
  if (said === "dark" || said === "light") return said;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false" ? "dark" : "light";
  if (body.classList.contains("vscode-dark")) return "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

// The colours of Okabe and Ito, the darker two on a light page.
const THEMES = {
  light: { orange: "#d55e00", blue: "#0072b2", casing: "#ffffff", ink: "#1f2328",
    muted: "#59636e", rule: "#d0d7de", field: "#ffffff" },
  dark: { orange: "#e69f00", blue: "#56b4e9", casing: "#0d1117", ink: "#e6e9ed",
    muted: "#a3adb8", rule: "#3d444d", field: "#1b2027" },
};

/** Dress `root` in the page's theme now and whenever that changes; then `repaint(theme)`. */
function followTheme(root, life, repaint = () => {}) {
  let theme = "";
  function dress() {
    if (theme === pageTheme()) return;
    theme = pageTheme();
    root.dataset.theme = theme;
    for (const [name, value] of Object.entries(THEMES[theme]))
      root.style.setProperty(`--${name}`, value);
    root.style.colorScheme = theme;
    repaint(theme);
  }
  const watcher = new MutationObserver(dress);
  for (const target of [document.documentElement, document.body])
    watcher.observe(target, { attributes: true, attributeFilter: THEME_SAID_BY });
  life.atEnd(() => watcher.disconnect());
  life.listen(matchMedia("(prefers-color-scheme: dark)"), "change", dress);
  dress();
}

const CSS = `
.rnn-figure { container-type: inline-size; color: var(--ink); font-size: 14px; line-height: 1.45;
  max-width: 780px; margin: 0 auto; text-align: left; }
.rnn-figure * { box-sizing: border-box; }
.rnn-figure .rnn-head { display: flex; flex-wrap: wrap; gap: 2px 20px; align-items: center;
  justify-content: space-between; margin: 0 0 6px 46px; }
.rnn-figure svg { display: block; position: relative; width: 100%; overflow: visible; }
.rnn-figure svg text { fill: var(--ink); font-size: 12px; }
.rnn-figure svg .rnn-muted { fill: var(--muted); }
.rnn-figure svg .rnn-onmap { paint-order: stroke; stroke: var(--casing); stroke-width: 3px;
  stroke-linejoin: round; stroke-opacity: .75; }
.rnn-figure svg path { fill: none; stroke-linejoin: round; }
.rnn-figure .rnn-axis { stroke: var(--rule); stroke-width: 1; }
.rnn-figure .rnn-casing { stroke: var(--casing); stroke-opacity: .85; stroke-width: 4; }
.rnn-figure .rnn-below { display: grid; gap: 14px 32px; margin-top: 12px; }
.rnn-figure .rnn-controls { display: grid; gap: 7px 10px; align-content: start;
  grid-template-columns: auto minmax(60px, 1fr) 76px; align-items: center; }
.rnn-figure label { color: var(--ink); font: inherit; margin: 0; }
.rnn-figure input[type=number] { width: 76px; height: 32px; padding: 2px 6px; margin: 0;
  font: inherit; font-variant-numeric: tabular-nums; color: var(--ink); background: var(--field);
  border: 1px solid var(--muted); border-radius: 4px; }
.rnn-figure input[aria-invalid=true] { border-color: var(--orange);
  box-shadow: 0 0 0 1px var(--orange); }
.rnn-figure input[type=range] { width: 100%; min-width: 0; height: 32px; margin: 0; }
.rnn-figure input[type=range], .rnn-figure input[type=checkbox] { accent-color: var(--blue); }
.rnn-figure input:disabled { opacity: .45; }
.rnn-figure button { font: inherit; height: 32px; width: 76px; padding: 0 6px; color: var(--ink);
  background: var(--field); border: 1px solid var(--muted); border-radius: 4px; cursor: pointer; }
.rnn-figure :is(input, button):focus-visible { outline: 2px solid var(--blue);
  outline-offset: 2px; }
.rnn-figure .rnn-error { grid-column: 1 / -1; margin: 0; min-height: 1.45em; color: var(--ink); }
.rnn-figure .rnn-error:empty { display: none; }
.rnn-figure .rnn-error::before { content: "✕ "; color: var(--orange); font-weight: 700; }
.rnn-figure table { width: 100%; border-collapse: collapse; margin: 12px 0 0; font-size: 14px;
  font-variant-numeric: tabular-nums; border: 0; color: var(--ink); display: table; }
.rnn-figure :is(th, td) { padding: 4px 0 4px 10px; text-align: right; font-weight: 400; border: 0;
  border-top: 1px solid var(--rule); background: none; color: var(--ink); white-space: nowrap; }
.rnn-figure thead th { color: var(--muted); border-top: 0; }
.rnn-figure :is(th, td):first-child { text-align: left; padding-left: 0; }
.rnn-figure table svg { display: inline-block; width: 34px; height: 12px; margin-right: 8px;
  vertical-align: -1px; }
.rnn-figure tbody tr { background: none; }
.rnn-figure .rnn-note { margin: 8px 0 0; color: var(--muted); min-height: 4.35em; }
.rnn-figure .rnn-unseen { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }
.rnn-figure [hidden] { display: none !important; }
@container (min-width: 600px) { .rnn-figure .rnn-below { grid-template-columns: 1fr 1fr; } }
@container (max-width: 440px) { .rnn-figure :is(th, td) { padding-left: 6px; font-size: 13px; }
  .rnn-figure input { font-size: 16px !important; }
  .rnn-figure .rnn-note { min-height: 7.25em; } }
.rnn-widget[data-live] > .rnn-static { display: none; }
.rnn-widget { margin: 1em 0; }
html[data-theme] .bd-content div.cell_output .text_html:has(figure.rnn-widget) {
  background: none; padding: 0; }
@media print { .rnn-widget[data-live] > .rnn-static { display: block; }
  .rnn-widget[data-live] > .rnn-live, .rnn-figure .rnn-controls { display: none; } }
`;

// ---------------------------------------------------------------- controls

/** Listeners and other things that a figure must let go of. */
function lifetime() {
  const endings = [];
  const atEnd = (action) => { endings.push(action); };
  const listen = (target, kind, action, options) => {
    target.addEventListener(kind, action, options);
    atEnd(() => target.removeEventListener(kind, action));
  };
  return { atEnd, listen, end: () => endings.forEach((action) => action()) };
}

/**
 * Number fields and sliders. What `objection(key, value)` is silent about goes to `put`; what it
 * names stays in its field, with the message, while the figure keeps what `shown(key)` tells.
 */
function form({ id, listen, objection, put, shown }) {
  const inputs = {};
  const message = node("p", { class: "rnn-error", role: "status", id: id("error") });
  function number(key, step, label) {
    const input = node("input", { type: "number", step, id: id(key), name: key,
      "aria-describedby": id("error"), ...(label ? { "aria-label": label } : {}) });
    listen(input, "input", () => {
      if (objection(key, input.valueAsNumber) !== null) return;
      clear();
      put({ [key]: input.valueAsNumber });
    });
    listen(input, "change", () => {                            // half-typed numbers pass in silence
      const wrong = objection(key, input.valueAsNumber);
      if (wrong === null) return;
      input.setAttribute("aria-invalid", "true");
      message.textContent = `${wrong}. The figure still shows ${plainNumber(shown(key))}.`;
    });
    return (inputs[key] = input);
  }
  function clear() {
    message.textContent = "";
    for (const input of Object.values(inputs)) input.removeAttribute("aria-invalid");
  }
  function range(key, min, max, step, label) {
    const slider = node("input", { type: "range", min, max, step, "aria-label": label });
    listen(slider, "input", () => { clear(); put({ [key]: slider.valueAsNumber }); });
    return slider;
  }
  const label = (key, ...content) => node("label", { for: id(key) }, ...content);
  return { inputs, message, number, clear, range, label };
}

/** A button that shows step after step from `now()` to `last`, hidden where motion is unwelcome. */
function player(life, { last, now, show, done = () => {} }) {
  const button = node("button", { type: "button" }, "Play");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let playing = 0;
  function stop() {
    if (playing) done();
    cancelAnimationFrame(playing);
    playing = 0;
    button.textContent = "Play";
  }
  life.listen(button, "click", () => {
    if (playing) return stop();
    button.textContent = "Pause";
    const first = now() === last ? 0 : now(), began = performance.now();
    const frame = (time) => {
      const k = Math.min(last, first + Math.floor((time - began) / 20));
      show(Math.max(k, 0));
      if (k < last) playing = requestAnimationFrame(frame); else stop();
    };
    playing = requestAnimationFrame(frame);
  });
  const motion = () => { button.hidden = still.matches; if (still.matches) stop(); };
  life.listen(still, "change", motion);
  life.atEnd(stop);
  motion();
  return { button, stop };
}

// ---------------------------------------------------------------- a page without a kernel

/** The part of a widget model that `render` uses, for a page that has no kernel. */
export class LocalModel {
  constructor(values) { this.values = { ...values }; this.actions = {}; }
  get(key) { return this.values[key]; }
  set(key, value) {
    if (Object.is(this.values[key], value)) return;
    this.values[key] = value;
    for (const action of this.actions[`change:${key}`] ?? []) action();
  }
  on(event, action) { (this.actions[event] ??= []).push(action); }
  off(event, action) {
    this.actions[event] = (this.actions[event] ?? []).filter((known) => known !== action);
  }
  save_changes() {}
}

/** Bring the static figure with this id to life. */
export function mount(id, values) {
  const figure = document.querySelector(`figure[id="${id}"]:not([data-live])`);
  if (figure === null) return;
  const model = new LocalModel({ ...DEFAULTS, ...values });
  render({ model, el: figure.querySelector(".rnn-live") });
  figure.dataset.live = "";                                    // only now hide the static picture
}

// The plane of two inputs: what the network says everywhere, and the data points on it.
import { colours, paint, sharp } from "./colors.js";
import { run } from "./run.js";
import { choosePoint, selection } from "./selection.js";
import { $, element, number } from "./words.js";

const canvas = element("canvas", { id: "plane-canvas", tabIndex: 0, role: "img" });
const small = document.createElement("canvas");
const MARGIN = { left: 30, bottom: 20, top: 4, right: 4 };

function build() {
  const place = $("plane");
  if (run.state.plane) {
    if (!canvas.isConnected) place.replaceChildren(canvas);
  } else {
    place.replaceChildren(
      element("p", {}, "These data have more than two inputs, so there is no plane to show."),
      element(
        "button",
        { type: "button", onclick: () => $("view-digit").click() },
        "Draw a digit and let a network read it",
      ),
    );
  }
  $("show-test").parentElement.hidden = !run.state.plane;
  legend();
}

function legend() {
  const hue = colours();
  const place = $("legend");
  if (!run.state.plane) return place.replaceChildren();
  const swatch = (color) => {
    const made = element("i", { className: "swatch" });
    made.style.background = color;
    return made;
  };
  if (run.state.task === "classes") {
    const names = run.state.classes ?? [];
    place.replaceChildren(
      ...names.map((name, k) =>
        element("span", {}, swatch(hue.classes[k % hue.classes.length]), String(name)),
      ),
      element("span", {}, "○ test points"),
    );
  } else {
    const ramp = element("i", { className: "ramp" });
    ramp.style.background = `linear-gradient(90deg, ${hue.low}, ${hue.middle}, ${hue.high})`;
    const [low, high] = run.frame?.arrays.boundary?.range ?? [NaN, NaN];
    place.replaceChildren(
      element("span", {}, number(low)),
      ramp,
      element("span", {}, number(high)),
      element("span", {}, "○ test points"),
    );
  }
}

const width = () => canvas.clientWidth || 300;
const height = () => Math.round(width() - MARGIN.left + MARGIN.bottom);

/** Pixels of a place on the plane, and back. */
function scales() {
  const {
    x: [x0, x1],
    y: [y0, y1],
  } = run.state.plane;
  const [w, h] = [width() - MARGIN.left - MARGIN.right, height() - MARGIN.top - MARGIN.bottom];
  return {
    w,
    h,
    x: (value) => MARGIN.left + ((value - x0) / (x1 - x0)) * w,
    y: (value) => MARGIN.top + ((y1 - value) / (y1 - y0)) * h,
    back: (px, py) => [
      x0 + ((px - MARGIN.left) / w) * (x1 - x0),
      y1 - ((py - MARGIN.top) / h) * (y1 - y0),
    ],
  };
}

function draw() {
  if (!run.state?.plane || !canvas.isConnected) return;
  canvas.style.height = `${height()}px`;
  drawOn(sharp(canvas, width(), height()));
  if (!run.running) canvas.setAttribute("aria-label", describe());
}

function drawOn(context) {
  const at = scales();
  const hue = colours();
  boundary(context, at, hue);
  axes(context, at, hue);
  points(context, at, hue);
}

function boundary(context, at, hue) {
  const { boundary, sure } = run.frame?.arrays ?? {};
  if (!boundary) return;
  const [rows, columns] = boundary.shape;
  const many = run.state.task === "classes" && sure;
  paint(
    small,
    boundary.data,
    columns,
    rows,
    many ? (i) => hue.sure(boundary.data[i], sure.data[i]) : hue.table,
  );
  context.imageSmoothingEnabled = !many;
  context.save();
  context.beginPath();
  context.roundRect(MARGIN.left, MARGIN.top, at.w, at.h, 6);
  context.clip();
  context.drawImage(small, MARGIN.left, MARGIN.top, at.w, at.h);
  context.restore();
}

function axes(context, at, hue) {
  const { x, y, columns } = run.state.plane;
  Object.assign(context, {
    fillStyle: hue.soft,
    font: "11px system-ui, sans-serif",
    textBaseline: "top",
  });
  const names = (columns ?? [0, 1]).map((i) => run.state.inputs?.[i] ?? "");
  const [bottom, left] = [MARGIN.top + at.h + 5, MARGIN.left];
  context.textAlign = "left";
  context.fillText(number(x[0], 2), left, bottom);
  context.textAlign = "right";
  context.fillText(number(x[1], 2), left + at.w, bottom);
  context.textAlign = "center";
  context.fillText(names[0].slice(0, 30), left + at.w / 2, bottom);
  context.textAlign = "right";
  context.fillText(number(y[1], 2), left - 4, MARGIN.top);
  context.textBaseline = "bottom";
  context.fillText(number(y[0], 2), left - 4, MARGIN.top + at.h);
  context.save();
  context.translate(left - 6, MARGIN.top + at.h / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(names[1].slice(0, 30), 0, 0);
  context.restore();
}

function points(context, at, hue) {
  const { x, y, test } = run.state.points ?? { x: [] };
  const withTest = $("show-test").checked;
  const radius = x.length > 800 ? 2 : x.length > 350 ? 2.7 : 3.5;
  const color = colorOf(y ?? [], hue);
  const values = run.state.task === "values"; // a value may have the colour of the plane below it
  for (let i = 0; i < x.length; i++) {
    if (test[i] && !withTest) continue;
    const [px, py] = [at.x(x[i][0]), at.y(x[i][1])];
    context.lineWidth = test[i] ? 1.6 : 0.9;
    disc(
      context,
      px,
      py,
      radius,
      test[i] ? hue.card : color(y[i]),
      values ? hue.ink : test[i] ? color(y[i]) : hue.card,
    );
    if (values && test[i]) disc(context, px, py, radius / 2, color(y[i]), color(y[i]));
  }
  const chosen = selection.kind && whereChosen();
  if (chosen) {
    Object.assign(context, { strokeStyle: hue.ink, lineWidth: 2 });
    context.beginPath();
    context.arc(at.x(chosen[0]), at.y(chosen[1]), 8, 0, 7);
    context.stroke();
  }
}

function disc(context, x, y, radius, fill, stroke) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  Object.assign(context, { fillStyle: fill, strokeStyle: stroke });
  context.fill();
  context.stroke();
}

function colorOf(y, hue) {
  if (run.state.task === "classes") return (k) => hue.classes[k % hue.classes.length];
  const [low, high] = run.frame?.arrays.boundary?.range ?? [Math.min(...y), Math.max(...y)];
  const css = (n) => `rgb(${n & 255} ${(n >> 8) & 255} ${(n >> 16) & 255})`;
  return (value) =>
    css(
      hue.table[Math.max(0, Math.min(255, Math.round(((value - low) / (high - low || 1)) * 255)))],
    );
}

function whereChosen() {
  const { point } = selection;
  return point.point ?? run.state.points?.x?.[point.row];
}

/** The point under the pointer, or the place itself. */
function click(event) {
  const at = scales();
  const [px, py] = [event.offsetX, event.offsetY];
  let [best, least] = [null, 12];
  run.state.points.x.forEach(([a, b], row) => {
    const distance = Math.hypot(at.x(a) - px, at.y(b) - py);
    if (distance < least) [best, least] = [row, distance];
  });
  if (best !== null) return choosePoint({ row: best });
  const place = at.back(px, py);
  const k = nearestRow(place);
  choosePoint({ point: place, target: run.state.points.y[k] });
}

function nearestRow([x, y]) {
  let [best, least] = [0, Infinity];
  run.state.points.x.forEach(([a, b], row) => {
    const distance = Math.hypot(a - x, b - y);
    if (distance < least) [best, least] = [row, distance];
  });
  return best;
}

function keys(event) {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const count = run.state.points?.x?.length ?? 0;
  if (!by || !count) return;
  event.preventDefault();
  choosePoint({ row: ((selection.point.row ?? 0) + by + count) % count });
}

function describe() {
  const rows = run.state.points?.x?.length ?? 0;
  const what = run.state.task === "classes" ? `${run.state.classes?.length} classes` : "values";
  return `The plane of ${(run.state.inputs ?? []).slice(0, 2).join(" and ")}: what the network says for ${what}, with ${rows} points. Arrow keys choose a point.`;
}

/** The drawing for a picture file. */
export function drawInto(context) {
  if (!run.state.plane) return { width: 0, height: 0 };
  drawOn(context);
  return { width: width(), height: height() };
}

export function setUp() {
  canvas.addEventListener("click", click);
  canvas.addEventListener("keydown", keys);
  $("show-test").onchange = draw;
  run.on("network", () => {
    build();
    draw();
  });
  run.on("selection", draw);
  let shown = "";
  run.on("frame", () => {
    draw();
    const range = String(run.frame.arrays.boundary?.range);
    if (run.state.task === "values" && range !== shown) legend();
    shown = range;
  });
  document.addEventListener("colours", () => {
    legend();
    draw();
  });
  new ResizeObserver(draw).observe($("plane"));
}

// The network: weights as lines on a canvas, units as buttons with their picture of the plane.
import { colours, paint, sharp } from "./colors.js";
import { attempt } from "./messages.js";
import { run } from "./run.js";
import { select, selection } from "./selection.js";
import { layout } from "./layout.js";
import { drawLines, nearest } from "./lines.js";
import { $, element, number } from "./words.js";

const SIDE = 24;
let plan = null; // where each unit stands
let buttons = [];
let canvas = null;

/** Build the drawing anew: another network, or another width. */
function build() {
  const place = $("network");
  if (!run.state?.sizes) return;
  const focused = document.activeElement?.id;
  plan = layout(run.state.sizes, place.clientWidth - 2);
  const paper = element("div", { className: "paper" });
  paper.style.height = `${plan.height}px`;
  paper.style.width = `${plan.width}px`;
  canvas = element("canvas", { "aria-hidden": "true" });
  Object.assign(canvas.style, { width: `${plan.width}px`, height: `${plan.height}px` });
  canvas.onclick = (event) => {
    const found = nearest(plan, event.offsetX, event.offsetY);
    if (found) select(found);
  };
  paper.append(canvas);
  buttons = plan.layers.map((units, layer) => {
    paper.append(head(layer));
    return units.map((unit, j) => {
      const button = unitButton(layer, j, unit);
      paper.append(button);
      return button;
    });
  });
  place.replaceChildren(paper);
  $("network-key").textContent = run.state.plane
    ? "A unit’s picture is its output over the plane."
    : "A unit of the first layer shows its weights, pixel by pixel; another one its bias.";
  $("network-size").replaceChildren(
    ends(),
    ` ${run.state.params?.toLocaleString("en") ?? ""} parameters`,
  );
  if (focused) $(focused)?.focus({ preventScroll: true });
  mark();
  draw();
}

function unitButton(layer, j, { x, y, side }) {
  const output = layer === plan.layers.length - 1;
  const name =
    layer === 0
      ? `Input ${run.state.inputs?.[j] ?? j + 1}`
      : output
        ? `Output ${outputName(j)}`
        : `Unit ${j + 1} of hidden layer ${layer}`;
  const button = element("button", {
    type: "button",
    className: `unit${layer === 0 ? " input" : ""}${side < 24 ? " small" : ""}`,
    title: name,
    "aria-label": name,
    "aria-pressed": "false",
    id: `unit-${layer}-${j}`,
  });
  Object.assign(button.style, {
    left: `${x - side / 2}px`,
    top: `${y - side / 2}px`,
    width: `${side}px`,
    height: `${side}px`,
  });
  if (side >= 24 && (layer === 0 || output)) {
    const text = layer === 0 ? (run.state.inputs?.[j] ?? "") : outputName(j);
    if (String(text).length <= side / 7) button.append(element("b", {}, String(text)));
  }
  if (pictured(layer))
    button.append(element("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" }));
  button.onclick = () => select({ kind: "unit", layer, unit: j });
  return button;
}

/** Hidden layers show the plane; where there is none, the first shows the weights of each pixel. */
function pictured(layer) {
  return layer > 0 && layer < plan.layers.length - 1;
}

function outputName(j) {
  if (run.state.task !== "classes") return "ŷ";
  const classes = run.state.classes ?? [];
  return run.state.sizes.at(-1) === 1 ? `P(${classes[1] ?? 1})` : (classes[j] ?? j);
}

function head(layer) {
  const last = run.state.sizes.length - 1;
  const made = element("div", { className: "layer" });
  const { x, width } = plan.columns[layer];
  Object.assign(made.style, { left: `${x - width / 2}px`, width: `${width}px` });
  if (layer === 0 || layer === last) {
    made.append(
      element("span", {}, layer ? "output" : "inputs"),
      element("span", { className: "count" }, String(run.state.sizes[layer])),
    );
    return made;
  }
  const [fewest, most] = run.options.limits.units ?? run.options.limits.hidden ?? [1, 64];
  const button = (sign, by, says) =>
    element(
      "button",
      {
        type: "button",
        id: `units-${layer}-${says}`,
        "aria-label": `${says === "more" ? "Add a unit to" : "Remove a unit from"} hidden layer ${layer}`,
        disabled: run.state.sizes[layer] + by < fewest || run.state.sizes[layer] + by > most,
        onclick: () => hidden(run.settings.hidden.map((n, i) => (i === layer - 1 ? n + by : n))),
      },
      sign,
    );
  made.append(
    element("span", {}, `hidden ${layer}`),
    element(
      "span",
      { className: "count" },
      button("−", -1, "fewer"),
      String(run.state.sizes[layer]),
      button("+", 1, "more"),
    ),
  );
  return made;
}

function ends() {
  const layers = run.settings.hidden;
  const most = run.options.limits.layers?.[1] ?? 6;
  const button = (sign, says, next, disabled) =>
    element(
      "button",
      {
        type: "button",
        id: `layers-${says}`,
        "aria-label": says === "more" ? "Add a hidden layer" : "Remove the last hidden layer",
        disabled,
        onclick: () => hidden(next),
      },
      sign,
    );
  return element(
    "span",
    { className: "ends" },
    "layers ",
    button("−", "fewer", layers.slice(0, -1), layers.length < 1),
    button("+", "more", [...layers, layers.at(-1) ?? 4], layers.length >= most),
  );
}

const hidden = (sizes) => attempt(() => run.change({ hidden: sizes }));

function mark() {
  buttons.forEach((units, layer) =>
    units.forEach((button, j) => {
      const chosen = selection.kind === "unit" && selection.layer === layer && selection.unit === j;
      button.setAttribute("aria-pressed", String(chosen));
      button.tabIndex = chosen || j === 0 ? 0 : -1; // Tab goes from layer to layer, arrows inside
    }),
  );
}

function draw() {
  if (!plan || !canvas?.isConnected) return;
  const context = sharp(canvas, plan.width, plan.height);
  if (!run.frame) return;
  const hue = colours();
  drawLines(context, plan, hue);
  unitPictures(hue);
}

function unitPictures(hue) {
  for (let layer = 1; layer < plan.layers.length - 1; layer++) {
    const units = run.frame.arrays[`units:${layer - 1}`];
    if (units) {
      const [count, height, width] = units.shape;
      if (count !== buttons[layer].length) continue;
      buttons[layer].forEach((button, j) => {
        const picture = button.querySelector("canvas");
        if (picture)
          paint(picture, units.data.subarray(j * height * width), width, height, hue.table);
      });
    } else if (layer > 1 || !pixelWeights(hue)) {
      biases(hue, layer);
    }
  }
}

function pixelWeights(hue) {
  const weights = run.frame.arrays["weights:0"];
  const side = Math.sqrt(weights?.shape[0] ?? 0);
  if (!Number.isInteger(side) || side < 4) return false;
  const size = weights.data.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
  const count = weights.shape[1];
  buttons[1].forEach((button, j) => {
    const picture = button.querySelector("canvas");
    if (picture)
      paint(
        picture,
        null,
        side,
        side,
        (i) => hue.table[Math.round(127.5 + (127.5 * weights.data[i * count + j]) / size)],
      );
  });
  return true;
}

/** Where there is no plane, a unit has the colour of its bias. */
function biases(hue, layer) {
  const values = run.frame.arrays[`biases:${layer - 1}`]?.data;
  if (!values) return;
  const size = values.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
  buttons[layer].forEach((button, j) => {
    const picture = button.querySelector("canvas");
    if (picture)
      paint(picture, null, 1, 1, () => hue.table[Math.round(127.5 + (127.5 * values[j]) / size)]);
  });
}

/** The drawing for a picture file. */
export function drawInto(context) {
  if (!plan) return { width: 0, height: 0 };
  context.drawImage(canvas, 0, 0, plan.width, plan.height);
  const hue = colours();
  plan.layers.forEach((units, layer) =>
    units.forEach(({ x, y, side }, j) => {
      context.fillStyle = hue.middle;
      context.fillRect(x - side / 2, y - side / 2, side, side);
      const picture = buttons[layer][j].querySelector("canvas");
      if (picture) context.drawImage(picture, x - side / 2, y - side / 2, side, side);
      context.strokeStyle = hue.soft;
      context.lineWidth = 1;
      context.strokeRect(x - side / 2, y - side / 2, side, side);
      const text = buttons[layer][j].textContent;
      if (text) {
        Object.assign(context, {
          fillStyle: hue.ink,
          font: "600 11px sans-serif",
          textAlign: "center",
          textBaseline: "middle",
        });
        context.fillText(text, x, y);
      }
    }),
  );
  return plan;
}

/** Arrow keys go from unit to unit. */
function walk(event) {
  const found = /^unit-(\d+)-(\d+)$/.exec(event.target.id ?? "");
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
    event.key
  ];
  if (!found || !by) return;
  const layer = Number(found[1]) + by[0];
  const units = buttons[layer];
  if (!units) return;
  const j = Math.min(Math.max(Number(found[2]) + by[1], 0), units.length - 1);
  event.preventDefault();
  units[j].focus();
}

export function setUp() {
  $("network").addEventListener("keydown", walk);
  run.on("network", build);
  run.on("frame", () => {
    draw();
    if (!run.running) describe();
  });
  run.on("selection", () => {
    mark();
    draw();
  });
  document.addEventListener("colours", draw);
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) < 2) return;
    width = entry.contentRect.width;
    build();
  }).observe($("network"));
}

/** What a screen reader says of a unit: its bias and its largest weight. */
function describe() {
  for (let layer = 1; layer < buttons.length; layer++) {
    const biases = run.frame.arrays[`biases:${layer - 1}`];
    buttons[layer].forEach((button, j) => {
      button.title =
        button.getAttribute("aria-label") + (biases ? `, bias ${number(biases.data[j])}` : "");
    });
  }
}

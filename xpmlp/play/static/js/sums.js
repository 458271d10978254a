// The sum of one unit as formulas and a table: what goes in, and what comes back.
import { run } from "./run.js";
import { select, selection } from "./selection.js";
import { element, number } from "./words.js";

const MOST_ROWS = 24;

/** What an input, a unit or an output is called. */
export function name(layer, j) {
  const last = run.state.sizes.length - 1;
  if (layer === 0) return run.state.inputs?.[j] ?? `x${j + 1}`;
  return layer === last
    ? `output ${run.state.sizes[last] > 1 ? (run.state.classes?.[j] ?? j) : ""}`.trim()
    : `unit ${j + 1} of hidden layer ${layer}`;
}

const short = (layer, j) => (layer === 0 ? name(0, j) : `unit ${j + 1}`);

/** A number; with the one before a step, if there was one. */
export function value(now, then) {
  if (then === undefined || then === now) return element("b", {}, number(now, 4));
  const was = element("span", { className: "was" }, number(then, 4));
  return element("span", { className: "moved" }, was, element("b", {}, number(now, 4)));
}

const formula = (...parts) => element("p", { className: "formula" }, ...parts);
const title = (text) => element("h3", {}, text);
const way = (...parts) => element("div", { className: "way" }, ...parts);

/** Forward, backward, and the table of a unit; `before` is the explanation before a single step. */
export function unit({ layers }, before) {
  const [layer, j] = [selection.layer, selection.unit];
  const { forward, backward, units } = layers[layer - 1];
  const it = units[j];
  const was = before?.layers[layer - 1]?.units[j];
  return [
    way(
      title("Forward"),
      formula(forward.join("\n")),
      formula(it.sum),
      formula("z = ", value(it.z, was?.z), ",  a = ", value(it.a, was?.a)),
    ),
    way(
      title("Backward"),
      formula(backward.join("\n")),
      formula("δ = dLoss/dz = ", value(it.delta, was?.delta)),
      formula(selection.kind === "edge" ? slope(it) : "dLoss/dw = δ · input"),
    ),
    element("div", { className: "scroll way all" }, sum(layer, j, it, was)),
  ];
}

function slope({ delta, inputs, gradients }) {
  const i = selection.from;
  const numbers = [delta, inputs[i], gradients[i]].map((each) => number(each, 4));
  return `dLoss/dw = δ · ${short(selection.layer - 1, i)} = ${numbers[0]} · ${numbers[1]} = ${numbers[2]}`;
}

function sum(layer, j, it, was) {
  const products = it.weights.map((weight, i) => weight * it.inputs[i]);
  const order = products.map((_, i) => i);
  if (order.length > MOST_ROWS) order.sort((a, b) => Math.abs(products[b]) - Math.abs(products[a]));
  const rows = order
    .slice(0, MOST_ROWS)
    .map((i) =>
      row(
        weightButton(layer, j, i, short(layer - 1, i)),
        [it.inputs[i], was?.inputs[i]],
        [it.weights[i], was?.weights[i]],
        [products[i], was && was.weights[i] * was.inputs[i]],
        [it.gradients[i], was?.gradients[i]],
      ),
    );
  if (it.bias !== null) {
    const bias = [it.bias, was?.bias];
    rows.push(row("bias", [1], bias, bias, [it.bias_gradient, was?.bias_gradient]));
  }
  const left = order.length - MOST_ROWS;
  if (left > 0) rows.push(row(`and ${left} smaller ones`));
  const head = ["from", "input", "weight", "weight · input", "dLoss/dweight"];
  return table(`What goes into ${name(layer, j)}`, head, rows);
}

/** An input has no formula: its value, and where it goes. */
export function input({ layers }, before) {
  const j = selection.unit;
  const rows = layers[0].units.slice(0, MOST_ROWS).map((it, k) => {
    const was = before?.layers[0].units[k];
    return row(
      weightButton(1, k, j, short(1, k)),
      [it.weights[j], was?.weights[j]],
      [it.weights[j] * it.inputs[j], was && was.weights[j] * was.inputs[j]],
      [it.gradients[j], was?.gradients[j]],
    );
  });
  const head = ["to", "weight", "weight · input", "dLoss/dweight"];
  return [
    way(title("Forward"), formula(`${name(0, j)} = `, value(layers[0].units[0].inputs[j]))),
    element("div", { className: "scroll way" }, table(`Where ${name(0, j)} goes`, head, rows)),
  ];
}

/** A button that selects the weight from place i to unit j of a layer. */
function weightButton(layer, j, i, text) {
  const chosen = selection.kind === "edge" && selection.from === i && selection.unit === j;
  return element(
    "button",
    {
      type: "button",
      id: `weight-${layer}-${i}-${j}`,
      "aria-pressed": String(chosen),
      onclick: () => select({ kind: "edge", layer, unit: j, from: i }),
    },
    text,
  );
}

/** A row of a table: what it is about, then values, each [now] or [now, before a step]. */
function row(about, ...values) {
  const cells = values.map(([now, then]) => element("td", {}, value(now, then)));
  const made = element("tr", {}, element("th", { scope: "row" }, about), ...cells);
  if (about.ariaPressed === "true") made.className = "chosen";
  return made;
}

function table(caption, head, rows) {
  const names = head.map((text) => element("th", { scope: "col" }, text));
  return element(
    "table",
    {},
    element("caption", { className: "unseen" }, caption),
    element("thead", {}, element("tr", {}, ...names)),
    element("tbody", {}, ...rows),
  );
}

// See why: the formula of a unit or a weight with its numbers, forward and backward, for one point.
import { post } from "./api.js";
import { attempt, fail } from "./messages.js";
import { run } from "./run.js";
import { choosePoint, select, selection } from "./selection.js";
import { $, element, number, percent } from "./words.js";

const MOST_ROWS = 24;
let shown = null; // {explanation, key, run, step}: what stands there
let earlier = null; // the same before a single step

const key = () => JSON.stringify([selection.layer, selection.unit, selection.point]);

/** Ask for the numbers, once the run stands still. */
async function ask() {
  if (!selection.kind) {
    shown = earlier = null;
    $("why-hint").hidden = false;
    return $("why").replaceChildren();
  }
  if (run.running) return undefined;
  const [wanted, step] = [key(), run.frame?.step];
  try {
    const explanation = await post("explain", selection.point);
    if (wanted !== key() || run.running) return undefined;
    const follows = run.before && shown?.key === wanted && shown.run === run.state.run && shown.step !== step;
    if (follows) earlier = shown;
    else if (shown?.key !== wanted || shown?.step !== step) earlier = null;
    shown = { explanation, key: wanted, run: run.state.run, step };
    render();
  } catch (error) {
    fail(error);
  }
  return undefined;
}

function render() {
  const { explanation } = shown;
  $("why-hint").hidden = true;
  const focused = document.activeElement?.id; // what had the focus is made anew
  const parts = selection.layer === 0 ? input(explanation) : unit(explanation);
  $("why").replaceChildren(lead(explanation), ...parts);
  if (focused && document.activeElement?.id !== focused) $(focused)?.focus({ preventScroll: true });
}

function name(layer, j) {
  const last = run.state.sizes.length - 1;
  if (layer === 0) return run.state.inputs?.[j] ?? `x${j + 1}`;
  return layer === last ? `output ${run.state.sizes[last] > 1 ? (run.state.classes?.[j] ?? j) : ""}`.trim() : `unit ${j + 1} of hidden layer ${layer}`;
}

const short = (layer, j) => (layer === 0 ? name(0, j) : `unit ${j + 1}`);

function lead({ loss, target, output }) {
  const point = selection.point;
  const rows = run.state.points?.x.length ?? (run.state.rows ? run.state.rows.train + run.state.rows.test : 0);
  const chooser = element("input", { type: "number", id: "why-row", min: 1, max: rows, value: point.point ? "" : point.row + 1 });
  chooser.onchange = () => {
    const row = Number(chooser.value) - 1;
    if (Number.isInteger(row) && row >= 0 && row < rows) choosePoint({ row });
  };
  const x = point.point ?? run.state.points?.x?.[point.row];
  const places = x ? x.map((value, i) => `${run.state.inputs?.[i] ?? `x${i + 1}`} = ${number(value)}`).join(", ") : "";
  const title = selection.kind === "edge"
    ? `Weight from ${name(selection.layer - 1, selection.from)} to ${name(selection.layer, selection.unit)}`
    : name(selection.layer, selection.unit);
  return element("div", { className: "lead" },
    element("strong", { className: "title" }, title[0].toUpperCase() + title.slice(1)),
    element("label", { className: "check" }, "for point ", chooser, rows ? ` of ${rows}` : ""),
    element("span", { className: "aside" }, places),
    element("span", { className: "aside" }, `The network says ${said(output)}; the target is ${className(target)}.`),
    element("p", { className: "formula" }, `${loss.formula} = `, value(loss.value, earlier?.explanation.loss.value)));
}

/** The answer: a class with its probability, or a value. */
function said(output) {
  const values = [output].flat();
  if (run.state.task !== "classes") return values.map((each) => number(each)).join(", ");
  const chances = values.length === 1 ? [1 - values[0], values[0]] : values;
  const best = chances.indexOf(Math.max(...chances));
  return best < 0 ? "nothing: its numbers are not finite" : `${className(best)} with ${percent(chances[best])}`;
}

function className(target) {
  if (run.state.task !== "classes" || !Number.isInteger(target)) return Array.isArray(target) ? target.map((each) => number(each)).join(", ") : number(target);
  return `class ${run.state.classes?.[target] ?? target}`;
}

/** A number; with the one before a step, if there was one. */
function value(now, then) {
  if (then === undefined || then === now) return element("b", {}, number(now, 4));
  return element("span", { className: "moved" }, element("span", { className: "was" }, number(then, 4)), element("b", {}, number(now, 4)));
}

const before = (layer, j) => earlier?.explanation.layers[layer - 1]?.units[j];

function unit({ layers }) {
  const [layer, j] = [selection.layer, selection.unit];
  const { forward: formulas, backward: slopes, units } = layers[layer - 1];
  const it = units[j];
  const was = before(layer, j);
  const forward = element("div", { className: "way" }, element("h3", {}, "Forward"),
    element("p", { className: "formula" }, formulas.join("\n")),
    element("p", { className: "formula" }, long(it.sum)),
    element("p", { className: "formula" }, "z = ", value(it.z, was?.z), ",  a = ", value(it.a, was?.a)));
  const backward = element("div", { className: "way" }, element("h3", {}, "Backward"),
    element("p", { className: "formula" }, slopes.join("\n")),
    element("p", { className: "formula" }, "δ = dLoss/dz = ", value(it.delta, was?.delta)),
    element("p", { className: "formula" }, edgeFormula(it) ?? "dLoss/dw = δ · input"));
  return [forward, backward, element("div", { className: "scroll way all" }, table(layer, j, it, was))];
}

function edgeFormula(it) {
  if (selection.kind !== "edge") return null;
  const i = selection.from;
  return `dLoss/dw = δ · ${short(selection.layer - 1, i)} = ${number(it.delta, 4)} · ${number(it.inputs[i], 4)} = ${number(it.gradients[i], 4)}`;
}

/** A sum of many terms, with its middle left out. */
function long(sum) {
  if (sum.length < 400) return sum;
  return `${sum.slice(0, 180)} … ${sum.slice(-120)}`;
}

function table(layer, j, it, was) {
  const order = it.weights.map((_, i) => i);
  if (order.length > MOST_ROWS) order.sort((a, b) => Math.abs(it.weights[b] * it.inputs[b]) - Math.abs(it.weights[a] * it.inputs[a]));
  const rows = order.slice(0, MOST_ROWS).map((i) => {
    const chosen = selection.kind === "edge" && selection.from === i;
    const button = element("button", { type: "button", "aria-pressed": String(chosen), id: `weight-${layer}-${i}-${j}`, onclick: () => select({ kind: "edge", layer, unit: j, from: i }) }, short(layer - 1, i));
    return element("tr", { className: chosen ? "chosen" : "" }, element("th", { scope: "row" }, button),
      cell(it.inputs[i], was?.inputs[i]), cell(it.weights[i], was?.weights[i]), cell(it.weights[i] * it.inputs[i], was && was.weights[i] * was.inputs[i]), cell(it.gradients[i], was?.gradients[i]));
  });
  if (it.bias !== null && it.bias !== undefined) {
    rows.push(element("tr", {}, element("th", { scope: "row" }, "bias"), cell(1), cell(it.bias, was?.bias), cell(it.bias, was?.bias), cell(it.bias_gradient ?? it.delta, was && (was.bias_gradient ?? was.delta))));
  }
  const left = order.length - MOST_ROWS;
  const head = ["from", "input", "weight", "weight · input", "dLoss/dweight"].map((text) => element("th", { scope: "col" }, text));
  return element("table", {}, element("caption", { className: "unseen" }, `What goes into ${name(layer, j)}`), element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows),
    left > 0 ? element("tfoot", {}, element("tr", {}, element("th", { colSpan: 5, scope: "row" }, `and ${left} smaller ones`))) : null);
}

const cell = (now, then) => element("td", {}, value(now, then));

/** An input has no formula: its value, and where it goes. */
function input({ layers }) {
  const j = selection.unit;
  const rows = layers[0].units.slice(0, MOST_ROWS).map((it, k) => {
    const was = before(1, k);
    const button = element("button", { type: "button", id: `weight-0-${j}-${k}`, onclick: () => select({ kind: "edge", layer: 1, unit: k, from: j }) }, short(1, k));
    return element("tr", {}, element("th", { scope: "row" }, button), cell(it.weights[j], was?.weights[j]), cell(it.weights[j] * it.inputs[j], was && was.weights[j] * was.inputs[j]), cell(it.gradients[j], was?.gradients[j]));
  });
  const head = ["to", "weight", "weight · input", "dLoss/dweight"].map((text) => element("th", { scope: "col" }, text));
  return [element("div", { className: "way" }, element("h3", {}, "Forward"), element("p", { className: "formula" }, `${name(0, j)} = `, value(layers[0].units[0].inputs[j]))),
    element("div", { className: "scroll way" }, element("table", {}, element("caption", { className: "unseen" }, `Where ${name(0, j)} goes`), element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)))];
}

export function setUp() {
  run.on("selection", () => {
    if (run.running && selection.kind) attempt(() => run.command("pause"));
    else ask();
  });
  run.on("network", () => {
    shown = earlier = null;
    if (!selection.kind) ask();
  });
  run.on("frame", () => {
    if (!run.running && selection.kind && (shown?.key !== key() || shown.step !== run.frame.step || shown.run !== run.state.run)) ask();
  });
}

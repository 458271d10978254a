// See why: the formula of a unit or a weight with its numbers, forward and backward, for one point.
import { post } from "./api.js";
import { attempt, fail } from "./messages.js";
import { run } from "./run.js";
import { choosePoint, selection } from "./selection.js";
import { input, name, unit, value } from "./sums.js";
import { $, element, number, percent } from "./words.js";

let shown = null; // {explanation, key, run, moment}: what stands there
let earlier = null; // the same before a single step

const key = () => JSON.stringify([selection.layer, selection.unit, selection.point]);
const moment = () => `${run.frame?.epoch}, ${run.frame?.step}`;

/** Ask for the numbers, once the run stands still. */
async function ask() {
  if (!selection.kind) {
    shown = earlier = null;
    $("why-hint").hidden = false;
    return $("why").replaceChildren();
  }
  if (run.running) return undefined;
  const [wanted, now] = [key(), moment()];
  try {
    const explanation = await post("explain", selection.point);
    if (wanted !== key() || run.running) return undefined;
    const same = shown?.key === wanted && shown.run === run.state.run;
    if (!same) earlier = null;
    else if (shown.moment !== now) earlier = run.before ? shown : null;
    shown = { explanation, key: wanted, run: run.state.run, moment: now };
    render();
  } catch (error) {
    fail(error);
  }
  return undefined;
}

const chooser = element("input", { type: "number", id: "why-row", min: 1 });
const among = element("span");
const choice = element("label", { className: "check" }, "for point ", chooser, among);
const rows = () =>
  run.state.points?.x.length ?? (run.state.rows ? run.state.rows.train + run.state.rows.test : 0);
let typing = false; // a number that is not yet chosen
chooser.oninput = () => {
  typing = true;
};
chooser.onblur = () => {
  typing = false;
};
chooser.onchange = () => {
  typing = false;
  const row = Number(chooser.value) - 1;
  if (Number.isInteger(row) && row >= 0 && row < rows()) choosePoint({ row });
};

function render() {
  const { explanation } = shown;
  $("why-hint").hidden = true;
  const focused = document.activeElement?.id; // what had the focus is made anew
  const parts = (selection.layer === 0 ? input : unit)(explanation, earlier?.explanation);
  // The field stays: an answer that comes while a number is typed must not take it away.
  if (!choice.isConnected) $("why").replaceChildren(element("div", { className: "lead" }, choice));
  const lead = choice.parentElement;
  for (const old of [...lead.children]) if (old !== choice) old.remove();
  const { title, rest } = about(explanation);
  lead.prepend(title);
  lead.append(...rest);
  for (const old of [...$("why").children]) if (old !== lead) old.remove();
  $("why").append(...parts);
  if (focused && document.activeElement?.id !== focused) $(focused)?.focus({ preventScroll: true });
}

/** What stands before the sums: whose numbers they are, the point, the answer and the loss. */
function about({ loss, target, output }) {
  const point = selection.point;
  chooser.max = rows();
  if (!typing) chooser.value = point.point ? "" : point.row + 1;
  among.textContent = rows() ? ` of ${rows()}` : "";
  const x = point.point ?? run.state.points?.x?.[point.row];
  const places = x
    ? x.map((value, i) => `${run.state.inputs?.[i] ?? `x${i + 1}`} = ${number(value)}`).join(", ")
    : "";
  const title =
    selection.kind === "edge"
      ? `Weight from ${name(selection.layer - 1, selection.from)} to ${name(selection.layer, selection.unit)}`
      : name(selection.layer, selection.unit);
  return {
    title: element("strong", { className: "title" }, title[0].toUpperCase() + title.slice(1)),
    rest: [
      element("span", { className: "aside" }, places),
      element(
        "span",
        { className: "aside" },
        `The network says ${said(output)}; the target is ${className(target)}.`,
      ),
      element(
        "p",
        { className: "formula" },
        `${loss.formula} = `,
        value(loss.value, earlier?.explanation.loss.value),
      ),
    ],
  };
}

/** The answer: a class with its probability, or a value. */
function said(output) {
  const values = [output].flat();
  if (run.state.task !== "classes") return values.map((each) => number(each)).join(", ");
  const chances = values.length === 1 ? [1 - values[0], values[0]] : values;
  const best = chances.indexOf(Math.max(...chances));
  return best < 0
    ? "nothing: its numbers are not finite"
    : `${className(best)} with ${percent(chances[best])}`;
}

function className(target) {
  if (run.state.task !== "classes" || !Number.isInteger(target))
    return Array.isArray(target) ? target.map((each) => number(each)).join(", ") : number(target);
  return `class ${run.state.classes?.[target] ?? target}`;
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
    const known = shown?.key === key() && shown.moment === moment() && shown.run === run.state.run;
    if (!run.running && selection.kind && !known) ask();
  });
}

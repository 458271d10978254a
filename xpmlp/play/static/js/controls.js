// The settings: three groups of fields, made from what the server offers.
import { attempt } from "./messages.js";
import { run } from "./run.js";
import { uploads } from "./table.js";
import { sample } from "./samples.js";
import { colours } from "./colors.js";
import { $, caption, element, number } from "./words.js";

const GROUPS = [
  ["Data", ["data", "columns", "label", "points", "noise", "test_share"]],
  ["Network", ["activation", "normalization", "dropout", "initializer", "bias"]],
  [
    "Training",
    [
      "optimizer",
      "learning_rate",
      "schedule",
      "batch_size",
      "clip_norm",
      "loss",
      "l1",
      "l2",
      "epochs",
      "pace",
      "seed",
      "backend",
    ],
  ],
];
const ELSEWHERE = ["hidden", "story"];
const LADDERS = {
  learning_rate: [0.00001, 0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1, 3, 10],
  batch_size: [1, 2, 5, 10, 16, 32, 64, 100, 128, 256],
  pace: [1, 5, 20, 60, 200, null],
  clip_norm: [null, 0.1, 0.5, 1, 5, 10],
  l1: [0, 0.00001, 0.0001, 0.001, 0.01, 0.1],
  l2: [0, 0.00001, 0.0001, 0.001, 0.01, 0.1, 1],
};
const NONE = { pace: "no limit", clip_norm: "never" };
const UNITS = { pace: "/s" };
const SLIDERS = { points: 10, noise: 0.05, test_share: 0.05, dropout: 0.05 };

const set = (name, value) =>
  attempt(() => run.change({ [name]: value }, run.running || name === "data"));

function build() {
  const known = GROUPS.flatMap(([, names]) => names);
  const others = Object.keys(run.options.settings).filter(
    (name) => ![...known, ...ELSEWHERE].includes(name),
  );
  $("settings").replaceChildren(
    ...GROUPS.map(([title, names]) =>
      element(
        "fieldset",
        {},
        element("legend", {}, title),
        ...[...names, ...(title === "Training" ? others : [])]
          .filter((name) => name in run.options.settings)
          .flatMap(field),
      ),
    ),
  );
  show();
}

/** The elements of one setting. */
function field(name) {
  if (name === "data") return [dataSets(), uploads()];
  if (name === "columns" || name === "label") return [];
  const label = element(
    "label",
    { className: "name", htmlFor: `set-${name}` },
    caption("field", name),
  );
  const made = control(name);
  made.id = `set-${name}`;
  made.dataset.setting = name;
  const help = run.options.help?.[name];
  const row = element("div", { className: "field", title: help ?? "" }, label, made);
  if (made.type === "range") label.append(" ", element("output", { htmlFor: made.id }));
  if (help) made.setAttribute("aria-description", help);
  return [row];
}

function control(name) {
  const choices = run.options.choices?.[name];
  const initial = run.options.settings[name];
  const [low, high] = run.options.limits?.[name] ?? [];
  if (choices) {
    const made = element(
      "select",
      {},
      ...choices.map((choice) =>
        element("option", { value: JSON.stringify(choice) }, caption(name, choice)),
      ),
    );
    made.onchange = () => set(name, JSON.parse(made.value));
    return made;
  }
  if (typeof initial === "boolean") {
    const made = element("input", { type: "checkbox" });
    made.onchange = () => set(name, made.checked);
    return made;
  }
  if (name in LADDERS) {
    const steps = LADDERS[name].filter(
      (value) =>
        value === null ||
        ((low === undefined || value >= low) && (high === undefined || value <= high)),
    );
    const made = element(
      "select",
      {},
      ...steps.map((value) =>
        element(
          "option",
          { value: JSON.stringify(value) },
          value === null ? NONE[name] : number(value) + (UNITS[name] ?? ""),
        ),
      ),
    );
    made.onchange = () => set(name, JSON.parse(made.value));
    return made;
  }
  const made = element("input", {
    type: name in SLIDERS ? "range" : "number",
    min: low ?? "",
    max: high ?? "",
    step: SLIDERS[name] ?? "any",
  });
  made.oninput = () => tell(made, Number(made.value));
  made.onchange = () => made.value !== "" && set(name, Number(made.value));
  return made;
}

function tell(made, value) {
  const output = made.parentElement?.querySelector("output");
  if (output) output.textContent = number(value);
}

/** Put the settings of the run into the fields. */
function show() {
  const { settings } = run;
  for (const made of $("settings").querySelectorAll("[data-setting]")) {
    const value = settings[made.dataset.setting];
    if (made.type === "checkbox") made.checked = value;
    else if (made.tagName === "SELECT") choose(made, value);
    else if (made.type === "number" && made === document.activeElement && value === made.known)
      continue; // what is being typed stays
    else made.value = value;
    made.known = value;
    tell(made, value);
  }
  for (const button of $("settings").querySelectorAll(".sets button"))
    button.setAttribute("aria-pressed", String(button.dataset.set === settings.data));
  const made = ["table", "digits"].includes(settings.data);
  for (const name of ["points", "noise"]) if ($(`set-${name}`)) $(`set-${name}`).disabled = made;
}

/** Select a value of a list; one that is not there (a story's, a link's) is added in its place. */
function choose(select, value) {
  const text = JSON.stringify(value);
  if (![...select.options].some((option) => option.value === text)) {
    const after =
      typeof value === "number" &&
      [...select.options].find((option) => JSON.parse(option.value) > value);
    select.insertBefore(
      element(
        "option",
        { value: text },
        typeof value === "number"
          ? number(value) + (UNITS[select.dataset.setting] ?? "")
          : caption(select.dataset.setting, value),
      ),
      after || null,
    );
  }
  select.value = text;
}

function dataSets() {
  const sets = run.options.choices.data.filter((name) => name !== "table");
  return element(
    "div",
    { className: "sets", role: "group", "aria-label": "Data set" },
    ...sets.map((name) => {
      const picture = element("canvas", { width: 72, height: 72, "aria-hidden": "true" });
      thumbnail(picture, name);
      const button = element(
        "button",
        { type: "button", "aria-pressed": "false" },
        picture,
        caption("data", name),
      );
      button.dataset.set = name;
      button.onclick = () => set("data", name);
      return button;
    }),
  );
}

function thumbnail(canvas, name) {
  const context = canvas.getContext("2d");
  const hue = colours();
  context.fillStyle = hue.middle;
  context.fillRect(0, 0, 72, 72);
  for (const [x, y, k] of sample(name)) {
    context.globalAlpha = k < 0 ? 1 : 0.35 + 0.65 * Math.abs(2 * k - 1);
    context.fillStyle = k < 0 ? hue.ink : k > 0.5 ? hue.high : hue.low;
    context.beginPath();
    context.arc(36 + 31 * x, 36 - 31 * y, k < 0 ? 3.6 : 3, 0, 7);
    context.fill();
  }
  context.globalAlpha = 1;
}

export function setUp() {
  $("settings").addEventListener("submit", (event) => event.preventDefault());
  let built = false;
  run.on("settings", () => {
    if (built) return show();
    built = true;
    return build();
  });
  document.addEventListener("colours", () => {
    for (const button of $("settings").querySelectorAll(".sets button"))
      thumbnail(button.querySelector("canvas"), button.dataset.set);
  });
}

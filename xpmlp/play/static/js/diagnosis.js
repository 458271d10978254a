// What is wrong with the run, the evidence, and a button that makes the change.
import { get } from "./api.js";
import { attempt } from "./messages.js";
import { run } from "./run.js";
import { $, element } from "./words.js";

const EVERY = 1500;
let shown = "";
let last = 0;
let asking = false;

async function ask() {
  if (asking) return;
  asking = true;
  last = performance.now();
  try {
    show((await get("diagnosis")).findings);
  } catch {
    /* the run's own failure is shown above */
  }
  asking = false;
}

function show(findings) {
  const text = JSON.stringify(findings);
  if (text === shown) return;
  shown = text;
  const made = findings.map(({ what, evidence, change, settings }) =>
    element(
      "div",
      { className: "finding" },
      element("strong", {}, what),
      element("p", {}, evidence),
      element("p", {}, change),
      settings
        ? element(
            "button",
            { type: "button", onclick: () => attempt(() => run.change(settings, true)) },
            `Change it: ${patch(settings)}`,
          )
        : null,
    ),
  );
  $("diagnosis").replaceChildren(
    ...(made.length ? made : [element("p", { className: "aside" }, "Nothing found so far.")]),
  );
}

function patch(settings) {
  return Object.entries(settings)
    .map(
      ([name, value]) =>
        `${name.replaceAll("_", " ")} ${Array.isArray(value) ? value.join("-") : value}`,
    )
    .join(", ");
}

export function setUp() {
  run.on("frame", () => {
    if (!run.running || performance.now() - last > EVERY) ask();
  });
  run.on("network", () => show([]));
}

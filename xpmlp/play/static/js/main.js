// The page: each part listens to the run, then the run is opened.
import { attempt, fail } from "./messages.js";
import { run } from "./run.js";
import * as controls from "./controls.js";
import * as curves from "./curves.js";
import * as diagnosis from "./diagnosis.js";
import * as digit from "./digit.js";
import * as gradients from "./gradients.js";
import * as network from "./network.js";
import * as plane from "./plane.js";
import * as stories from "./stories.js";
import * as table from "./table.js";
import * as take from "./take.js";
import * as toolbar from "./toolbar.js";
import * as why from "./why.js";

for (const part of [
  toolbar,
  controls,
  table,
  stories,
  network,
  plane,
  curves,
  gradients,
  diagnosis,
  why,
  take,
  digit,
])
  part.setUp();
addEventListener("unhandledrejection", (event) => fail(event.reason));
await attempt(() => run.open());

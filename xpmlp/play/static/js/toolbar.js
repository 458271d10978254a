// Run, pause, one epoch, one step, back to the start; and how far the run is.
import { attempt, fail } from "./messages.js";
import { run } from "./run.js";
import { $, number, score, SCORES } from "./words.js";

const over = () => run.status === "done" || run.status === "failed";
const act = (name, body) => attempt(() => run.command(name, body));

export function setUp() {
  $("run").onclick = () =>
    over() ? attempt(() => run.start(run.settings, true)) : act(run.running ? "pause" : "run");
  $("epoch").onclick = () => act("advance", { by: "epoch" });
  $("step").onclick = () => act("advance", { by: "step" });
  $("reset").onclick = () => act("reset");
  run.on("status", () => {
    $("run").textContent = run.running ? "Pause" : over() ? "Run again" : "Run";
    for (const id of ["run", "reset"]) $(id).disabled = false;
    for (const id of ["epoch", "step"]) $(id).disabled = over();
    document.body.dataset.status = run.status;
    const message = run.frame?.message ?? run.state?.message;
    if (run.status === "failed" && message) fail(message);
  });
  run.on("frame", () => {
    const {
      epoch,
      step,
      loss,
      score: { name, train, test },
    } = run.frame;
    const inside = run.running || !step ? "" : `, step ${step.toLocaleString("en")}`;
    $("fact-epoch").textContent = epoch.toLocaleString("en") + inside;
    $("fact-train").textContent = number(loss.train);
    $("fact-test").textContent = number(loss.test);
    $("fact-score-name").textContent =
      `${SCORES[name] ?? name}, ${test === null ? "training" : "test"}`;
    $("fact-score").textContent = score(name, test ?? train);
  });
}

// The run that this tab shows: its settings, its state, and the newest frame. Others listen to `run`.
import * as api from "./api.js";
import { toHash, fromHash, same } from "./address.js";
import { attempt, fail, say } from "./messages.js";
import { number, onNextPicture, score, SCORES } from "./words.js";

const reduced = matchMedia("(prefers-reduced-motion: reduce)");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Events: "settings", "network" (another run or network), "frame", "status". */
class Run extends EventTarget {
  options = null;
  settings = null;
  state = null;
  frame = null;
  before = null; // the frame before a single step: what changed is shown against it
  history = { train: [], test: [] };
  steps = { train: [], test: [] }; // of the first epoch: all there is of a run that explodes in it
  drawn = 0;

  get status() {
    return this.frame?.status ?? this.state?.status ?? "empty";
  }

  get running() {
    return this.status === "running";
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }

  on(names, listener) {
    for (const name of names.split(" ")) this.addEventListener(name, listener);
  }

  /** Find the run of this session again, or start the one that the address has. */
  open() {
    this.opened = this.find();
    return this.opened;
  }
  opened = null; // requests at the same time, before there is a session, would each get one

  async find() {
    this.options = await api.get("options");
    this.state = await api.get("state");
    const asked = fromHash(location.hash, this.options.settings);
    const found = this.state.status !== "empty";
    if (found && (!asked || same(this.complete(asked), this.complete(this.state.settings)))) {
      this.adopt(this.state);
    } else {
      try {
        await this.start(asked ?? this.options.settings, true);
      } catch (error) {
        fail(error); // a link that asks for what is not there: show the page nevertheless
        await this.start(this.options.settings, true);
      }
    }
    addEventListener("hashchange", () => {
      const wanted = fromHash(location.hash, this.options.settings);
      if (wanted && !same(this.complete(wanted), this.complete(this.settings)))
        attempt(() => this.start(wanted, true));
    });
    this.follow();
  }

  complete(settings) {
    const all = { ...this.options.settings, ...settings };
    return Object.fromEntries(
      Object.keys(all)
        .sort()
        .map((name) => [name, all[name] ?? null]),
    );
  }

  /** Build a new network with these settings; run it at once if it should. */
  async start(settings, running = this.running) {
    const wanted = ++this.wanted;
    await this.starting;
    if (wanted !== this.wanted) return; // newer settings came while an older start was under way
    this.starting = api
      .post("start", { ...settings, run: running })
      .then((state) => this.adopt(state));
    const started = this.starting;
    this.starting = started.catch(() => {});
    await started;
  }
  wanted = 0;
  starting = Promise.resolve();

  /** Start with some settings changed. */
  change(patch, running = this.running) {
    return this.start({ ...this.settings, story: null, ...patch }, running);
  }

  adopt(state) {
    this.state = state;
    this.settings = { ...this.options.settings, ...state.settings };
    this.history = { train: [], test: [] };
    this.steps = { train: [], test: [] };
    this.before = null;
    this.frame = null;
    this.number = 0;
    const hash = toHash(this.settings, this.options.settings);
    if (location.hash.slice(1) !== hash)
      history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
    this.tell("settings");
    this.tell("network");
    this.tell("status");
    this.again?.abort(); // ask for the first frame of this run at once
  }
  number = 0;

  async command(name, body = {}) {
    await this.starting;
    this.before = name === "advance" ? this.frame : null;
    await api.post(name, body);
  }

  /** Ask for frames for ever. What came while the page was drawing is never queued: only the newest is kept. */
  async follow() {
    for (;;) {
      await this.starting;
      this.again = new AbortController();
      try {
        const frame = await api.frame(this.number, this.again.signal);
        if (frame) await this.take(frame);
        this.lost = false;
      } catch (error) {
        if (this.again.signal.aborted) continue;
        if (!this.lost) fail(error);
        this.lost = true;
        await pause(1000);
        await this.recover();
      }
      if (reduced.matches && this.running) await pause(500);
      if (document.hidden) await this.unseen();
    }
  }

  /** After a failure: find the run again, or, if the server was started anew, make it once more. */
  async recover() {
    try {
      const state = await api.get("state");
      if (state.status === "empty") await this.start(this.settings, false);
      else if (state.run !== this.state.run) this.adopt(state);
      else return;
      fail(null);
    } catch {
      /* still away: the next second tries again */
    }
  }

  /** A tab that nobody sees asks seldom: enough to keep its run going. */
  async unseen() {
    const seen = new Promise((done) =>
      document.addEventListener("visibilitychange", done, { once: true }),
    );
    await (this.running ? Promise.race([seen, pause(3000)]) : seen);
  }

  async take(frame) {
    if (frame.run !== undefined && frame.run !== this.state.run) {
      // started anew, perhaps in another tab
      const state = await api.get("state");
      if (state.run !== this.state.run) this.adopt(state);
      return;
    }
    this.remember(frame);
    const status = this.frame?.status;
    this.number = frame.frame;
    this.frame = frame;
    if (status !== frame.status) this.tell("status");
    this.draw();
    if (status !== frame.status) say(this.sentence());
  }

  /** Keep the losses of a frame. A failed run shows the gradients at which it failed. */
  remember({ history: { since, ...losses }, epoch, step, status, loss, arrays }) {
    for (const [name, values] of Object.entries(losses)) {
      this.history[name].length = Math.min(this.history[name].length, since);
      for (const value of values) this.history[name].push(value ?? NaN);
      const early = this.steps[name];
      if (epoch === 0 && status !== "failed")
        while (early.length <= step) early.push(loss[name] ?? NaN);
    }
    if (status === "failed" && this.frame) arrays.gradients = this.frame.arrays.gradients;
  }

  draw = onNextPicture(() => {
    if (!this.frame) return;
    this.drawn += 1;
    this.tell("frame");
  });

  sentence() {
    const { status, epoch, loss, score: { name, test } = {}, message } = this.frame;
    const words = {
      running: "Running",
      paused: "Paused",
      done: "Finished",
      failed: "Stopped",
      empty: "No network",
    }[status];
    return `${words} at epoch ${epoch}. Training loss ${number(loss?.train)}, ${SCORES[name] ?? name} ${score(name, test)}.${message ? ` ${message}` : ""}`;
  }
}

export const run = new Run();

// Take it along: the link, the Python script, the picture, the film, and the model.
import { download } from "./api.js";
import { colours } from "./colors.js";
import { drawInto as drawCurves } from "./curves.js";
import { attempt } from "./messages.js";
import { drawInto as drawNetwork } from "./network.js";
import { drawInto as drawPlane } from "./plane.js";
import { run } from "./run.js";
import { $, number, save, score, SCORES } from "./words.js";

const said = (text) => {
  $("take-said").textContent = text;
};

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    said(`Copied ${what}.`);
  } catch {
    said(`The browser does not let the page copy. Here it is: ${text}`);
  }
}

async function showCode() {
  const { blob, name } = await download("code", "network.py");
  $("code-text").textContent = await blob.text();
  $("code-save").onclick = () => save(blob, name);
  $("code").showModal();
}

async function take(path, name, meanwhile) {
  said(meanwhile);
  try {
    const found = await download(path, name);
    save(found.blob, found.name);
    said(`Saved ${found.name}.`);
  } catch (error) {
    said("");
    throw error;
  }
}

/** The plane, the network and the curves on one picture. */
export async function picture() {
  const scratch = document.createElement("canvas").getContext("2d");
  const sizes = { network: drawNetwork(scratch), plane: drawPlane(scratch) };
  const width = sizes.network.width + (sizes.plane.width ? sizes.plane.width + 24 : 0) + 48;
  const top = Math.max(sizes.network.height, sizes.plane.height) + 72;
  const canvas = Object.assign(document.createElement("canvas"), {
    width: width * 2,
    height: (top + 190 + 24) * 2,
  });
  const context = canvas.getContext("2d");
  const hue = colours();
  context.scale(2, 2);
  context.fillStyle = hue.card;
  context.fillRect(0, 0, width, top + 214);
  const {
    epoch,
    loss,
    score: { name, test, train },
  } = run.frame;
  Object.assign(context, {
    fillStyle: hue.ink,
    font: "600 15px system-ui, sans-serif",
    textBaseline: "top",
  });
  context.fillText(
    `${run.state.sizes.join("-")}, epoch ${epoch.toLocaleString("en")}: loss ${number(loss.train)}, test ${number(loss.test)}, ${(SCORES[name] ?? name).replace("A", "a")} ${score(name, test ?? train)}`,
    24,
    22,
  );
  at(context, 24, 48, drawNetwork);
  at(context, 48 + sizes.network.width, 48, drawPlane);
  at(context, 24, top, (there) => drawCurves(there, width - 48, 190));
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function at(context, x, y, work) {
  context.save();
  context.translate(x, y);
  work(context);
  context.restore();
}

export function setUp() {
  $("take-link").onclick = () =>
    copy(location.href, "the link: it shows the same network and data");
  $("take-code").onclick = () => attempt(showCode);
  $("take-png").onclick = () =>
    attempt(async () => {
      save(await picture(), "xpmlp.png");
      said("Saved xpmlp.png.");
    });
  $("take-gif").onclick = () => attempt(() => take("gif", "xpmlp.gif", "Drawing the film …"));
  $("take-model").onclick = () => attempt(() => take("model", "model.xpmlp", "Saving the model …"));
  $("code-close").onclick = () => $("code").close();
  $("code-copy").onclick = async () => {
    await copy($("code-text").textContent, "the script");
    $("code-copy").textContent = "Copied";
  };
  $("code").addEventListener("close", () => {
    $("code-copy").textContent = "Copy";
  });
}

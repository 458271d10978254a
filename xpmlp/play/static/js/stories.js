// The stories: settings that show one thing, and one sentence of what to look at.
import { attempt } from "./messages.js";
import { run } from "./run.js";
import { $, element } from "./words.js";

const FIRST = "Watch the picture of the plane: the network is learning where orange ends and blue begins. Then change something, and see what happens.";

function show() {
  const story = run.options.stories.find(({ name }) => name === run.settings.story);
  for (const button of $("stories").children) button.setAttribute("aria-pressed", String(button.dataset.story === story?.name));
  if (!story) return $("note").replaceChildren(run.state.plane ? FIRST : "Watch the loss fall: the network is learning to tell ten digits apart. Then draw one yourself, above.");
  $("note").replaceChildren(element("strong", {}, story.title), `${story.text} `, element("em", {}, `Look at: ${story.look}`));
  return undefined;
}

export function build() {
  $("stories").replaceChildren(...run.options.stories.map(({ name, title, settings }) => {
    const button = element("button", { type: "button", "aria-pressed": "false" }, title);
    button.dataset.story = name;
    button.onclick = () => attempt(() => run.start({ ...run.options.settings, ...settings, story: name }, true));
    return button;
  }));
}

export function setUp() {
  run.on("settings", () => {
    if (!$("stories").children.length) build();
    show();
  });
}

// The stories: settings that show one thing, and one sentence of what to look at.
import { attempt } from "./messages.js";
import { run } from "./run.js";
import { $, element } from "./words.js";

const FIRST =
  "Watch the picture of the plane: the network is learning where orange ends and blue begins. Then change something, and see what happens.";

function show() {
  const story = run.options.stories.find(({ name }) => name === run.settings.story);
  for (const button of $("stories").querySelectorAll("button"))
    button.setAttribute("aria-pressed", String(button.dataset.story === story?.name));
  if (!story)
    return $("note").replaceChildren(
      run.state.plane
        ? FIRST
        : "Watch the loss fall: the network is learning to tell ten digits apart. Then draw one yourself, above.",
    );
  $("note").replaceChildren(
    element("strong", {}, story.title),
    `${story.text} `,
    element("em", {}, story.look),
  );
  return undefined;
}

/** A button for each story; those of one group stand together, under its name if they are several. */
function build() {
  const groups = new Map();
  for (const story of run.options.stories)
    groups.set(story.group, [...(groups.get(story.group) ?? []), story]);
  $("stories").replaceChildren(
    ...[...groups].map(([group, stories]) =>
      element(
        "span",
        { className: "group", role: "group", "aria-label": group ?? "Stories" },
        stories.length > 1 && group
          ? element(
              "span",
              { className: "aside", "aria-hidden": "true" },
              group[0].toUpperCase() + group.slice(1),
            )
          : null,
        ...stories.map(button),
      ),
    ),
  );
}

function button({ name, title, settings }) {
  const made = element("button", { type: "button", "aria-pressed": "false" }, title);
  made.dataset.story = name;
  made.onclick = () =>
    attempt(() => run.start({ ...run.options.settings, ...settings, story: name }, true));
  return made;
}

export function setUp() {
  run.on("settings", () => {
    if (!$("stories").children.length) build();
    show();
  });
}

// What the theme leaves out for people who use a keyboard or a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  const set = (selector, name, value) =>
    document.querySelectorAll(selector).forEach((each) => each.setAttribute(name, value));
  set("p.caption[role=heading]", "aria-level", "2");
  set("pre, .table-wrapper", "tabindex", "0"); // they scroll
  set(".sidebar-drawer", "aria-label", "Pages");
  set(".toc-drawer", "aria-label", "On this page");
  set("details > summary[aria-label]", "aria-label", "Show code cell source");
  const results = document.querySelector("#search-results");
  if (results) results.insertAdjacentHTML("beforebegin", "<h1>Search</h1>");
  set(".content-icon-container", "role", "navigation");
  set(".content-icon-container", "aria-label", "This page");
});

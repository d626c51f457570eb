// What the theme leaves out for keyboards and screen readers.
document.addEventListener("DOMContentLoaded", () => {
  const set = (selector, attribute, value) => document.querySelectorAll(selector).forEach((each) => each.setAttribute(attribute, value));
  set("pre, .table-wrapper", "tabindex", "0"); // so that arrow keys scroll wide ones
  set(".caption[role=heading]", "aria-level", "2");
  document.querySelectorAll("a.download[href$='.html']").forEach((each) => each.removeAttribute("download")); // opens instead
  set("aside.sidebar-drawer", "aria-label", "Pages");
  set("aside.toc-drawer", "aria-label", "On this page");
  set(".content-icon-container", "role", "region");
  set(".content-icon-container", "aria-label", "This page");
});

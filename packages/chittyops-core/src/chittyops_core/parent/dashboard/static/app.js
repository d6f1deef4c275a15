"use strict";
// What makes the pages pleasant; every page reads and every form works without it.
(() => {
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function span(seconds) {
    const [size, unit] = UNITS.find(([size]) => seconds >= size) ?? UNITS[3];
    return `${Math.floor(seconds / size)} ${unit}`;
  }

  // The server's clock counts, not the browser's.
  const sent = Date.parse(document.body.dataset.now ?? "");
  const skew = Number.isNaN(sent) ? 0 : sent - Date.now();

  function tellTime(time) {
    const past = (Date.now() + skew - Date.parse(time.dateTime)) / 1000;
    const words = Math.abs(past) < 5 ? "just now" : past > 0 ? `${span(past)} ago` : `in ${span(-past)}`;
    if (time.textContent !== words) time.textContent = words;
  }

  const tellTimes = () => document.querySelectorAll("time[data-ago]").forEach(tellTime);

  const isTyping = (element) => element.closest("input, select, textarea, [contenteditable]") !== null;

  function move(step) {
    const links = [...document.querySelectorAll("[data-row] th a")];
    if (links.length === 0) return;
    const row = document.activeElement.closest("[data-row]");
    const at = row ? links.findIndex((link) => row.contains(link)) : step > 0 ? -1 : links.length;
    links[Math.min(Math.max(at + step, 0), links.length - 1)].focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const search = document.querySelector("input[type=search]");
    if (event.key === "/" && search) {
      search.focus();
      search.select();
    } else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else return;
    event.preventDefault();
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      button.textContent = "Selected: press Ctrl+C";
    }
  });
  document.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = false; });

  function tellLive(words, isOn) {
    const live = document.getElementById("live");
    if (!live) return;
    live.hidden = false;
    live.classList.toggle("on", isOn);
    live.textContent = words;
  }
  document.addEventListener("htmx:sse:after:connection", () => tellLive("Live", true));
  document.addEventListener("htmx:sse:error", () => tellLive("Not live", false));
  document.addEventListener("htmx:sse:close", (event) => {
    if (event.detail.reason !== "removed") tellLive("Not live", false);
  });
  document.addEventListener("ended", () => location.reload());
  document.addEventListener("htmx:after:swap", tellTimes);
  setInterval(tellTimes, 10000);
})();

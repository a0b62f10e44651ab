"use strict";
(() => {
  const box = document.getElementById("search");
  const count = document.getElementById("search-count");
  const items = Array.from(document.querySelectorAll("[data-text]"));
  const all = Array.from(document.querySelectorAll("main details"));
  document.getElementById("tools").hidden = items.length === 0 && all.length === 0;

  const openUp = (element) => {
    for (let e = element.parentElement; e; e = e.parentElement) {
      if (e.tagName === "DETAILS") e.open = true;
    }
  };
  const search = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of items) {
      const text = item.dataset.text.toLowerCase();
      const match = words.every((word) => text.includes(word));
      item.hidden = !match;
      if (match) shown += 1;
      if (match && words.length && shown <= 200) openUp(item);
    }
    count.textContent = words.length ? `${shown} of ${items.length} shown` : "";
  };
  let timer = 0;
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 120);
  });
  const setAll = (open) => {
    for (const details of all) details.open = open;
  };
  document.getElementById("expand").addEventListener("click", () => setAll(true));
  document.getElementById("collapse").addEventListener("click", () => setAll(false));

  const follow = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) return;
    if (target.tagName === "DETAILS") target.open = true;
    openUp(target);
    target.scrollIntoView();
  };
  addEventListener("hashchange", follow);
  addEventListener("beforeprint", () => setAll(true));
  follow();
})();

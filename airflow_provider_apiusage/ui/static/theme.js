"use strict";
// Light or dark as Airflow is. Runs before anything is drawn, so that nothing flashes.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const known = (name) => (name === "dark" || name === "light" ? name : null);

  // Airflow writes the theme in use as a class of its own page, and the one that was chosen into the storage.
  const host = () => {
    try {
      return parent === window ? null : parent.document.documentElement;
    } catch {
      return null; // framed by another site
    }
  };
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is switched off
    }
  };
  const classed = (element) => ["dark", "light"].find((name) => element?.classList.contains(name)) ?? null;

  const apply = () => {
    const theme = classed(host()) ?? known(stored()) ?? (system.matches ? "dark" : "light");
    if (document.documentElement.dataset.theme !== theme) document.documentElement.dataset.theme = theme;
  };

  apply();
  addEventListener("storage", (event) => {
    if (event.key === "theme" || event.key === null) apply();
  });
  system.addEventListener("change", apply);
  const element = host();
  if (element) new MutationObserver(apply).observe(element, { attributes: true, attributeFilter: ["class"] });
})();

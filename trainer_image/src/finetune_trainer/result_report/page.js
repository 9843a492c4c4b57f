// Searching and filtering the rows. Without this script everything is there to read.
(() => {
  "use strict";
  const STEP = 20;
  const section = document.querySelector(".answers");
  if (!section) return;
  const rows = [...section.querySelectorAll(".answer")];
  const filters = section.querySelector(".filters");
  const found = section.querySelector(".found");
  const more = section.querySelector(".more");
  const rest = section.querySelector(".rest");
  const told = found.textContent;
  const first = rest ? rows.length - rest.querySelectorAll(".answer").length : rows.length;
  let limit = first;

  if (rest) rest.replaceWith(...rest.querySelectorAll(".answer"));
  const texts = rows.map((row) => row.textContent.toLowerCase());
  for (const choice of filters.querySelectorAll("[name=change]")) {
    const count = choice.value ? rows.filter((row) => row.dataset.change === choice.value).length : rows.length;
    choice.parentElement.querySelector("small").textContent = count;
    choice.disabled = count === 0;
  }

  const value = (name) => filters.querySelector(`[name=${name}]`)?.value ?? "";
  const show = () => {
    const change = filters.querySelector("[name=change]:checked").value;
    const [dataset, fault] = [value("dataset"), value("class")];
    const words = value("text").toLowerCase().split(/\s+/).filter(Boolean);
    let matching = 0;
    rows.forEach((row, index) => {
      const matches =
        (!change || row.dataset.change === change) &&
        (!dataset || row.dataset.dataset === dataset) &&
        (!fault || row.dataset.classes.split(" ").includes(fault)) &&
        words.every((word) => texts[index].includes(word));
      row.hidden = !matches || matching >= limit;
      matching += matches;
    });
    const all = matching === rows.length;
    found.textContent = all ? told : `${matching} of ${rows.length} rows`;
    more.hidden = matching <= limit;
    more.textContent = `Show ${Math.min(STEP, matching - limit)} more of ${matching}`;
  };

  filters.addEventListener("input", () => {
    limit = first;
    show();
  });
  more.addEventListener("click", () => {
    const next = rows.filter((row) => !row.hidden).length;
    limit += STEP;
    show();
    const added = rows.filter((row) => !row.hidden)[next];
    added.tabIndex = -1;
    added.focus();
  });
  filters.hidden = false;
  show();
})();

"use strict";
(() => {
  const { charts, datasets } = JSON.parse(document.getElementById("data").textContent);

  // The interpreter evaluates Vega's expressions without eval, which the page's policy forbids.
  const options = {
    actions: false, ast: true, renderer: "svg", defaultStyle: false, tooltip: { disableDefaultStyle: true },
  };

  const show = async (slot, name) => {
    const files = document.querySelector(`[data-files="${slot.id}"]`);
    if (files) files.hidden = !charts[name];
    if (!charts[name]) {
      slot.textContent = "No model has both.";
      return;
    }
    const spec = structuredClone(charts[name]);
    spec.datasets = Object.fromEntries(spec.uses.map((key) => [key, datasets[key]]));
    delete spec.uses;
    await vegaEmbed(slot, spec, options);
    for (const link of files ? files.querySelectorAll("a") : []) link.href = `figures/${name}.${link.dataset.kind}`;
  };

  // A slot names its chart with the values of its pickers in the place of the stars.
  for (const slot of document.querySelectorAll(".figure")) {
    const pickers = [...document.querySelectorAll(`[data-for="${slot.id}"]`)];
    const update = () => {
      const picked = pickers.filter((p) => p.type !== "radio" || p.checked).map((p) => p.value);
      show(slot, slot.dataset.chart.replace(/\*/g, () => picked.shift()));
    };
    for (const picker of pickers) picker.addEventListener("change", update);
    update();
  }

  const table = document.getElementById("rows");
  const body = table.tBodies[0];
  const lines = [...body.rows];
  const valueAt = (line, at) => line.cells[at].dataset.value ?? line.cells[at].textContent;

  for (const [at, head] of [...table.tHead.rows[0].cells].entries()) {
    head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const numeric = "numeric" in head.dataset;
      lines.sort((a, b) => {
        const [x, y] = [valueAt(a, at), valueAt(b, at)];
        if (!numeric) return (descending ? -1 : 1) * x.localeCompare(y);
        if (x === "" || y === "") return (x === "") - (y === ""); // cells without a value come last, either way
        return (descending ? -1 : 1) * (x - y);
      });
      body.append(...lines);
    });
  }

  document.getElementById("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const line of lines) {
      const text = `${line.cells[0].textContent} ${line.cells[1].textContent}`.toLowerCase();
      line.hidden = !words.every((word) => text.includes(word));
    }
  });
})();

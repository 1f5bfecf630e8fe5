"use strict";
(() => {
  // The figures' data and libraries are inert until the first figure comes near the window, so that text and table
  // stand before either is read. The page's policy names the hash of the libraries' text, which a script made of that
  // text has, too.
  let content;
  const prepared = () => {
    if (!content) {
      content = JSON.parse(document.getElementById("data").textContent);
      const script = document.createElement("script");
      script.textContent = document.getElementById("libraries").textContent;
      document.head.append(script);
    }
    return content;
  };

  // The interpreter evaluates Vega's expressions without eval, which the page's policy forbids.
  const options = {
    actions: false, ast: true, renderer: "svg", defaultStyle: false, tooltip: { disableDefaultStyle: true },
  };

  // One chart has all pairs of indicators: an option names a column's key, and carries how its axis is drawn.
  const turn = (spec, picked) => {
    const [y, x] = picked.map((picker) => picker.selectedOptions[0]);
    for (const [axis, option] of [["x", x], ["y", y]]) {
      const { title, scale, sign } = option.dataset;
      spec.params.find((p) => p.name === `${axis}_key`).value = option.value;
      spec.params.find((p) => p.name === `${axis}_sign`).value = Number(sign);
      for (const layer of spec.layer) {
        const channel = layer.encoding[axis];
        if (channel) channel.title = title.split("\n");
        if (channel?.scale) channel.scale.type = scale;
      }
    }
  };

  const show = async (slot, name, pickers) => {
    const { charts, datasets, pictured } = prepared();
    const files = document.querySelector(`[data-files="${slot.id}"]`);
    if (files) {
      files.hidden = !charts[name];
      const [links, hint] = files.children;
      links.hidden = !(hint.hidden = pictured.includes(name));
    }
    if (!charts[name]) {
      slot.textContent = "No model has both.";
      return;
    }
    const spec = structuredClone(charts[name]);
    spec.datasets = Object.fromEntries(spec.uses.map((key) => [key, datasets[key]]));
    delete spec.uses;
    if ("pairs" in slot.dataset) turn(spec, pickers);
    await vegaEmbed(slot, spec, options);
    for (const link of files ? files.querySelectorAll("a") : []) link.href = `figures/${name}.${link.dataset.kind}`;
  };

  // A figure is drawn when it comes near the window: a page may hold many.
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      target.dispatchEvent(new Event("seen"));
    }
  }, { rootMargin: "600px" });

  // A slot names its chart with the values of its pickers in the place of the stars.
  for (const slot of document.querySelectorAll(".figure")) {
    const pickers = [...document.querySelectorAll(`[data-for="${slot.id}"]`)];
    const update = () => {
      const picked = pickers.filter((p) => p.type !== "radio" || p.checked).map((p) => p.value);
      show(slot, slot.dataset.chart.replace(/\*/g, () => picked.shift()), pickers);
    };
    for (const picker of pickers) picker.addEventListener("change", update);
    slot.addEventListener("seen", update);
    seen.observe(slot);
  }

  const table = document.getElementById("rows");
  const body = table.tBodies[0];
  const lines = [...body.rows];

  // Laying out thousands of cells takes a while: what lies further down follows when the page stands, or is asked for.
  const later = document.getElementById("later-rows");
  const complete = () => {
    if (!later?.textContent) return;
    const made = document.createElement("template");
    made.innerHTML = later.textContent;
    later.textContent = "";
    lines.push(...made.content.children);
    body.append(made.content);
  };
  addEventListener("load", () => setTimeout(complete, 1000));
  const valueAt = (line, at) => line.cells[at].dataset.value ?? line.cells[at].textContent;

  for (const [at, head] of [...table.tHead.rows[0].cells].entries()) {
    head.querySelector("button").addEventListener("click", () => {
      complete();
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
    complete();
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const line of lines) {
      const text = `${line.cells[0].textContent} ${line.cells[1].textContent}`.toLowerCase();
      line.hidden = !words.every((word) => text.includes(word));
    }
  });
})();

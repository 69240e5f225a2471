"use strict";
(() => {
  const sheets = [...document.querySelectorAll(".sheet")];
  const [dataset, metric, status, search, count] =
    ["dataset", "metric", "status", "search", "count"].map((id) => document.getElementById(id));
  const current = () => sheets[Number(dataset.value)];
  const rows = (sheet) => [...sheet.querySelectorAll("tbody tr")];

  // Cells without a value stay at the bottom in either direction; ties keep the original order.
  const sort = (heading, descending) => {
    const sheet = heading.closest(".sheet");
    const index = [...heading.parentNode.children].indexOf(heading);
    const isNumber = heading.dataset.kind === "number";
    const value = (row) => row.children[index].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNumber ? Number(x) - Number(y) : x.localeCompare(y);
      return descending ? -order : order;
    };
    sheet.querySelectorAll("th[aria-sort]").forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const sorted = rows(sheet).sort((a, b) => compare(a, b) || a.dataset.order - b.dataset.order);
    sheet.querySelector("tbody").append(...sorted);
  };

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = rows(current());
    for (const row of all) {
      const text = row.dataset.text.toLowerCase();
      const fits = !status.value || row.dataset[status.value] === "yes";
      row.hidden = !(fits && words.every((word) => text.includes(word)));
    }
    count.textContent = `${all.filter((row) => !row.hidden).length} of ${all.length} recipes`;
  };

  const showMetric = () => {
    const sheet = current();
    sheet.querySelectorAll("[data-table]").forEach((part) => { part.hidden = part.dataset.table !== metric.value; });
    sheet.querySelectorAll("[data-unless]").forEach((part) => { part.hidden = part.dataset.unless === metric.value; });
    sort(sheet.querySelector("th[data-table]:not([hidden])") ?? sheet.querySelector("th[aria-sort]"), false);
    filter();
  };

  const showDataset = () => {
    sheets.forEach((sheet) => { sheet.hidden = sheet !== current(); });
    const tables = [...current().querySelectorAll(".protocol")];
    const names = tables.map((table) => table.dataset.metric);
    // A metric that was measured under several protocols is labelled with its protocol too.
    const label = ({ metric: name, protocol }) =>
      names.filter((other) => other === name).length > 1 ? `${name} (${protocol})` : name;
    metric.replaceChildren(...tables.map((table) => new Option(label(table.dataset), table.dataset.table)));
    metric.disabled = tables.length === 0;
    showMetric();
  };

  for (const button of document.querySelectorAll("thead button")) {
    const heading = button.parentNode;
    button.addEventListener("click", () => sort(heading, heading.getAttribute("aria-sort") === "ascending"));
  }
  dataset.addEventListener("change", showDataset);
  metric.addEventListener("change", showMetric);
  status.addEventListener("change", filter);
  search.addEventListener("input", filter);
  document.documentElement.classList.add("live");
  showDataset();
})();

/* Filter the ledger by paper, verdict and words. Without this script every row is shown. */
(function () {
  "use strict";

  function labelled(text, control) {
    var label = document.createElement("label");
    label.append(text, control);
    return label;
  }

  function choice(name, values) {
    var select = document.createElement("select");
    select.name = name;
    select.append(new Option("all", ""));
    values.forEach(function (pair) { select.append(new Option(pair[1], pair[0])); });
    return select;
  }

  /* The values of one attribute in the order of the rows, each with the words a reader sees. */
  function values(rows, attribute, words) {
    var seen = new Map();
    rows.forEach(function (row) {
      var value = row.dataset[attribute];
      if (value && !seen.has(value)) seen.set(value, words(row, value));
    });
    return Array.from(seen);
  }

  function start() {
    var tables = Array.from(document.querySelectorAll("table.ledger:not(.ledger-short)"));
    if (!tables.length) return;
    var rows = tables.flatMap(function (table) {
      return Array.from(table.querySelectorAll("tbody tr"));
    });
    var text = new Map(rows.map(function (row) { return [row, row.textContent.toLowerCase()]; }));

    var paper = choice("paper", values(rows, "paper", function (row, value) {
      return value.toUpperCase();
    }));
    var verdict = choice("verdict", values(rows, "verdict", function (row) {
      var cells = row.querySelectorAll("td");
      return cells[cells.length - 1].textContent.trim().replace(/\s+/g, " ");
    }));
    var words = document.createElement("input");
    words.type = "search";
    words.name = "words";
    var reset = document.createElement("button");
    reset.type = "reset";
    reset.textContent = "Show all";
    var count = document.createElement("output");

    var form = document.createElement("form");
    form.className = "ledger-filter";
    form.setAttribute("role", "search");
    form.setAttribute("aria-label", "Filter the ledger");
    form.append(labelled("Paper", paper), labelled("Verdict", verdict),
      labelled("Words", words), reset, count);

    function apply() {
      var wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      var shown = 0;
      rows.forEach(function (row) {
        var fits = (!paper.value || row.dataset.paper === paper.value) &&
          (!verdict.value || row.dataset.verdict === verdict.value) &&
          wanted.every(function (word) { return text.get(row).includes(word); });
        row.hidden = !fits;
        shown += fits;
      });
      tables.forEach(function (table) {
        table.hidden = !table.querySelector("tbody tr:not([hidden])");
      });
      count.textContent = "Showing " + shown + " of " + rows.length + " claims.";
    }

    /* A link to a row must find it, whatever is filtered. */
    function reveal() {
      var row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      if (row && row.hidden) {
        form.reset();
        apply();
        row.scrollIntoView();
      }
    }

    form.addEventListener("input", apply);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    form.addEventListener("reset", function () { setTimeout(apply); });
    window.addEventListener("hashchange", reveal);
    var first = tables[0].closest(".pst-scrollable-table-container") || tables[0];
    var heading = first.previousElementSibling;
    (heading && /^H\d$/.test(heading.tagName) ? heading : first).before(form);
    apply();
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();

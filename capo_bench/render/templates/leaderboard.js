"use strict";
(() => {
  const boards = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const overview = document.getElementById("boards");
  const page = document.getElementById("entry");
  const SIZES = [1e9, 4e9, 14e9, Infinity];
  const AXES = {
    headline: "right label in the annotator's voice, and not to be told from theirs",
    label: "label: is it the one that this annotator gives?",
    identity: "identity: is it this annotator who writes?",
    indistinguishability: "indistinguishability: is it told from the annotator's own?",
    content: "content: is it about this item?",
    guard: "guards: people come out near 0; beside them the control that each catches most",
  };
  const STRIPS = {
    faithful_rate: ["Faithful rate", "right label in a voice that cannot be told from the annotator's"],
    label_skill: ["Label", "agreement with the annotator's own labels beyond chance"],
    attribution_probability: ["Identity", "probability of the target annotator, given the explanation"],
    indistinguishability: ["Indistinguishability", "passes for the annotator's own"],
  };
  const CARD = {
    model: "model", base_model: "base model", parameters: "parameters", method: "method",
    setting: "setting", prompt_hash: "prompt hash", training_data: "training data",
    test_items_seen: "test items seen", uses_test_explanations: "reads test explanations",
    decoding: "decoding", versions: "versions", hardware: "hardware", submitted_by: "submitted by",
    licence: "licence", url: "more", notes: "notes",
  };

  // Text only ever enters the page as text, never as HTML.
  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }
  const plain = (value) => (value === null ? "–" : value.toFixed(3).replace(/^-0\.000$/, "0.000"));
  const defined = (found) => found && found.undefined === undefined && found.value !== null;
  const interval = (found) => (found.low === null ? "no interval" :
    `${plain(found.low)} to ${plain(found.high)}`);
  const addressed = (entry) => (entry.kind === "system" ? entry.id : `~${entry.id}`);

  // ---- Sorting and filters ----

  function sort(table, button) {
    const key = button.dataset.key;
    const heading = button.parentElement;
    const was = heading.getAttribute("aria-sort");
    const other = { ascending: "descending", descending: "ascending" };
    const now = was === "none" ? button.dataset.first : other[was];
    table.querySelectorAll("[aria-sort]").forEach((th) => th.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", now);
    const text = key === "name" || key === "method";
    const sign = now === "ascending" ? 1 : -1;
    const value = (row) => row.getAttribute(`data-${key}`);
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      // What has no value is last, whichever way the rest is sorted.
      if ((x === "") !== (y === "")) return x === "" ? 1 : -1;
      const order = text ? x.localeCompare(y, "en") : Number(x) - Number(y);
      return sign * order || a.dataset.order - b.dataset.order;
    });
    table.tBodies[0].append(...rows);
  }

  function sized(row, wanted) {
    if (!wanted) return true;
    const weights = row.dataset.parameters;
    if (wanted === "unknown") return weights === "";
    const bound = wanted === "inf" ? Infinity : Number(wanted);
    const below = SIZES[SIZES.indexOf(bound) - 1] || 0;
    return weights !== "" && Number(weights) < bound && Number(weights) >= below;
  }

  function filter() {
    document.querySelectorAll(".board").forEach((board) => {
      const task = form.task.value;
      board.hidden = task !== "" && board.dataset.board !== task;
      const hidden = new Set();
      let systems = 0;
      let shown = 0;
      board.querySelectorAll("tbody tr").forEach((row) => {
        const system = row.classList.contains("system");
        const { method, size } = { method: form.method.value, size: form.size.value };
        const others = form.others.value;
        const visible = system ? (!method || row.dataset.method === method) && sized(row, size) :
          others === "all" || (others === "" && !row.matches(".control:not([data-best])"));
        row.hidden = !visible;
        if (!visible) hidden.add(row.dataset.id);
        systems += system;
        shown += system && visible;
      });
      board.querySelectorAll(".mark").forEach((mark) => {
        mark.toggleAttribute("hidden", hidden.has(mark.dataset.id));
      });
      board.querySelector(".count").textContent = shown === systems ?
        `${systems} ${systems === 1 ? "system" : "systems"}.` : `${shown} of ${systems} systems.`;
    });
  }

  // Filters are kept in the address, as #?method=sft&others=all, so that a view can be sent around.
  function keep() {
    const chosen = [...new FormData(form)].filter(([, value]) => value !== "");
    const text = chosen.length ? `#?${new URLSearchParams(chosen)}` : "#";
    history.replaceState(null, "", text);
    filter();
  }

  function restore(text) {
    const chosen = new URLSearchParams(text);
    for (const select of form.elements) {
      const wanted = chosen.get(select.name) || "";
      select.value = [...select.options].some((one) => one.value === wanted) ? wanted : "";
    }
  }

  // ---- The page of one entry ----

  function control(board, metric) {
    const found = board.entries.filter((e) => e.kind === "control" &&
      defined(e.metrics[metric.name]));
    // Beside a guard stands the trickster whom it catches most, not the one it lets pass.
    const sign = metric.higher_is_better || metric.axis === "guard" ? 1 : -1;
    return found.reduce((a, b) => (a && sign * a.metrics[metric.name].value >=
      sign * b.metrics[metric.name].value ? a : b), null);
  }

  function cell(found, className, ...more) {
    if (!found) return element("td", className, "–");
    if (!defined(found)) return element("td", className, element("span", "soft", "not defined"));
    return element("td", className, plain(found.value), element("small", "", interval(found)), ...more);
  }

  function strip(board, entry, name, [title, explained]) {
    const track = element("div", "track");
    const at = (share) => `${(100 * Math.min(Math.max(share, 0), 1)).toFixed(1)}%`;
    const mark = (kind, share, tip) => {
      const made = element("i", kind);
      made.style.left = at(share);
      if (tip) made.title = tip;
      track.append(made);
      return made;
    };
    board.entries.forEach((e) => {
      const found = e.metrics[name];
      if (e.kind !== "system" && e !== entry && defined(found)) {
        mark(e.kind, found.value, `${e.name} ${plain(found.value)}`);
      }
    });
    const own = entry.metrics[name];
    if (defined(own)) {
      if (own.low !== null) {
        mark("range", own.low).style.width = `calc(${at(own.high)} - ${at(own.low)})`;
      }
      mark("run", own.value);
    }
    return element("div", "strip",
      element("div", "title", element("b", "", title), element("small", "", explained)),
      track, element("div", "value", defined(own) ? plain(own.value) : "–"));
  }

  function scores(board, entry) {
    const human = board.entries.find((e) => e.id === "human");
    const seeds = entry.card && entry.card.runs.length > 1 ? entry.card.runs : null;
    const head = element("tr", "", element("th", "left", "metric"), element("td"),
      element("th", "", entry.kind === "system" ? "this system" : "this row"));
    if (seeds) head.append(element("th", "", "seeds, sd"));
    head.append(element("th", "", "floor", element("br"), "best control"),
      element("th", "", "ceiling", element("br"), "human"));
    const table = element("table", "", element("thead", "", head));
    table.id = "metrics";
    Object.entries(AXES).forEach(([axis, title]) => {
      const heading = element("th", "", title);
      heading.colSpan = seeds ? 6 : 5;
      const body = element("tbody", "", element("tr", "axis", heading));
      board.metrics.filter((metric) => metric.axis === axis).forEach((metric) => {
        const own = entry.metrics[metric.name];
        const floor = control(board, metric);
        const name = element("th", "");
        metric.name.split(/(?<=_)/).forEach((part) => name.append(part, element("wbr")));
        const row = element("tr", "", name, element("td", "", metric.higher_is_better ? "↑" : "↓"),
          cell(own, "ours"));
        if (seeds) {
          const values = own.runs.filter((value) => value !== null);
          row.append(element("td", "", values.length ?
            `${plain(Math.min(...values))}–${plain(Math.max(...values))}` : "–",
          own.sd === null ? null : element("small", "", `sd ${plain(own.sd)}`)));
        }
        row.append(floor ? element("td", "", plain(floor.metrics[metric.name].value),
          element("small", "", floor.name)) : element("td", "", "–"),
        cell(human.metrics[metric.name], ""));
        body.append(row);
      });
      if (body.rows.length > 1) table.append(body);
    });
    return element("div", "scroll", table);
  }

  function claims(entry) {
    const rows = [];
    entry.card.runs.forEach((run, index) => {
      Object.keys(run.claimed || {}).sort().forEach((name) => {
        const own = entry.metrics[name];
        if (!own) return;
        const found = own.runs ? own.runs[index] : own.value;
        const known = found !== null && found !== undefined;
        rows.push(element("tr", "", element("th", "", `${run.seed}`), element("th", "", name),
          element("td", "", plain(run.claimed[name])),
          element("td", "", known ? plain(found) : "not defined"),
          element("td", "", known ? plain(found - run.claimed[name]) : "–")));
      });
    });
    if (!rows.length) return [];
    const head = element("thead", "", element("tr", "", ...["seed", "metric"].map((text) =>
      element("th", "left", text)), ...["claimed", "recomputed", "difference"].map((text) =>
      element("th", "", text))));
    const table = element("table", "", head, element("tbody", "", ...rows));
    table.id = "claims";
    return [element("h3", "", "Claimed and recomputed"), element("p", "soft",
      "Tables never show what is claimed."), element("div", "scroll", table)];
  }

  function said(value) {
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value === "number") return value.toLocaleString("en");
    if (typeof value !== "object") return value;
    return Object.entries(value).map(([key, one]) => `${key} ${JSON.stringify(one)}`).join("\n");
  }

  function card(entry) {
    const list = element("dl", "");
    Object.entries(CARD).forEach(([key, title]) => {
      const value = entry.card[key];
      if (value === undefined || value === null) return;
      const content = element("dd", "");
      if (key === "url") {
        const link = element("a", "", value);
        // The schema lets nothing else through; a page should not have to trust that.
        if (/^https?:\/\//.test(value)) link.href = value;
        link.rel = "noopener noreferrer nofollow";
        content.append(link);
      } else content.append(said(value));
      list.append(element("dt", "", title), content);
    });
    list.append(element("dt", "", "seeds"),
      element("dd", "", entry.card.runs.map((run) => run.seed).join(", ")));
    const command = entry.card.command;
    return [element("h3", "", "Card"), element("p", "soft", "As its submitters describe it."), list,
      ...(command ? [element("h3", "", "Command"), element("pre", "", command)] : [])];
  }

  function show(board, entry) {
    const back = element("a", "", `← ${board.title}`);
    back.href = `#${board.board}`;
    const badges = element("div", "badges");
    const badge = (text, kind) => badges.append(element("span", `tag ${kind}`, text));
    badge(entry.status, entry.status === "verified" ? "good" : "");
    if (entry.rank !== null) {
      badge(entry.rank === entry.last_rank ? `rank ${entry.rank}` :
        `rank ${entry.rank}, ${entry.rank} to ${entry.last_rank} possible`, "");
    }
    if (entry.card && entry.card.test_items_seen) badge("saw test items", "bad");
    if (entry.card && entry.card.uses_test_explanations) badge("reads test explanations", "bad");
    const head = entry.metrics[board.headline];
    const big = element("div", "", element("div", "big", defined(head) ? plain(head.value) : "–"),
      element("small", "", "faithful rate", element("br"),
        defined(head) ? `95 %: ${interval(head)}` : "not defined"));
    const finding = entry.finding;
    const verdict = element("section", `verdict ${finding ? finding.level : ""}`, big,
      finding ? element("div", "says", element("b", "", finding.title),
        element("p", "", finding.reason)) : null);
    const reports = (board.reports[entry.id] || []).map(([name, address]) => {
      const link = element("a", "", `Full report, ${name}`);
      link.href = address;
      return element("p", "", link);
    });
    const undefinedOnes = Object.entries(entry.metrics).filter(([, found]) => !defined(found) &&
      found.undefined).map(([name, found]) => element("p", "soft",
      `${name} is not defined, because ${found.undefined}.`));
    const title = element("h2", "", entry.name);
    page.replaceChildren(element("p", "", back), title, element("p", "soft", board.facts), badges,
      verdict, ...Object.entries(STRIPS).map(([name, text]) => strip(board, entry, name, text)),
      ...(entry.kind === "system" ? reports : []),
      ...(entry.warnings.length ? [element("h3", "", "Warnings"), element("ul", "warnings",
        ...entry.warnings.map((text) => element("li", "", text)))] : []),
      element("h3", "", "Every metric"), scores(board, entry), ...undefinedOnes,
      ...(entry.card ? [...claims(entry), ...card(entry)] : []));
    document.title = `${entry.name}, ${board.title}: capo-bench leaderboards`;
    overview.hidden = true;
    page.hidden = false;
    window.scrollTo(0, 0);
    page.focus({ preventScroll: true });
  }

  let left = null;
  function route() {
    let wanted = location.hash.slice(1);
    try {
      wanted = decodeURIComponent(wanted);
    } catch {
      wanted = "";
    }
    const [name, id] = wanted.split("/");
    const board = boards.find((one) => one.board === name);
    const entry = board && board.entries.find((one) => addressed(one) === id);
    if (entry) {
      left = wanted;
      show(board, entry);
      return;
    }
    page.hidden = true;
    overview.hidden = false;
    document.title = "capo-bench leaderboards";
    const known = new Set(boards.map((one) => one.board));
    if (wanted.startsWith("?")) restore(wanted.slice(1));
    else if (left === null && board) form.task.value = name;
    filter();
    if (left !== null && known.has(name)) {
      // Back from an entry: to its row, for eyes and keyboard.
      const link = [...document.querySelectorAll(".ranks a")].find((one) =>
        one.getAttribute("href") === `#${left}`);
      if (link) link.focus();
    }
    left = null;
  }

  document.querySelectorAll(".ranks").forEach((table) => {
    table.querySelectorAll("thead button").forEach((button) =>
      button.addEventListener("click", () => sort(table, button)));
    table.querySelector("[aria-sort]").setAttribute("aria-sort", "ascending");
  });
  form.addEventListener("input", keep);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", route);
  route();
})();

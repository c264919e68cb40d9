"use strict";
(() => {
  const PAGE = 20;
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("cards");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const fields = ["annotator", "outcome", "to", "find"];
  let found = [];

  // Text only ever enters the page as text, never as HTML.
  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const attributed = (r) => r.to === r.annotator;
  const outcomes = {
    all: ["all", () => true],
    both: ["right on both axes", (r) => r.agrees && attributed(r)],
    neither: ["wrong on both axes", (r) => !r.agrees && !attributed(r)],
    right: ["label right", (r) => r.agrees],
    wrong: ["label wrong", (r) => !r.agrees],
    target: ["attributed to the target", attributed],
    other: ["attributed to another", (r) => !attributed(r) && r.to >= 0],
    nobody: ["attributed to nobody", (r) => r.to < 0],
    invalid: ["invalid", (r) => r.error !== null],
    irrelevant: ["off the item", (r) => r.relevant === false],
    copied: ["copied from training", (r) => r.copied === true],
  };

  const name = (index) => (index < 0 ? "nobody" : data.annotators[index]);
  const searched = data.responses.map((r) =>
    [data.items[r.item].id, ...Object.values(data.items[r.item].text), r.explanation, r.raw || "",
      ...r.human.map((pair) => pair[1])].join("\n").toLowerCase());

  function side(kind, title, label, text) {
    return element("div", `side ${kind}`, element("small", "", title),
      element("div", "", element("b", "", label)), element("p", "", text));
  }

  function card(r, position) {
    const item = data.items[r.item];
    const own = r.human.map(([label, text]) => side("human", `${name(r.annotator)}'s own`, label,
      text || "(no explanation)"));
    const model = side("model", r.error ? `model, invalid: ${r.error}` : "model",
      r.labels.join(", ") || "(no label)", r.error ? r.raw || "(nothing)" : r.explanation);
    const chances = r.probable.map(([index, p]) => `${name(index)} ${p.toFixed(2)}`).join(", ");
    const chips = element("ul", "chips");
    const chip = (good, text) => chips.append(element("li", good === null ? "" :
      good ? "good" : "bad", good === null ? text : `${good ? "✓" : "✗"} ${text}`));
    chip(r.agrees, r.agrees ? "label agrees" : "label disagrees");
    chip(attributed(r), `attributed to ${name(r.to)}${chances ? ` (${chances})` : ""}`);
    if (r.relevant === null) chip(null, "relevance not defined");
    else chip(r.relevant, r.relevant ? "relevant" : "off the item");
    if (r.copied === null) chip(null, "copying not defined");
    else chip(!r.copied, r.copied ? "copied from training" : "not copied");
    chip(null, r.rouge === null ? "ROUGE-L not defined" : `ROUGE-L ${r.rouge.toFixed(2)}`);
    const texts = element("div", "item", ...data.fields.map(([field, title]) =>
      element("p", "", element("b", "", `${title}: `), item.text[field])));
    const made = element("article", "card", element("header", "",
      element("h3", "", name(r.annotator)), element("small", "", `item ${item.id}`)),
    texts, element("div", "sides", element("div", "", ...own), model), chips);
    made.tabIndex = 0;
    made.dataset.annotator = name(r.annotator);
    made.setAttribute("aria-label", `Response ${position + 1}, ${name(r.annotator)}, item ${item.id}`);
    return made;
  }

  function extend() {
    const shown = list.childElementCount;
    list.append(...found.slice(shown, shown + PAGE).map((r, i) => card(r, shown + i)));
    more.hidden = list.childElementCount >= found.length;
  }

  function filter() {
    const who = data.annotators.indexOf(form.annotator.value);
    const to = data.annotators.indexOf(form.to.value);
    const test = outcomes[form.outcome.value][1];
    const words = form.find.value.toLowerCase();
    found = data.responses.filter((r, i) => (who < 0 || r.annotator === who) &&
      (to < 0 || r.to === to) && test(r) && searched[i].includes(words));
    list.replaceChildren();
    extend();
    count.textContent = `${found.length} of ${data.responses.length} responses`;
  }

  function option(value, text) {
    const made = element("option", "", text);
    made.value = value;
    return made;
  }

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    if (!fields.some((field) => given.has(field))) return false;
    fields.forEach((field) => {
      const control = form[field];
      const value = given.get(field) || "";
      const known = field === "find" || [...control.options].some((o) => o.value === value);
      control.value = known ? value : control.options[0].value;
    });
    return true;
  }

  function changed() {
    const given = new URLSearchParams();
    fields.forEach((field) => {
      const value = form[field].value;
      if (value && value !== "all") given.set(field, value);
    });
    history.replaceState(null, "", `#${given}`);
    filter();
  }

  const annotators = () => [option("", "all"), ...data.annotators.map((a) => option(a, a))];
  form.annotator.append(...annotators());
  form.to.append(...annotators());
  form.outcome.append(...Object.entries(outcomes).map(([key, [text]]) => option(key, text)));
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const next = list.childElementCount;
    extend();
    if (list.children[next]) list.children[next].focus();
  });
  window.addEventListener("hashchange", () => {
    if (!read()) return;
    filter();
    document.getElementById("responses").scrollIntoView();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      form.find.focus();
    } else if (event.key === "j" || event.key === "k") {
      const cards = [...list.children];
      const next = cards.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
      if (next >= cards.length) extend();
      const target = list.children[Math.max(next, 0)];
      if (target) target.focus();
    }
  });
  if (read()) document.getElementById("responses").scrollIntoView();
  filter();
})();

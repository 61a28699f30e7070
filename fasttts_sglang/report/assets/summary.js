// The upper part of the page: problem, answer, vote, costs, the chosen path; and the parameters.

const SHOWN_VOTES = 6;

function header(data) {
  const long = (data.problem || "").length > 90;
  return el(
    "header",
    {},
    el("p", { class: "kicker" }, "fasttts · report on a search"),
    el("h1", { class: long ? "long" : null }, data.problem || "Search without a text prompt"),
  );
}

function outcome(data) {
  const answer = el("p", { class: "answer" }, data.answer === null ? "no answer" : data.answer);
  const left = section("Answer", answer, el("p", { class: "verdict" }, data.verdict));
  const right = section("Vote", votes(data.votes));
  return el("div", { class: "outcome" }, left, data.votes.length ? right : null);
}

function votes(all) {
  const most = Math.max(...all.map((vote) => vote.weight));
  const rows = (some) => el("ul", { class: "votes" }, ...some.map((vote) => row(vote, most)));
  const rest = all.slice(SHOWN_VOTES);
  const more = el("summary", {}, rest.length + " more " + (rest.length > 1 ? "answers" : "answer"));
  return el(
    "div",
    {},
    rows(all.slice(0, SHOWN_VOTES)),
    rest.length ? el("details", {}, more, rows(rest)) : null,
  );

  function row(vote, top) {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--part", top > 0 ? vote.weight / top : 0);
    return el(
      "li",
      { class: vote.chosen ? "chosen" : null },
      el("span", { class: "name", title: vote.answer }, vote.answer),
      bar,
      el("span", { class: "digits" }, vote.shown),
      el("span", { class: "note" }, vote.chosen ? "chosen" : ""),
    );
  }
}

function facts(all) {
  const tiles = all.map(([name, value, remark]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value), el("dd", { class: "remark" }, remark)),
  );
  return el("dl", { class: "facts" }, ...tiles);
}

function bestPath(best) {
  const steps = best.steps.map((step) =>
    el("li", {}, el("span", { class: "text" }, step.text.trim() || "(no text)"), score(step.score)),
  );
  return section("Chosen path", el("ol", { class: "steps" }, ...steps));
}

function parameters(all) {
  const rows = all.map((param) =>
    el(
      "div",
      { class: param.default ? null : "changed", title: param.help },
      el("dt", {}, param.name),
      el("dd", {}, param.value),
    ),
  );
  const hint = el("p", { class: "hint" }, "Those that differ from their default are in bold.");
  return section("Search parameters", hint, el("dl", { class: "params" }, ...rows));
}

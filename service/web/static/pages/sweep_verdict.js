// @ts-check
import { BASE } from "../core/api.js";
import { bestFirst } from "../core/sweep.js";
import { toYaml } from "../core/yaml.js";
import { copyText } from "../ui/copy.js";
import { duration, number } from "../ui/format.js";
import { fill, h } from "../ui/html.js";
import { intervalBar } from "../ui/interval.js";
import { extent } from "../ui/scale.js";
import { metricName, metricValue, originText, valuesText } from "../ui/metrics.js";

/** @typedef {import("../core/sweep.js").Sweep} Sweep */
/** @typedef {import("../core/sweep.js").Findings} Findings */
/** @typedef {import("../core/sweep.js").Standing} Standing */


/** What to use, and how sure that is. @param {Sweep} sweep @param {AbortSignal} life */
export function verdictPart(sweep, life) {
  const words = h("div", { "aria-live": "polite" });
  const standings = h("div");
  const effects = h("div");
  const spec = h("details", { className: "best-spec", hidden: true });
  const spent = h("dl", { className: "facts" });
  // It keeps its place until the findings come, so that nothing below moves under a user's pointer.
  const element = h("section", { className: "verdict pending" }, h("h2", {}, "Verdict"), words, standings, effects, spec, spent);
  sweep.changes.watch(() => { if (sweep.findings === null) fill(words, firstWords(sweep)); }, life);
  sweep.conclusions.watch(() => {
    const findings = sweep.findings;
    if (findings === null) return;
    element.classList.remove("pending");
    const [headline, ...more] = findings.verdict;
    fill(words, h("p", { className: "headline" }, headline), more.map((sentence) => h("p", {}, sentence)), findings.failures.map(failure));
    fill(standings, findings.standings.length > 0 && standingsTable(findings));
    fill(effects, (findings.effects?.dimensions.length ?? 0) > 0 && effectsTable(/** @type {NonNullable<Findings["effects"]>} */ (findings.effects)));
    fill(spent, costs(findings).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    showSpec(spec, findings.recommendation);
  }, life);
  return element;
}

/** What is known before the server has made the report. @param {Sweep} sweep */
function firstWords({ question, trials }) {
  const [best] = question === null ? [] : bestFirst(trials.values(), question.objectives[0]);
  const { metric } = question?.objectives[0] ?? { metric: "ap" };
  const isKnown = best !== undefined && best.objectives[0] !== null;
  return [
    isKnown && h("p", { className: "headline" }, `Best so far: trial ${best.trial}, ${metricName(metric)} ${metricValue(metric, best.objectives[0])}.`),
    h("p", { className: "faint" }, isKnown ? "How sure that is, follows in a moment." : "Reading the trials …"),
  ];
}

/** @param {Findings["failures"][number]} failure */
function failure({ code, message, trials }) {
  return h("p", { className: "warning" }, `${trials.length} ${trials.length === 1 ? "trial" : "trials"} failed (${code}): ${message}`);
}

/** @param {Findings} findings */
function standingsTable({ standings, ranking, spec: { objectives } }) {
  const range = rangeOf(standings);
  const headings = ["#", "Trial", metricName(objectives[0].metric), "Interval", ...objectives.slice(1).map(({ metric }) => metricName(metric)), "Values"];
  const row = (/** @type {Standing} */ standing) => h(
    "tr", { className: standing.rank === 1 ? "winner" : "" }, h("td", { className: "number" }, standing.rank), h("td", { className: "number" }, standing.trial),
    h("td", { className: "score" }, scoreText(standing, objectives[0].metric)),
    h("td", { className: "bars" }, intervalBar(standing.objectives[0], standing.interval, range, { tone: standing.rank === 1 ? "good" : "" })),
    objectives.slice(1).map(({ metric }, index) => h("td", { className: "number" }, metricValue(metric, standing.objectives[index + 1]))),
    h("td", { className: "values" }, namesOf(standing)),
  );
  const rest = ranking.length - standings.length;
  return h(
    "div", { className: "wide-content" },
    h("table", { className: "standings" }, h("caption", { className: "unseen" }, "Best configurations"), h("thead", {}, h("tr", {}, headings.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, standings.map(row))),
    h("p", { className: "faint" }, `A trial and its repeats with other seeds are one row. Bars are 95 % intervals over seeds; a dot without a bar is one run, whose noise is unknown.${rest > 0 ? ` ${number(rest)} more in the report.` : ""}`),
  );
}

/** Which settings mattered; the report has the words. @param {NonNullable<Findings["effects"]>} effects */
function effectsTable({ dimensions, basis, holds_for }) {
  return h(
    "div", { className: "wide-content" },
    h(
      "table", { className: "effects" }, h("caption", { className: "unseen" }, "Which settings mattered"),
      h("thead", {}, h("tr", {}, ["Setting", "Did it matter?", "To know more"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, dimensions.map(({ path, verdict, finding, to_know }) => h(
        "tr", { className: verdict === "mattered" ? "winner" : "" }, h("th", { scope: "row" }, path), h("td", {}, finding), h("td", {}, to_know || "–"),
      ))),
    ),
    h("p", { className: "faint" }, `${basis} ${holds_for}`),
  );
}

/** @param {Standing} standing */
function namesOf({ origin, values, is_finished }) {
  const name = ["plain", "published"].includes(origin) ? originText(origin) : valuesText(values);
  return [name, !is_finished && h("small", {}, " not finished")];
}

/** @param {Standing} standing @param {string} metric */
function scoreText({ objectives: [mean], interval, seed_values, chosen_at }, metric) {
  const seeds = `${seed_values.length} ${chosen_at === null ? "" : "fresh "}${seed_values.length === 1 ? "seed" : "seeds"}`;
  const half = interval ? ` ± ${metricValue(metric, (interval.high - interval.low) / 2)}` : "";
  return [`${metricValue(metric, mean)}${half}`, h("small", {}, ` ${seeds}`)];
}

/** @param {Standing[]} standings */
function rangeOf(standings) {
  const ends = standings.flatMap(({ objectives: [mean], interval }) => [mean ?? NaN, interval?.low ?? NaN, interval?.high ?? NaN]);
  return extent([ends]) ?? { low: 0, high: 1 };
}

/** @param {Findings} findings @returns {[string, string][]} */
function costs({ spent, stopping }) {
  const saved = stopping?.epochs_saved ? ` (${number(stopping.epochs_saved)} saved by stopping early)` : "";
  /** @type {[string, string][]} */
  const shown = [["trials so far", number(spent.trials)], ["epochs", `${number(spent.epochs)}${saved}`], ["training", duration(spent.train_s)], ["running time", duration(spent.wall_s)]];
  return spent.gpu_hours > 0 ? [...shown, ["GPU hours", number(spent.gpu_hours)]] : shown;
}

/** Show the job to use; what a user has opened stays open. @param {HTMLDetailsElement} place @param {Findings["recommendation"]} recommendation */
function showSpec(place, recommendation) {
  place.hidden = recommendation === null;
  if (recommendation === null) return;
  const { trial, spec, caution } = recommendation;
  const yaml = toYaml(spec);
  if (place.dataset.yaml === yaml) return;
  place.dataset.yaml = yaml;
  fill(
    place, h("summary", {}, `The job to use: trial ${trial} as a spec`), caution && h("p", { className: "notice" }, caution),
    h(
      "div", { className: "bar" }, h("button", { type: "button", on: { click: () => copyText(yaml, `the spec of trial ${trial}`) } }, "Copy"),
      h("a", { className: "button", href: `data:application/yaml;charset=utf-8,${encodeURIComponent(yaml)}`, download: `trial-${trial}.yaml` }, "Save as a file"),
      h("a", { className: "button", href: `${BASE}/submit?pasted=1`, on: { click: () => sessionStorage.setItem("fgd-draft", yaml) } }, "Submit it …"),
    ),
    h("pre", { tabIndex: 0, role: "region", "aria-label": "Spec of the job to use" }, yaml),
  );
}

"use strict";
// Follows /v1/stream; on each evaluation reads the SLOs in brief and the alerts, and redraws what changed: first what is in
// sight, the rest in small pieces of time. Numbers and states come from the server as they are: nothing is judged here.
// Text is only ever set as text, never as markup.

const $ = (id) => document.getElementById(id);
const WORDS = { ok: "ok", slow_burn: "slow burn", fast_burn: "fast burn", exhausted: "exhausted", unknown: "unknown" };
const ORDER = ["fast_burn", "exhausted", "slow_burn", "unknown", "ok"];
const KINDS = { fast_burn: "fast burn", slow_burn: "slow burn", budget: "budget", data_missing: "no data", change_worse: "change made it worse", break_glass: "break-glass access" };
const ROWS_MAX = 400;      // rows drawn at once; the filter reaches the others
const SILENCE_MS = 35000;  // three missed signs of life
const REFUSED_MS = 5000;   // so long nothing can be read at all
const LAG_MAX_S = 300;

let slos = [], alerts = [], slosText = "", alertsText = "";
let at = 0, now = 0, nowTaken = 0;   // last slice; the server's clock and when it was heard
let heard = Date.now(), following = false, reading = false, again = false, wanted = "";
let refusedSince = 0;      // since when reading fails; 0 while it works
let isOld = false;         // what is shown may not be so any more: nothing on the page may look like a yes
let decides = true;        // whether there is a gate here to read of
let aimed = "";            // the SLO that a link led to: drawn however many there are
const open = new Set(), drawn = new Map();
const wholes = new Map();  // all series of the SLOs that are open, by id
const PIECE_MS = 12;       // so long is drawn in one go

// Words of others are text, and show what in them is not seen or turns the text around it.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;
const seen = (text) => String(text).replace(UNSEEN, "\ufffd");

function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : seen(value));
  }
  for (const child of children.flat(2)) if (child !== null && child !== undefined) node.append(child instanceof Node ? child : seen(child));
  return node;
}

// === Words for numbers

const serverNow = () => now + Math.floor((Date.now() - nowTaken) / 1000);

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return s + " s";
  if (s < 90 * 60) return Math.round(s / 60) + " min";
  if (s < 48 * 3600) return (s / 3600).toFixed(s < 36000 ? 1 : 0) + " h";
  return (s / 86400).toFixed(s < 864000 ? 1 : 0) + " d";
}

function windowText(s) {
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "m"]]) if (s && s % length === 0) return s / length + unit;
  return s + "s";
}

function clock(seconds) {
  const iso = new Date(seconds * 1000).toISOString();
  const today = new Date(serverNow() * 1000).toISOString().slice(0, 10);
  return (iso.startsWith(today) ? "" : iso.slice(0, 10) + " ") + iso.slice(11, 16) + " UTC";
}

const age = (seconds) => span(serverNow() - seconds);

// A moment: how long ago, and when; the ticker keeps "how long ago" true.
function moment(seconds, before) {
  return [before || "", h("time", { datetime: new Date(seconds * 1000).toISOString(), "data-at": seconds }, age(seconds)),
    " · ", clock(seconds)];
}

function rate(burn) {
  if (burn === null) return "–";
  return (burn >= 100 ? burn.toFixed(0) : burn >= 10 ? burn.toFixed(1) : burn.toFixed(2)) + "×";
}

function percent(ratio) {
  const p = ratio * 100;
  return (Math.abs(p) >= 1000 ? p.toFixed(0) : p.toFixed(1)) + " %";
}

const labelText = (labels) => Object.entries(labels).map(([name, value]) => name + "=" + value).join(" ");
// The series without labels is the whole of a fan-out.
const seriesText = (slo, labels) => slo.by.length && !Object.keys(labels).length ? "all " + slo.by.join(", ") + " together" : labelText(labels);
const pill = (state) => h("span", { class: "pill " + state }, WORDS[state] || state);
const words = (reason) => reason.replaceAll("_", " ");

function link(text, url) {
  return /^https?:\/\//.test(url || "") ? h("a", { href: url, rel: "noreferrer", target: "_blank" }, text) : null;
}

// === One series

function budget(slo, series) {
  const left = series.budget_remaining;
  if (left === null) {
    return h("div", { class: "budget" }, h("span", { class: "unknown-word" }, "unknown"), h("div", { class: "bar none" }));
  }
  const fill = h("i");
  fill.style.width = (left <= 0 ? 100 : Math.min(100, Math.max(1, left * 100))) + "%";
  const out = left <= 0, low = left < 0.25;
  // Slower than one window is no news: what is spent by then has come back.
  const ends = out ? "overspent" : series.exhaustion_s !== null && series.exhaustion_s < slo.window_s ?
    "gone in " + span(series.exhaustion_s) + " at this burn" : null;
  return h("div", { class: "budget" },
    h("span", { class: out ? "percent out" : "percent" }, percent(left)), h("span", { class: "dim" }, " left"),
    h("div", { class: "bar" + (out ? " out" : low ? " low" : ""), role: "img", "aria-label": percent(left) + " of the error budget left" }, fill),
    h("div", { class: "sub" }, series.window.bad.toLocaleString("en") + " of " + series.window.total.toLocaleString("en") + " bad"),
    ends && h("div", { class: "sub" }, ends), series.budgets.map((one, i) => budgetOf(one, i === 0)));
}

// A window beside the main one, and what is to be known of its period.
function budgetOf(one, isMain) {
  const left = one.budget_remaining;
  const says = [];
  if (!isMain) says.push(left === null ? "unknown over " + one.name : percent(left) + " left over " + one.name);
  if (one.resets_at !== null) says.push((isMain ? one.name + " " : "") + "until " + clock(one.resets_at) + (one.time_zone === "UTC" ? "" : " (" + one.time_zone + ")"));
  const all = one.counting_all;
  if (all) says.push((all.budget_remaining === null ? "unknown" : percent(all.budget_remaining)) + " with everything counted (" + span(all.excluded_s) + " excluded)");
  const reset = one.reset && "reset " + clock(one.reset.at) + " by " + one.reset.author + ": " + one.reset.reason;
  return [says.length ? h("div", { class: "sub" }, says.join(", ")) : null, reset ? h("div", { class: "sub" }, reset) : null];
}

function burns(series) {
  return h("div", { class: "burns" }, series.clauses.map((clause) => {
    const title = "burn rate over " + windowText(clause.long_s) + " and " + windowText(clause.short_s) +
      "; fires while both exceed " + clause.factor.toPrecision(3) +
      (clause.chance === null ? "" : "; P(by chance) " + clause.chance.toExponential(1));
    const isOver = clause.burn_long !== null && clause.burn_short !== null && clause.burn_long > clause.factor && clause.burn_short > clause.factor;
    return h("div", { class: "burn" + (clause.firing ? " " + clause.speed : ""), title },
      h("span", { class: "win" }, windowText(clause.long_s) + " / " + windowText(clause.short_s)),
      h("span", { class: "rate" }, h("b", {}, rate(clause.burn_long)), h("span", { class: "dim" }, " / " + rate(clause.burn_short))),
      h("span", { class: "limit" }, (clause.firing ? "over " : "limit ") + +clause.factor.toPrecision(3) + "×"),
      isOver && !clause.firing ? h("span", { class: "limit" }, "over the limit, held" + (clause.chance === null ? "" : ": may be chance (" + odds(clause.chance) + ")")) : null);
  }));
}

// A probability for people: "3 in 1,000".
function odds(p) {
  for (const of of [100, 1000, 10000, 100000]) if (p * of >= 1) return Math.round(p * of) + " in " + of.toLocaleString("en");
  return "under 1 in 100,000";
}

function data(series) {
  const { state, reason, newest } = series.data;
  return h("div", { class: "data " + state },
    h("span", { class: "word" }, isOld ? "not known any more" : state === "fresh" ? "fresh" : state + ": " + words(reason)),
    h("div", { class: "sub newest" }, newest === null ? "no sample ever" : moment(newest, "newest ")),
    series.window.undecided ? h("div", { class: "sub", title: "slices of which the evidence says neither good nor bad; they count as good" },
      series.window.undecided + " of " + series.window.total + " slices undecided") : null,
    series.window.bad_bounds ? h("div", { class: "sub", title: "interpolated between two buckets" },
      series.window.bad + " bad: " + series.window.bad_bounds.least + " at least, " + series.window.bad_bounds.most + " at most") : null,
    series.coverage < 0.995 && series.coverage > 0 ? h("div", { class: "sub" }, percent(series.coverage) + " of the window known") : null);
}

// By how much the error rate rose, since when, and how many that are.
function rise(onset) {
  const [before, now] = [onset.bad_before / Math.max(1, onset.total_before), onset.bad / Math.max(1, onset.total)];
  const figures = (number) => number >= 100 ? number.toFixed(0) : String(+number.toPrecision(2));
  const small = (ratio) => figures(ratio * 100) + " %";
  return "errors " + (before > 0 ? figures(now / before) + "× " : "") + "since " + clock(onset.at) + ": " + small(before) + " → " + small(now) +
    ", " + onset.bad.toLocaleString("en") + " of " + onset.total.toLocaleString("en");
}

function status(series) {
  return h("div", { class: "status" }, pill(series.state),
    series.onset ? h("div", { class: "sub" }, rise(series.onset)) : null,
    series.since === null ? null : h("div", { class: "sub" }, "for ",
      h("time", { "data-at": series.since, datetime: new Date(series.since * 1000).toISOString() }, age(series.since)), h("br"), clock(series.since)));
}

function row(slo, who, series) {
  return h("div", { class: "row" }, status(series), who, budget(slo, series), burns(series), data(series));
}

// === One SLO

function drawSlo(slo) {
  const many = slo.series_count > 1, whole = wholes.get(slo.id);
  const shown = slo.series.length ? slo.series[0] : null;
  const isOpen = open.has(slo.id);
  const what = (slo.quantile ? "p" + +(slo.quantile * 100).toFixed(2) + " " : "") + slo.unit;
  const who = h("div", { class: "who" },
    h("a", { class: "name", href: "/v1/slos/" + encodeURIComponent(slo.id), title: slo.id }, slo.name),
    h("div", { class: "sub" }, slo.objective + " % of " + what + " over " + slo.window),
    shown && seriesText(slo, shown.labels) ? h("div", { class: "sub" }, (many ? "worst: " : "") + seriesText(slo, shown.labels)) : null,
    h("button", { class: "expand", "aria-expanded": String(isOpen), onclick: () => toggle(slo.id) },
      (isOpen ? "hide the curve" : "show the curve") + (many ? (isOpen ? " and the " : " and all ") + slo.series_count + " series" : "")));
  return h("div", { class: "slo", id: "slo-" + slo.id },
    shown ? row(slo, who, shown) : h("div", { class: "row" }, h("div", { class: "status" }, pill("unknown")), who),
    slo.exclusions.filter((one) => one.active).map((one) =>
      h("div", { class: "note" }, "not counted now: " + one.name + ", by " + one.author + ": " + one.reason)),
    slo.notes.map(noteOf),
    isOpen && shown ? curve(slo, shown) : null,
    many && isOpen && whole ? h("div", { class: "series" }, whole.series.map((series) =>
      row(slo, h("div", { class: "who" }, seriesText(slo, series.labels)), series))) : null,
    many && isOpen && !whole ? h("div", { class: "note" }, wholes.has(slo.id) ? "unknown: its series cannot be read" : "reading its series") : null);
}

// How old counts were made is no news at night: two words of it, and the rest for those who ask.
function noteOf(note) {
  const [words, rest] = note.split(/: (.*)/s);
  return words === "approximate history" && rest
    ? h("details", { class: "note aside" }, h("summary", {}, words), rest)
    : h("div", { class: "note" }, note);
}

// Error rate and burn over a range that ends at the last slice, drawn by the server; the chosen range holds for all.
const RANGES = { "1 h": 3600, "6 h": 21600, "3 d": 259200, "30 d": 2592000 };
let range = "6 h";

function curve(slo, series) {
  const query = new URLSearchParams({ from: series.at - RANGES[range], to: series.at, series: JSON.stringify(series.labels) });
  const path = "/v1/slos/" + encodeURIComponent(slo.id) + "/history";
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "&dark=true" : "";
  return h("figure", { class: "curve" },
    h("div", { class: "ranges", role: "group", "aria-label": "Range of the curve" }, Object.keys(RANGES).map((name) =>
      h("button", { type: "button", class: "expand", "aria-pressed": String(name === range), onclick: () => { range = name; anew(open); } }, name)),
      h("a", { href: path + "?" + query }, "as JSON"), h("a", { href: "/v1/slos/" + encodeURIComponent(slo.id) + "/explain" }, "what is counted")),
    h("img", { src: path + ".svg?" + query + dark, width: 900, height: 274, loading: "lazy",
      alt: "error rate and burn of " + slo.id + " over " + range + "; as JSON beside it" }));
}

async function toggle(id) {
  if (!open.delete(id)) open.add(id);
  wholes.delete(id);
  anew([id]);
  if (open.has(id)) { await readWhole(id); anew([id]); }
}

async function readWhole(id) {
  const slo = slos.find((slo) => slo.id === id);
  if (!slo || slo.series_count < 2) return;
  const whole = await fetch("/v1/slos/" + encodeURIComponent(id)).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
  wholes.set(id, whole);
}

// Draws these SLOs again at once.
function anew(ids) {
  for (const id of ids) {
    const slo = slos.find((slo) => slo.id === id);
    if (slo && drawn.has(id)) refresh(slo);
  }
}

// A link to #slo-ID opens the series of that SLO.
async function aim() {
  const id = decodeURIComponent(location.hash).replace(/^#slo-/, "") || new URLSearchParams(location.search).get("slo") || "";
  if (!slos.some((slo) => slo.id === id)) return;
  aimed = id;
  open.add(id);
  aiming = true;
  draw();
  anew([id]);
  look();
  await readWhole(id);
  anew([id]);
  look();
}

// Until somebody scrolls, what a link led to stays in sight while the rows above it are drawn.
let aiming = false;
const look = () => { if (aiming) document.getElementById("slo-" + aimed)?.scrollIntoView({ block: "center" }); };
for (const event of ["wheel", "touchmove", "keydown", "mousedown"]) addEventListener(event, () => { aiming = false; }, { passive: true });

// What of an SLO is to be seen: not the moment it was evaluated at.
function keyOf(slo) {
  const seen = { ...slo, series: slo.series.map(({ at, data, ...rest }) => [rest, data.state, data.reason]) };
  return JSON.stringify([seen, isOld, open.has(slo.id) && [at, range, wholes.get(slo.id)]]);
}

// The node of an SLO, as it was drawn last; one that never was is empty until its turn comes.
function node(slo) {
  const known = drawn.get(slo.id);
  if (known) return known.node;
  const made = h("div", { class: "slo waits", id: "slo-" + slo.id });
  drawn.set(slo.id, { key: "", node: made });
  return made;
}

// Draws an SLO where what it shows changed. That a newer sample came changes two words.
function refresh(slo) {
  const known = drawn.get(slo.id), key = keyOf(slo);
  if (known.key !== key) {
    const made = drawSlo(slo);
    if (known.node.isConnected) place(known.node, [...made.childNodes]);
    else known.node.replaceChildren(...made.childNodes);
    known.node.className = "slo";
    known.key = key;
    return;
  }
  const newest = slo.series[0]?.data.newest, shown = known.node.querySelector(":scope > .row .newest");
  if (newest && shown && shown.querySelector("time")?.dataset.at !== String(newest)) shown.replaceChildren(...moment(newest, "newest "));
}

// Draws what changed, what is in sight first; the rest in pieces, so that the page answers meanwhile.
let turn = 0, undrawn = 0;  // how many rows wait for their turn
function refreshAll(list) {
  const own = ++turn, height = innerHeight;
  const inSight = (one) => { const box = one.getBoundingClientRect(); return box.bottom >= -200 && box.top <= height + 200; };
  // A card that is out of sight has no layout inside; to ask a row of it where it stands would make one, card by card.
  const cards = new Set([...$("fleet").children].filter(inSight));
  const near = new Set(list.filter((slo) => { const row = drawn.get(slo.id).node; return cards.has(row.parentElement) && inSight(row); }).slice(0, 40));
  for (const slo of near) refresh(slo);
  const rest = list.filter((slo) => !near.has(slo));
  let next = 0;
  undrawn = rest.length;
  const piece = () => {
    if (own !== turn) return;
    const until = performance.now() + PIECE_MS;
    while (next < rest.length && performance.now() < until) refresh(rest[next++]);
    undrawn = rest.length - next;
    if (next < rest.length) setTimeout(piece, 0);
    else look();
  };
  if (rest.length) setTimeout(piece, 0);
}

// === The page

const hay = (slo) => [slo.id, slo.service, slo.owner, ...slo.series.map((series) => labelText(series.labels)), ...slo.labels.map(labelText)].join(" ").toLowerCase();

function draw() {
  const text = $("filter").value.trim().toLowerCase();
  const fit = slos.filter((slo) => text.split(/\s+/).every((part) => hay(slo).includes(part)));
  const counts = Object.fromEntries(ORDER.map((state) => [state, fit.filter((slo) => slo.state === state).length]));
  if (wanted && !counts[wanted]) wanted = "";
  $("states").replaceChildren(...ORDER.filter((state) => counts[state]).map((state) =>
    h("button", { type: "button", class: "pill " + state, "aria-pressed": String(wanted === state), onclick: () => { wanted = wanted === state ? "" : state; draw(); } },
      h("b", {}, counts[state]), WORDS[state])));
  drawFleet(fit.filter((slo) => !wanted || slo.state === wanted));
  const burning = counts.fast_burn + counts.slow_burn;
  document.title = (isOld ? "(old) " : burning ? "(" + burning + " burning) " : "") + "Slowburn";
}

// Puts new children into a place without taking the focus, or the place in a text, from whoever works there by keyboard.
function place(into, children) {
  const active = document.activeElement, inside = into.contains(active) && into !== active;
  const alike = (one) => one.tagName === active.tagName && one.className === active.className &&
    one.getAttribute("aria-label") === active.getAttribute("aria-label") && (one.tagName !== "A" || one.textContent === active.textContent);
  const within = (root) => [...root.querySelectorAll("a, button, input")].filter(alike);
  const owner = inside ? active.closest("[id]") : null;
  const nth = inside ? within(owner).indexOf(active) : 0;
  const caret = inside && active.tagName === "INPUT" ? [active.selectionStart, active.selectionEnd] : null;
  into.replaceChildren(...children);
  if (!inside || document.activeElement === active) return;
  const root = owner.isConnected ? owner : document.getElementById(owner.id);
  const again = active.isConnected ? active : root && (within(root)[nth] || within(root)[0]);
  if (!again) return;
  again.focus({ preventScroll: true });
  if (caret) again.setSelectionRange(...caret);
}

// Which rows are drawn where there are too many: the worst, and the one that a link led to.
function chosen(shown) {
  if (shown.length <= ROWS_MAX) return shown;
  const worst = [...shown].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state)).slice(0, ROWS_MAX);
  const target = shown.find((slo) => slo.id === aimed);
  return target && !worst.includes(target) ? [target, ...worst] : worst;
}

let layout = "";  // which rows stand where; they are moved only when that changes

function drawFleet(shown) {
  const groups = new Map();
  const list = chosen(shown);
  for (const slo of list) groups.set(slo.service, [...(groups.get(slo.service) || []), slo]);
  const rank = (list) => Math.min(...list.map((slo) => ORDER.indexOf(slo.state)));
  const sorted = [...groups].sort((a, b) => rank(a[1]) - rank(b[1]) || (a[0] < b[0] ? -1 : 1));
  const head = ([, [first]]) => [first.owner, first.annotations.channel, first.annotations.runbook];
  const wantedLayout = JSON.stringify([sorted.map((group) => [group[0], head(group), group[1].map((slo) => slo.id)]), shown.length, slos.length > 0]);
  if (wantedLayout !== layout) {
    layout = wantedLayout;
    const cards = sorted.map(([service, list], i) => h("section", { class: "service", id: "service-" + service, "aria-label": service },
      h("h2", {}, h("a", { href: "/v1/services/" + encodeURIComponent(service) }, service), h("span", { class: "dim" }, list[0].owner),
        list[0].annotations.channel ? h("span", { class: "dim" }, list[0].annotations.channel) : null,
        link("runbook", list[0].annotations.runbook)),
      i ? null : h("div", { class: "row heads" }, ["state", "SLO", "error budget", "burn rate, long / short window", "data"].map((head) => h("div", {}, head))),
      list.map(node)));
    if (!cards.length) cards.push(h("div", { class: "service empty" }, slos.length ? "No SLO matches." : "No SLO is evaluated yet."));
    if (shown.length > ROWS_MAX) cards.push(h("div", { class: "more" }, "and " + (shown.length - ROWS_MAX) + " more: use the filter"));
    place($("fleet"), cards);
  }
  refreshAll(sorted.flatMap(([, list]) => list));
}

function drawAlerts() {
  const loud = (alert) => alert.status === "firing" && !alert.inhibited_by;
  const rows = [...alerts.filter(loud), ...alerts.filter((alert) => !loud(alert))].map((alert) => {
    const resolved = alert.status === "resolved";
    const remarks = [alert.held && "held: there is no data to judge it by",
      alert.inhibited_by && "behind the " + KINDS[alert.inhibited_by] + " alert", resolved && "resolved"].filter(Boolean);
    return h("div", { class: "alert" + (loud(alert) ? "" : " quiet") },
      h("span", { class: "sev " + alert.severity }, alert.sev), h("span", { class: "state" }, KINDS[alert.kind] || alert.kind),
      h("span", { class: "what" }, h("a", { href: "#slo-" + encodeURIComponent(alert.slo_id) }, alert.slo_id), " ", h("span", { class: "dim" }, labelText(alert.series)),
        remarks.length ? h("div", { class: "remark" }, remarks.join("; ")) : null),
      h("span", { class: "dim" }, resolved ? moment(alert.resolved_at) : moment(alert.starts_at)),
      h("span", {}, link("runbook", alert.annotations.runbook)));
  });
  $("alerts").hidden = !rows.length;
  $("alerts").replaceChildren(...rows);
}

// === Reading

async function read() {
  if (reading) { again = true; return; }
  reading = true;
  try {
    const answers = await Promise.all(["/v1/slos?brief=true", "/v1/alerts"].map((path) => fetch(path).then((answer) => {
      if (!answer.ok) throw new Error(path + " answered " + answer.status);
      return answer.text();
    })));
    [heard, refusedSince] = [Date.now(), 0];
    const first = !slosText;
    if (answers[0] !== slosText) { slosText = answers[0]; slos = JSON.parse(slosText); }
    if (answers[1] !== alertsText) { alertsText = answers[1]; alerts = JSON.parse(alertsText); }
    at = slos.reduce((newest, slo) => Math.max(newest, slo.series[0]?.at ?? 0), at);
    await Promise.all([...open].map(readWhole));
    const ids = new Set(slos.map((slo) => slo.id));
    for (const id of drawn.keys()) if (!ids.has(id)) drawn.delete(id);
    draw();
    drawAlerts();
    document.dispatchEvent(new Event("slowburn:read"));
    if (first) aim();
  } catch (fault) {
    console.warn("cannot read:", fault);
    refusedSince = refusedSince || Date.now();
  }
  // At most one read a second, however fast evaluations come.
  setTimeout(() => { reading = false; if (again) { again = false; read(); } }, 1000);
  tick();
}

function follow() {
  const stream = new EventSource("/v1/stream");
  const take = (event) => {
    const summary = JSON.parse(event.data);
    [at, now, nowTaken, heard, following, decides] = [summary.at, summary.now, Date.now(), Date.now(), true, summary.decides];
    tick();
  };
  stream.addEventListener("snapshot", (event) => { take(event); read(); });
  stream.addEventListener("clock", take);
  stream.addEventListener("gate", () => document.dispatchEvent(new Event("slowburn:read")));
  stream.onerror = () => {
    following = false;
    read();
    // A refusal closes it for good; a lost connection is retried by the browser.
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 15000);
    tick();
  };
}

async function waiting() {
  const answer = await fetch("/readyz").then((answer) => answer.json()).catch(() => null);
  return answer && !answer.ready ? Object.values(answer.waiting_for).join("; ") : "nothing has been evaluated yet";
}

async function tick() {
  for (const time of document.querySelectorAll("time[data-at]")) {
    const text = age(+time.dataset.at);
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of document.querySelectorAll("time[data-until]")) {
    const left = +time.dataset.until - serverNow();
    time.textContent = left > 0 ? span(left) + " left" : "over";
    time.classList.toggle("soon", left < 120);
  }
  const silent = Date.now() - heard > SILENCE_MS || (refusedSince > 0 && Date.now() - refusedSince > REFUSED_MS);
  const lag = at > 0 ? serverNow() - at : 0;
  let text = "", bad = false;
  if (silent) [text, bad] = ["No answer from Slowburn for " + span((Date.now() - heard) / 1000) + ": what is shown is old.", true];
  else if (at === 0 && slosText) text = "Not ready: " + await waiting() + ".";
  else if (lag > LAG_MAX_S) [text, bad] = ["Evaluation is " + span(lag) + " behind: what is shown is old.", true];
  $("banner").hidden = !text;
  $("banner").className = bad ? "bad" : "";
  if ($("banner").textContent !== text) $("banner").textContent = text;
  document.body.classList.toggle("old", bad);
  if (bad !== isOld) {
    isOld = bad;
    draw();
    document.dispatchEvent(new Event("slowburn:age"));
  }
  $("live").className = "live " + (bad ? "off" : following ? "on" : "");
  $("live").textContent = (bad ? "not live" : following ? "live" : "polling") + (at ? " · slice of " + clock(at) + ", " + span(lag) + " ago" : "");
}

now = Math.floor(Date.now() / 1000);
nowTaken = Date.now();
$("filter").addEventListener("input", draw);
window.addEventListener("hashchange", aim);
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.altKey && !event.metaKey) { event.preventDefault(); $("filter").focus(); }
});
follow();
// The stream's first event brings the server's clock and the first read; without a stream there is only polling.
setTimeout(() => { if (!slosText) read(); }, 1500);
setInterval(() => { if (!following || refusedSince) read(); }, 5000);
setInterval(tick, 1000);

// === Safe to act: signals, what waits for a person, halts, the last decisions

// A person's token stays in this variable: in no storage, in no URL, gone with the page.
let token = "", gateText = "", gateSeen = [];
const told = new Map();   // what an approval's buttons answered, by its id
const writing = new Map(); // reasons being typed, by approval

const CLASSES = ["mitigate", "risk"];
const RECORDS_SHOWN = 4;   // lines of the log that stand above the fleet; the others are asked for
let logOpen = false;
const shortTime = (text) => clock(Date.parse(text) / 1000);

async function readGate() {
  if (!decides && !gateSeen.length) return;
  const paths = ["/v1/signals", "/v1/approvals", "/v1/halts", "/v1/audit?limit=12", "/v1/operators"];
  const answers = await Promise.all(paths.map((path) => fetch(path).then((answer) => (answer.ok ? answer.text() : null)).catch(() => null)));
  if (answers.every((answer) => answer === null)) {
    // No gate where there never was one; where there was, what it said is not known any more.
    if (gateSeen.length) drawGate(null, null, null, null, null);
    gateText = "";
    return;
  }
  const text = answers.join("\n");
  if (text === gateText) return;
  gateText = text;
  gateSeen = answers.map((answer) => (answer === null ? null : JSON.parse(answer)));
  drawGate(...gateSeen);
}

function drawGate(signals, approvals, halts, audit, operators) {
  const open = (approvals ? approvals.approvals : []).filter((one) => one.state === "pending" || one.state === "granted");
  const records = (audit ? audit.records : []).filter((record) => record.kind !== "acted" || record.resource);
  // Without a policy and without a record of an act there is nothing to say.
  const empty = signals && !signals.services.length && !open.length && halts && !halts.halts.length && !records.some((record) => record.resource);
  $("gate").hidden = !!empty;
  place($("gate"), [
    h("h2", {}, "Safe to act"),
    halts === null ? lost("halts") : h("div", {}, halts.halts.map(drawHalt)),
    approvals === null ? lost("approvals") : h("div", {}, open.map(drawApproval)),
    signals === null ? lost("signals") : h("div", { class: "signals" }, signals.services.map(drawSignals),
      signals.services.length ? h("div", { class: "sub" }, "mitigate: what ends a burn, such as a rollback · risk: what may begin one, such as a deploy") : null),
    operators === null ? lost("how far machines may go") : h("div", { class: "stages" }, operators.autonomy.map(drawStage)),
    audit === null ? lost("the audit log") : h("div", { class: "records" }, (logOpen ? records : records.slice(0, RECORDS_SHOWN)).map(drawRecord),
      records.length > RECORDS_SHOWN ? h("button", { type: "button", class: "expand", "aria-expanded": String(logOpen), onclick: () => { logOpen = !logOpen; drawGate(...gateSeen); } },
        logOpen ? "show only the newest" : "show " + (records.length - RECORDS_SHOWN) + " more of the log") : null)]);
}

const lost = (what) => h("div", { class: "note" }, "unknown: " + what + " cannot be read");

function drawSignals(one) {
  const word = (value) => (value === 1 ? "yes" : value === 0 ? "no" : "unknown");
  const change = one.change_state && one.change_state.state !== "idle" ? words(one.change_state.state) : null;
  return h("div", { class: "signal" }, h("b", {}, one.service),
    CLASSES.map((name) => {
      const signal = one.signals[name];
      // Only a present 1 means yes: what was said before is no answer for now.
      const value = signal && !isOld ? signal.value : -1;
      const why = signal && !isOld && signal.codes.length ? signal.codes.map(words).join(", ") : "";
      return h("span", { class: "yesno " + word(value), title: why }, name + ": " + word(value), why ? h("span", { class: "dim" }, " " + why) : null);
    }),
    change ? h("span", { class: "dim" }, change) : null);
}

// How far a machine may go by itself, where the policy has stages.
function drawStage(one) {
  const next = one.stage === one.at_most ? "" : one.improved + " of " + one.raise_after + " improved acts for the next stage, at most " + one.at_most;
  return h("div", { class: "stage" }, h("b", {}, one.operator === null ? "any other machine" : one.operator),
    " " + words(one.action) + " of " + one.service + ": " + one.stage, h("span", { class: "dim" }, " " + next));
}

function drawHalt(halt) {
  const scope = typeof halt.scope === "string" ? "everything" : Object.entries(halt.scope).map(([kind, of]) => kind + " " + of).join("");
  return h("div", { class: "halt" }, h("b", {}, "halted: " + scope), " for " + halt.actors.join(", ") + " by " + halt.owner + " until " + shortTime(halt.until) + ": ", halt.reason);
}

function facts(action, observed) {
  const rows = [];
  const names = { version: ["from_version", "to_version"], replicas: ["from_replicas", "replicas"] };
  for (const [name, [from, to]] of Object.entries(names)) {
    if (action[to] === undefined || action[to] === null) continue;
    rows.push([name, String(action[from] ?? "not said") + " → " + action[to], observed[name] === undefined || observed[name] === null ? "unknown" : String(observed[name])]);
  }
  // What nothing here can observe is part of the act all the same.
  for (const [name, value] of Object.entries(action.arguments || {})) rows.push([name, String(value), "not observed"]);
  return rows;
}

function drawApproval(one) {
  const until = Math.round(Date.parse(one.expires_at) / 1000), left = until - serverNow();
  const rows = facts(one.action, one.observed || {});
  const said = told.get(one.id);
  const reason = h("input", { type: "text", placeholder: "reason", "aria-label": "reason for the answer", maxlength: "1024" });
  reason.value = writing.get(one.id) || "";
  reason.addEventListener("input", () => writing.set(one.id, reason.value));
  const key = h("input", { type: "password", placeholder: "your token", "aria-label": "your token", autocomplete: "off" });
  key.value = token;
  key.addEventListener("input", () => { token = key.value; });
  // Whoever is known needs no token; where people sign in, a token still does when the issuer does not answer.
  const who = answers() ? [h("span", {}, "as ", h("b", {}, person.name))] : issuer ? [signInLink("Sign in to answer"), h("span", { class: "dim" }, "or"), key] : [key];
  const answer = (verdict) => () => vote(one, verdict, reason.value);
  return h("div", { class: "approval", id: "approval-" + one.id },
    h("div", {}, h("b", {}, one.action.type + " " + one.action.resource), " of service ", h("b", {}, one.action.service || "unknown"), " asked by ", h("b", {}, one.asked_by),
      one.actor && one.actor !== one.asked_by ? [" as ", h("b", {}, one.actor)] : null,
      h("span", { class: "dim" }, " " + one.have + " of " + one.need + " from " + one.from.join(", ") + " · ",
        h("time", { "data-until": until, class: left < 120 ? "soon" : null }, left > 0 ? span(left) + " left" : "over"))),
    rows.length ? h("table", { class: "claims" },
      h("tr", {}, ["what", "asked for", "observed now"].map((head) => h("th", {}, head))),
      rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell))))) : null,
    h("div", { class: "sub" }, "an approval settles: " + one.covers.map((code) => code === "approval_required" ? "the policy asks for a person" : words(code)).join("; ")),
    one.claimed_reason ? h("div", { class: "sub" }, "claimed by the requester: “" + one.claimed_reason + "”") : null,
    others(one.context).map((line) => h("div", { class: "sub" }, line)),
    one.votes.map((vote) => h("div", { class: "sub" }, "approved by " + vote.by + " at " + shortTime(vote.at))),
    one.state === "pending" ? h("div", { class: "answer" }, who, reason,
      h("button", { type: "button", class: "yes", disabled: isOld, onclick: answer("approve") }, "Approve"),
      h("button", { type: "button", class: "no", disabled: isOld, onclick: answer("reject") }, "Reject")) : h("div", { class: "sub" }, one.state + ": not used yet"),
    said ? h("div", { class: "sub told", role: "status" }, said) : null);
}

// What others say of the service: it stands beside the question, and answers nothing.
function others(context) {
  if (!context) return [];
  const alerts = context.alerts.map((one) => "meanwhile: alert " + one.name + " since " + shortTime(one.since) + (one.summary ? ": " + one.summary : ""));
  const silences = context.silences.map((one) => "meanwhile: alerts are silenced until " + shortTime(one.until) + " by " + one.by + ": " + one.comment);
  return [...alerts, ...silences, ...(context.left_out ? [context.left_out + " more"] : [])];
}

async function vote(one, verdict, reason) {
  const id = one.id;
  if (!token && !answers()) told.set(id, (issuer ? "Sign in, or give your token" : "Your token is needed") + ": an answer is yours only if you can show who you are.");
  else {
    // A yes is to the card that was shown, by its digest.
    const body = JSON.stringify({ verdict, reason: reason || null, action_digest: verdict === "approve" ? one.action.digest : null });
    const headers = { "content-type": "application/json", ...(answers() ? {} : { authorization: "Bearer " + token }) };
    const answer = await fetch("/v1/approvals/" + encodeURIComponent(id), { method: "POST", headers, body }).catch(() => null);
    const said = answer ? await answer.json().catch(() => ({})) : {};
    if (answer && answer.ok) { told.delete(id); writing.delete(id); }
    else if (answer && answer.status === 401 && answers()) {
      told.set(id, "Your sign-in has ended and nothing was answered: sign in again.");
      await readPerson();
    }
    else told.set(id, said.error ? said.error + " " + (said.hint || "") : "No answer; nothing was approved.");
  }
  gateText = "";
  readGate();
}

function drawRecord(record) {
  const result = record.decision && record.decision.result ? words(record.decision.result) : "";
  const reasons = record.decision && record.decision.reasons ? record.decision.reasons.map(words).join(", ") : "";
  const versions = record.to_version ? " " + (record.from_version || "?") + " → " + record.to_version : "";
  return h("div", { class: "record" },
    h("span", { class: "dim" }, "#" + record.log.seq + " " + shortTime(record.time)),
    h("span", { class: "kind" }, words(record.kind)),
    h("span", {}, h("b", {}, record.actor), " " + deedOf(record) + " " + (record.resource || record.service || "") + versions),
    h("span", { class: "result " + (record.decision && record.decision.result || "") }, result || outcomeOf(record),
      reasons ? h("span", { class: "dim" }, " " + reasons) : null,
      why(record) ? h("span", { class: "dim" }, " " + why(record)) : null));
}

// What a record is about, in words: of a decision the action that was asked for.
const DEEDS = {
  permit_issued: "got a permit for", permit_redeemed: "used the permit for", permit_refused: "was refused with the permit for",
  permit_revoked: "lost the permit for", permit_expired: "let the permit run out for", released: "gave back the permit for",
  approval_asked: "needs an approval for", approval_voted: "approved", approval_rejected: "rejected",
  approval_consumed: "used the approval of", outcome_reported: "said what was done to", change_observed: "changed",
  judged: "judged what came of", halted: "halted changes of", resumed: "lifted a halt of", policy_load: "loaded the policies", incident_note: "said of the incident of",
};
const deedOf = (record) => DEEDS[record.event && record.event.kind] || DEEDS[record.action] || (record.kind === "decision" ? "asked for " : "") + words(record.action);

// What became of an act: improved, no effect, worse, inconclusive, not applied.
function outcomeOf(record) {
  const verdict = record.event && record.event.verdict;
  return verdict && verdict.outcome ? words(verdict.outcome) : "";
}

// Why, as a person or the judge put it.
const why = (record) => (record.kind === "decision" || !record.reason ? "" : "“" + record.reason + "”");

document.addEventListener("slowburn:read", readGate);
document.addEventListener("slowburn:person", () => { if (gateSeen.length) drawGate(...gateSeen); });
document.addEventListener("slowburn:age", () => { if (gateSeen.length) drawGate(...gateSeen); });

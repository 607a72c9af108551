// === Incidents that go on, each told in one line; opened, with its timeline

const openIncidents = new Map(); // what was read of opened ones, by id
let incidentsText = "", incidents = [];

async function readIncidents() {
  const text = await fetch("/v1/incidents?open=true").then((answer) => (answer.ok ? answer.text() : null)).catch(() => null);
  if (text === null) return; // what is shown goes grey with everything else
  for (const id of openIncidents.keys()) await readIncident(id);
  if (text === incidentsText && !openIncidents.size) return;
  incidentsText = text;
  incidents = JSON.parse(text).incidents;
  drawIncidents();
}

async function readIncident(id) {
  const one = await fetch("/v1/incidents/" + encodeURIComponent(id)).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
  openIncidents.set(id, one);
}

function drawIncidents() {
  $("incidents").hidden = !incidents.length;
  place($("incidents"), incidents.map((one) => {
    const isOpen = openIncidents.has(one.id), whole = openIncidents.get(one.id);
    return h("div", { class: "incident", id: "incident-" + one.id },
      h("div", {}, h("b", {}, one.sev + " " + one.service), " ", one.headline),
      h("button", { type: "button", class: "expand", "aria-expanded": String(isOpen), onclick: () => toggleIncident(one.id) },
        isOpen ? "hide the timeline" : "show the timeline"), " ",
      h("a", { href: "/v1/incidents/" + encodeURIComponent(one.id) }, one.id),
      isOpen && !whole ? h("div", { class: "note" }, "unknown: it cannot be read") : null,
      whole ? h("table", { class: "timeline" }, h("tbody", {}, whole.timeline.map((line) => h("tr", {},
        h("td", {}, clock(line.at)), h("td", {}, words(line.kind)), h("td", {}, line.text), h("td", { class: "dim" }, line.source))))) : null,
      whole && whole.timeline_incomplete ? h("div", { class: "note" }, "not all: " + whole.timeline_incomplete) : null);
  }));
}

async function toggleIncident(id) {
  if (!openIncidents.delete(id)) await readIncident(id);
  drawIncidents();
}

document.addEventListener("slowburn:read", readIncidents);

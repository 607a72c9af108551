// === Who is reading: somebody who signed in or is known by a certificate, or nobody

let person = null, issuer = null;

async function readPerson() {
  const said = await fetch("/auth/session").then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
  if (!said) return;
  const changed = JSON.stringify([person, issuer]) !== JSON.stringify([said.person, said.issuer]);
  [person, issuer] = [said.person, said.issuer];
  if (!changed) return;
  drawPerson();
  document.dispatchEvent(new Event("slowburn:person"));
}

// Whoever signs in comes back to where they were.
const signInLink = (text) => h("a", { href: "/auth/sign-in", class: "sign-in", onclick: (event) => {
  event.currentTarget.href = "/auth/sign-in?to=" + encodeURIComponent("/" + location.search + location.hash);
} }, text);

function drawPerson() {
  const out = person && person.via === "oidc" ? h("button", { type: "button", class: "expand", onclick: signOut }, "Sign out") : null;
  place($("person"), person ? [h("b", {}, person.name), " ", out || ""] : issuer ? [signInLink("Sign in")] : []);
}

async function signOut() {
  await fetch("/auth/sign-out", { method: "POST" }).catch(() => null);
  await readPerson();
}

// Only a person answers a question.
const answers = () => person !== null && person.class === "human";

document.addEventListener("slowburn:read", () => {
  if (person && person.until && Date.parse(person.until) / 1000 <= serverNow()) readPerson();
});
readPerson();

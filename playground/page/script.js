"use strict";

const element = (id) => document.getElementById(id);
const editors = { policies: element("policies"), request: element("request") };

const EXAMPLES = {
  "Methods and paths": {
    policies: `# Who may call httpbin, and how: sleep, with GET and POST, on a few paths.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: allow-sleep
  namespace: default
spec:
  selector:
    matchLabels:
      app: httpbin
  action: ALLOW
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/default/sa/sleep"]
    to:
    - operation:
        methods: ["GET", "POST"]
        paths: ["/get", "/headers", "/status/*"]
---
# What nobody may call, whatever an ALLOW policy says.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: deny-admin
  namespace: default
spec:
  action: DENY
  rules:
  - to:
    - operation:
        paths: ["/admin*"]
`,
    request: `peer: spiffe://cluster.local/ns/default/sa/sleep
method: DELETE
path: /get
host: httpbin.default
scope:
  workload: {namespace: default, labels: {app: httpbin}}
`,
  },
  "Tokens and headers": {
    policies: `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: support
  namespace: shop
spec:
  rules:
  - from:
    - source:
        requestPrincipals: ["https://accounts.example.com/*"]
    to:
    - operation:
        paths: ["/orders/{*}"]
    when:
    - key: request.auth.claims[role]
      values: ["support"]
    - key: request.headers[x-region]
      notValues: ["test"]
`,
    request: `peer: spiffe://cluster.local/ns/support/sa/desk
path: /orders/7
headers: [[x-region, eu]]
claims: {iss: 'https://accounts.example.com', sub: ada, role: [support, staff]}
scope:
  workload: {namespace: shop, labels: {app: orders}}
`,
  },
  "Mutual TLS and dry run": {
    policies: `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec:
  mtls: {mode: STRICT}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: only-shop
  namespace: shop
  annotations: {istio.io/dry-run: "true"}
spec:
  rules:
  - from: [{source: {namespaces: [shop]}}]
`,
    request: `# Try: peer: plaintext
peer: spiffe://cluster.local/ns/attic/sa/web
scope:
  workload: {namespace: shop, labels: {app: orders}}
`,
  },
};

/** An element with a class and a text; what is shown is never taken as HTML. */
function made(name, className, text) {
  const one = document.createElement(name);
  if (className) one.className = className;
  if (text !== undefined) one.textContent = text;
  return one;
}

function verdict(className, text, detail) {
  element("answer").className = className;
  const shown = element("verdict");
  if (shown.textContent !== text) shown.textContent = text;
  element("detail").textContent = detail;
}

function ask() {
  const answer = wasm_bindgen.explain(editors.policies.value, editors.request.value);
  for (const id of ["problems", "rules", "shadow"]) element(id).replaceChildren();
  for (const editor of Object.values(editors)) editor.removeAttribute("aria-invalid");
  if (answer.kind === "problems") {
    const count = answer.problems.length;
    verdict("problems", "NO ANSWER", count === 1 ? "1 problem" : `${count} problems`);
    element("problems").replaceChildren(...answer.problems.map(problem));
    return;
  }
  const { decision, audit, dryRun, applying, rules } = answer.answer;
  verdict(decision.verdict, decision.verdict.toUpperCase(), `${decision.detail} (${decision.reason})`);
  const notes = [];
  if (audit) notes.push(`AUDIT: ${audit} matches`);
  if (dryRun) notes.push(`With the dry-run policies it would be: ${dryRun.detail}`);
  if (applying.length === 0) notes.push("No enforced policy applies to this workload: look at namespace and labels.");
  element("shadow").replaceChildren(...notes.map((note) => made("li", "", note)));
  element("rules").replaceChildren(...rules.map(rule));
}

function problem(found) {
  const button = made("button");
  button.type = "button";
  const place = found.line === null ? found.place : `${found.place} ${found.line}:${found.column ?? 1}`;
  button.append(made("b", "", place));
  const parts = [found.resource, found.path, found.problem].filter((part) => part !== "");
  button.append(` ${parts.join(": ")}`);
  button.addEventListener("click", () => go(editors[found.place], found.line, found.column));
  editors[found.place].setAttribute("aria-invalid", "true");
  return button;
}

function rule(said) {
  const shown = made("article", "rule");
  const head = made("h2");
  head.append(made("span", "action", said.action + (said.dryRun ? " dry run" : "")));
  head.append(made("code", "", said.rule));
  head.append(said.matched ? made("span", "matched", "matches") : made("span", "failed", "does not match"));
  shown.append(head);
  for (const failed of said.failed) {
    const line = made("p", "", "fails on ");
    line.append(made("code", "", failed.path));
    const list = made("dl");
    const field = failed.path.split(".").pop();
    const pairs = [
      [field.startsWith("not") ? "none of" : "one of", failed.wanted, ""],
      [`seen (${failed.attribute})`, failed.seen.length ? failed.seen : ["absent"], "seen"],
    ];
    for (const [name, values, className] of pairs) {
      if (values.length === 0) continue;
      list.append(made("dt", "", name), made("dd", className, values.join(", ")));
    }
    shown.append(line, list);
  }
  return shown;
}

/** Puts the cursor where a problem is. */
function go(editor, line, column) {
  const lines = editor.value.split("\n");
  const before = lines.slice(0, (line ?? 1) - 1).reduce((sum, text) => sum + text.length + 1, 0);
  const end = before + (lines[(line ?? 1) - 1] ?? "").length;
  const start = Math.min(before + (column ?? 1) - 1, end);
  editor.focus();
  editor.setSelectionRange(start, end);
  const height = parseFloat(getComputedStyle(editor).lineHeight);
  editor.scrollTop = Math.max(0, ((line ?? 1) - 4) * height);
}

function theme(name) {
  const dark = name === "dark";
  document.documentElement.dataset.theme = name;
  element("theme").setAttribute("aria-pressed", String(dark));
}

function start() {
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  theme(preferred.matches ? "dark" : "light");
  preferred.addEventListener("change", (event) => theme(event.matches ? "dark" : "light"));
  element("theme").addEventListener("click", () => {
    theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  });
  const choice = element("example");
  choice.replaceChildren(...Object.keys(EXAMPLES).map((name) => made("option", "", name)));
  const load = () => {
    for (const [name, text] of Object.entries(EXAMPLES[choice.value])) editors[name].value = text;
    ask();
  };
  choice.addEventListener("change", load);
  let waiting;
  for (const editor of Object.values(editors)) {
    editor.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(ask, 80);
    });
  }
  const text = atob(element("module").textContent.trim());
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  wasm_bindgen({ module_or_path: bytes }).then(load, (error) => {
    verdict("problems", "NO ANSWER", `The engine does not start: ${error}`);
  });
}

start();

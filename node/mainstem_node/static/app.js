// The first page: the tree of nodes, completeness by table, and the last values.
//
// 1. The status comes by server-sent events. EventSource cannot send a header, so the stream is read
//    with fetch; it reconnects by itself, with a pause that doubles up to 15 s.
// 2. Every text from the node goes into textContent: names of devices and nodes are never markup.
// 3. On 401 a token is asked for and kept in sessionStorage, that is, until the tab is closed.
"use strict";

const TOKEN_KEY = "mainstem-token";
const VALUES_EVERY_MS = 2000;
const VALUES_LIMIT = 200;
const RETRY_MS_MIN = 1000;
const RETRY_MS_MAX = 15000;
// The stream sends every second; after so long without a byte the connection is taken for dead.
const SILENCE_MS = 10000;

const $ = (id) => document.getElementById(id);
const states = new Map();
let waitingForToken = null;

// -- small things -----------------------------------------------------------------------------

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function count(number) {
  return number === null || number === undefined ? "–" : Number(number).toLocaleString();
}

function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

function stamp(ms) {
  return new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

function through(ms, now) {
  if (ms === null || ms === undefined) return "nothing verified yet";
  return `${stamp(ms)} (${duration(now - ms)} ago)`;
}

function pill(state) {
  return element("span", (state || "unknown").replace("_", " "), {
    class: "pill", "data-state": state || "unknown",
  });
}

function cell(label, content, attributes = {}) {
  const made = element("td", undefined, { "data-label": label, ...attributes });
  made.append(content instanceof Node ? content : document.createTextNode(content));
  return made;
}

function announce(text) {
  $("announcer").textContent = text;
}

// Replaces the rows of a table only when something changed: a screen reader keeps its place.
function fill(table, rows, empty, columns) {
  const body = table.tBodies[0];
  if (!rows.length) {
    const row = element("tr");
    row.append(element("td", empty, { colspan: columns, class: "empty" }));
    rows = [row];
  }
  const fresh = rows.map((row) => row.outerHTML).join("");
  if (table.shown !== fresh) {
    table.shown = fresh;
    body.replaceChildren(...rows);
  }
}

// -- talking to the node ----------------------------------------------------------------------

async function request(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN_KEY);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(path, { ...options, headers, cache: "no-store" });
    if (answer.status !== 401) return answer;
    await askForToken(token ? "This token is not valid here." : "");
  }
}

function askForToken(error) {
  if (waitingForToken) return waitingForToken;
  sessionStorage.removeItem(TOKEN_KEY);
  const dialog = $("login");
  $("login-error").textContent = error;
  waitingForToken = new Promise((resolve) => {
    $("login-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN_KEY, $("token").value.trim());
      $("token").value = "";
      dialog.close();
      waitingForToken = null;
      resolve();
    };
  });
  dialog.oncancel = (event) => event.preventDefault();
  if (!dialog.open) dialog.showModal();
  return waitingForToken;
}

async function* events(path) {
  const stop = new AbortController();
  let timer = null;
  try {
    const answer = await request(path, { signal: stop.signal });
    if (!answer.ok) throw new Error(`the node answered ${answer.status}`);
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENCE_MS);
      const { value, done } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const data = text.slice(0, end).split("\n").filter((line) => line.startsWith("data: "));
        text = text.slice(end + 2);
        if (data.length) yield JSON.parse(data.map((line) => line.slice(6)).join("\n"));
      }
    }
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

// -- what is shown ----------------------------------------------------------------------------

function connection(state) {
  const shown = $("connection");
  if (shown.dataset.state !== state) {
    shown.dataset.state = state;
    shown.textContent = state === "live" ? "live" : state;
    announce(state === "live" ? "Connected" : `Connection: ${state}`);
  }
}

function flatten(node, depth = 0, found = []) {
  found.push([node, depth]);
  for (const child of node.children || []) flatten(child, depth + 1, found);
  return found;
}

// What the top node has verified about an origin, else what the origin says itself; of a node
// without rows of its own, what is known of the nodes below it.
function completenessOf(node, top) {
  const here = (top.completeness || []).filter((item) => item.node === node.node);
  if (here.length) return here;
  const own = (node.completeness || []).filter((item) => item.node === node.node);
  if (own.length) return own;
  return (node.children || []).flatMap((child) => completenessOf(child, top));
}

function summary(items) {
  const judged = items.filter((item) => item.state !== "not_held" && item.state !== "retired");
  const known = judged.filter((item) => item.complete_through !== null);
  return {
    through: judged.length && known.length === judged.length
      ? Math.min(...known.map((item) => item.complete_through)) : null,
    holes: judged.reduce((sum, item) => sum + (item.holes || []).length, 0),
    judged: judged.length,
  };
}

function showTree(top) {
  const rows = flatten(top).map(([node, depth]) => {
    const row = element("tr", undefined, { "data-testid": "tree-row", "data-node": node.node });
    const name = element("th", undefined, { scope: "row" });
    const indent = element("span", "\u2003".repeat(Math.min(depth, 6)) + (depth ? "\u2514 " : ""), {
      "aria-hidden": "true",
    });
    name.append(indent, element("span", node.node), element("span", node.tier, { class: "badge" }));
    const delivery = node.delivery || {};
    const complete = summary(completenessOf(node, top));
    row.append(
      name,
      cell("State", pill(node.state)),
      cell("Lag", depth ? duration(node.lag_ms) : "–", { class: "number" }),
      cell("Pending rows", count(delivery.pending_rows), { class: "number" }),
      cell("Complete through", complete.judged ? through(complete.through, top.now) : "–"),
      cell("Holes", complete.judged ? count(complete.holes) : "–", { class: "number" }),
    );
    noticeState(node);
    return row;
  });
  fill($("tree"), rows, "No node.", 6);
}

function noticeState(node) {
  const before = states.get(node.node);
  states.set(node.node, node.state);
  if (before !== undefined && before !== node.state) announce(`${node.node} is now ${node.state}`);
}

function showTables(top) {
  const rows = (top.completeness || []).map((item) => {
    const row = element("tr", undefined, { "data-testid": "table-row" });
    const holes = item.holes || [];
    const listed = holes.slice(0, 20).map(([from, to]) => `${stamp(from)} – ${stamp(to)}`);
    row.append(
      element("th", item.node, { scope: "row" }),
      cell("Table", item.table, { class: "device" }),
      cell("State", pill(item.state)),
      cell("Complete through", item.state === "not_held"
        ? `held at ${item.held_at || "another node"}` : through(item.complete_through, top.now)),
      cell("Holes", count(holes.length), { class: "number", title: listed.join("\n") }),
    );
    return row;
  });
  fill($("tables"), rows, "No table has a statement yet.", 5);
}

function showVerdict(top) {
  const items = (top.completeness || []).filter((item) => item.state !== "not_held");
  const open = items.filter((item) => item.state !== "complete" && item.state !== "retired");
  const verdict = $("verdict");
  let text;
  let state;
  if (top.last_fsync_error) {
    [text, state] = [`The log failed: ${top.last_fsync_error}. Restart the node.`, "bad"];
  } else if (!items.length) {
    [text, state] = ["Nothing has been verified yet.", "warn"];
  } else if (!open.length) {
    const least = summary(items).through;
    [text, state] = [`Yes: complete through ${through(least, top.now)}.`, "good"];
  } else {
    const names = [...new Set(open.map((item) => `${item.node}: ${item.table}`))];
    const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
    [text, state] = [`Not yet: ${names.slice(0, 3).join(", ")}${more}.`, "warn"];
  }
  if (verdict.textContent !== text) verdict.textContent = text;
  verdict.dataset.state = state;
}

function showFigures(top) {
  const sums = Object.values(top.accounting || {});
  const total = (section, term) =>
    sums.reduce((sum, table) => sum + (((table[section] || {})[term]) || 0), 0);
  const nodes = flatten(top).length;
  const figures = [
    ["Nodes", count(nodes)],
    ["Rows stored", count(total("store", "live") + total("store", "unresolved"))],
    ["Pending to parent", top.delivery ? count(top.delivery.pending_rows) : "no parent"],
    ["Rows in quarantine", count(total("intake", "quarantined") + total("children", "quarantined_here"))],
  ];
  const shown = figures.map(([name, value]) => {
    const made = element("div");
    made.append(element("dt", name), element("dd", value));
    return made;
  });
  $("figures").replaceChildren(...shown);
}

function showStatus(top) {
  document.title = `${top.node} · Mainstem`;
  $("node-name").textContent = top.node;
  $("node-tier").textContent = top.tier;
  $("node-tier").hidden = false;
  showVerdict(top);
  showFigures(top);
  showTree(top);
  showTables(top);
}

function shownValue(value) {
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(7)));
  return String(value);
}

function showValues(data) {
  const rows = data.values.map((item) => {
    const row = element("tr", undefined, { "data-testid": "value-row" });
    row.append(
      element("th", item.device, { scope: "row", class: "device" }),
      cell("Measurement", item.measurement, { class: "device" }),
      cell("Value", shownValue(item.value), { class: "number value" }),
      cell("Unit", item.unit || ""),
      cell("Age", duration(data.now - item.time), { class: "number", title: stamp(item.time) }),
    );
    return row;
  });
  const filter = $("filter").value;
  fill($("last"), rows, filter ? "No device matches." : "No values yet.", 5);
  $("values-note").textContent = data.more
    ? `The first ${VALUES_LIMIT} devices; narrow the filter to see others.` : "";
}

// -- loops ------------------------------------------------------------------------------------

async function followStatus() {
  let wait = RETRY_MS_MIN;
  for (;;) {
    try {
      for await (const status of events("api/v1/live")) {
        connection("live");
        $("problem").hidden = true;
        wait = RETRY_MS_MIN;
        showStatus(status);
      }
    } catch (error) {
      $("problem").textContent = `No connection to the node (${error.message}). What is shown is old.`;
      $("problem").hidden = false;
    }
    connection("offline");
    await pause(wait);
    wait = Math.min(RETRY_MS_MAX, wait * 2);
  }
}

let renew = () => {};

async function followValues() {
  for (;;) {
    if (!document.hidden) {
      try {
        const filter = encodeURIComponent($("filter").value.trim());
        const answer = await request(`api/v1/last?limit=${VALUES_LIMIT}&filter=${filter}`);
        if (answer.ok) showValues(await answer.json());
      } catch {
        // The status stream reports the lost connection; the table keeps its last content.
      }
    }
    await Promise.race([pause(VALUES_EVERY_MS), new Promise((resolve) => { renew = resolve; })]);
  }
}

$("filter").addEventListener("input", () => renew());
followStatus();
followValues();

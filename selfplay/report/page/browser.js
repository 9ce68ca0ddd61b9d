"use strict";
// The browser for the games of a page. Every text is put in as a text node: nothing that a model wrote is ever parsed as HTML.
// What the data are: report/packed_games.py. Which games a filter means: storage/selection.py.
(async () => {
  const ROW = 56; // height of a row of the list in pixels, as in page.css
  const BEYOND = 6; // rows drawn above and below what is seen
  const MOST_OPTIONS = 400; // games about the same word that are offered beside a game
  const FILTERS = ["result", "role", "agent", "reason", "file", "word", "text"];
  const byId = (id) => document.getElementById(id);
  const list = byId("list"), rows = byId("rows"), panes = byId("panes"), status = byId("status");

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  async function unpack(text) {
    const raw = atob(text.trim());
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  }

  const data = await unpack(byId("games-index").textContent);
  const VOID = data.reasons.indexOf(data.void);
  const games = data.games.map(([file, id, word, reason, winner, agents, turns, evidence, quotation]) => {
    const players = [];
    for (let i = 0; i < agents.length; i += 2) players.push({ role: agents[i], agent: agents[i + 1] });
    return { file, id, word, reason, winner, players, turns, evidence, quotation, said: null, lower: null };
  });

  // Talk: read when it is needed, the piece of a game or, to search in it, all

  const pieces = [...document.querySelectorAll(".games-talk")].map((script) => ({ script, read: null }));
  function talk(piece) {
    pieces[piece].read ??= unpack(pieces[piece].script.textContent).then((said) => {
      said.forEach((one, at) => { games[piece * data.chunk + at].said = one; });
      pieces[piece].script.remove();
    });
    return pieces[piece].read;
  }
  const talkOf = (number) => talk(Math.floor(number / data.chunk));
  async function allTalk() {
    for (let piece = 0; piece < pieces.length; piece++) await talk(piece);
  }

  const key = (game) => `${data.files[game.file]}:${game.id}`;
  const numbers = new Map(games.map((game, number) => [key(game), number]));
  const aboutWord = new Map(); // numbers of the games about a word
  games.forEach((game, number) => {
    if (!data.words[game.word]) return;
    if (!aboutWord.has(game.word)) aboutWord.set(game.word, []);
    aboutWord.get(game.word).push(number);
  });
  const sameWord = (number) => (aboutWord.get(games[number].word) ?? []).filter((other) => other !== number);
  let shown = []; // numbers of the games that fit the filters
  let current = -1; // number of the game that is read
  let beside = -1; // number of the game beside it

  // Filters

  const choose = (name) => byId(`filter-${name}`);
  function fill(name, options) {
    const select = choose(name);
    for (const [value, label] of options) select.append(element("option", { value }, label));
    select.parentElement.hidden = options.length < 2;
  }
  const named = (names) => names.map((name, number) => [String(number), name || "(none)"]);
  const sorted = (names) => named(names).sort((a, b) => a[1].localeCompare(b[1], "en", { numeric: true }));
  const playing = new Set(games.flatMap((game) => game.players.map((player) => player.role)));
  fill("result", [["won", "won"], ["lost", "lost"], ["tied", "tied"], ["void", "void"]]);
  fill("role", named(data.roles).filter(([number]) => playing.has(Number(number))));
  fill("agent", sorted(data.agents));
  fill("reason", sorted(data.reasons));
  fill("file", named(data.files));
  fill("word", sorted(data.words));

  function result(game, role) {
    if (game.reason === VOID) return "void";
    if (game.winner < 0) return "tied";
    return game.winner === role ? "won" : "lost";
  }

  function fits(game, wanted) {
    if (wanted.reason && game.reason !== Number(wanted.reason)) return false;
    if (wanted.file && game.file !== Number(wanted.file)) return false;
    if (wanted.word && game.word !== Number(wanted.word)) return false;
    if (wanted.text) game.lower ??= game.said.map((one) => one[1].toLowerCase());
    return game.players.some(({ role, agent }) =>
      (!wanted.role || role === Number(wanted.role)) &&
      (!wanted.agent || agent === Number(wanted.agent)) &&
      (!wanted.result || result(game, role) === wanted.result) &&
      (!wanted.text || game.lower.some((text, turn) => game.said[turn][0] === role && text.includes(wanted.text))));
  }

  function wantedNow() {
    const wanted = Object.fromEntries(FILTERS.map((name) => [name, choose(name).value]));
    wanted.text = wanted.text.toLowerCase();
    return wanted;
  }

  let filtering = 0; // counts filters: one that has waited for the talk gives way to a later one
  async function filter() {
    const wanted = wantedNow(), mine = ++filtering;
    if (wanted.text && games.some((game) => !game.said)) {
      status.textContent = "Searching\u2026";
      await allTalk();
      if (mine !== filtering) return false;
    }
    shown = [];
    games.forEach((game, number) => { if (fits(game, wanted)) shown.push(number); });
    status.textContent = shown.length === games.length
      ? `${games.length.toLocaleString("en")} games`
      : `${shown.length.toLocaleString("en")} of ${games.length.toLocaleString("en")} games`;
    rows.style.height = `${shown.length * ROW}px`;
    for (const row of pool) row.dataset.at = "";
    list.scrollTop = 0;
    const place = shown.indexOf(current);
    if (place >= 0) reveal(place); else draw();
    return true;
  }

  // The list: only the rows that are seen exist

  const pool = [];
  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - BEYOND);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + BEYOND);
    while (pool.length < last - first) {
      const row = element("div", { role: "option", class: "row" }, element("div", {}), element("div", {}));
      pool.push(row);
      rows.append(row);
    }
    for (const row of pool) {
      const at = Number(row.dataset.at || -1);
      if (at < first || at >= last) { row.hidden = true; row.dataset.at = ""; }
    }
    const drawn = new Set(pool.map((row) => row.dataset.at));
    const free = pool.filter((row) => row.dataset.at === "");
    for (let at = first; at < last; at++) if (!drawn.has(String(at))) fillRow(free.pop(), at);
    for (const row of pool) if (row.dataset.at) row.setAttribute("aria-selected", shown[Number(row.dataset.at)] === current);
    const active = pool.find((row) => row.dataset.at && shown[Number(row.dataset.at)] === current);
    if (active) list.setAttribute("aria-activedescendant", active.id); else list.removeAttribute("aria-activedescendant");
  }

  function fillRow(row, at) {
    const game = games[shown[at]];
    row.hidden = false;
    row.id = `row-${at}`;
    row.dataset.at = at;
    row.style.transform = `translateY(${at * ROW}px)`;
    row.setAttribute("aria-posinset", at + 1);
    row.setAttribute("aria-setsize", shown.length);
    row.children[0].replaceChildren(
      element("b", {}, data.words[game.word] || game.id),
      element("span", { class: `won ${game.winner < 0 ? "none" : `r${game.winner}`}` }, ended(game)));
    const agents = data.agents.length > 1 ? game.players.map((player) => data.agents[player.agent]).join(" / ") : "";
    const turns = `${game.turns} ${game.turns === 1 ? "utterance" : "utterances"}`;
    row.children[1].textContent = [data.files[game.file], agents, turns, found(game)].filter(Boolean).join(" \u00b7 ");
  }

  const ended = (game) => `${data.reasons[game.reason]}, ${game.winner < 0 ? "nobody wins" : `the ${data.roles[game.winner]} wins`}`;

  // What a row quotes: the text that is sought, else what the judge decided by.
  function found(game) {
    const text = choose("text").value.toLowerCase();
    const turn = text && game.lower ? game.lower.findIndex((said) => said.includes(text)) : -1;
    if (turn < 0) return game.quotation;
    const start = Math.max(0, game.lower[turn].indexOf(text) - 12);
    return `\u2026${game.said[turn][1].slice(start, start + 80)}`;
  }

  function reveal(place) {
    const top = place * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    draw();
  }

  // Transcripts

  function show(number, other = -1, { push = true } = {}) {
    current = number;
    beside = other;
    const reading = [current, beside].filter((one) => one >= 0);
    if (reading.every((one) => games[one].said)) write(reading);
    else Promise.all(reading.map(talkOf)).then(() => { if (current === number && beside === other) write(reading); });
    const place = shown.indexOf(current);
    if (place >= 0) reveal(place); else draw();
    if (push) remember();
  }

  function write(reading) {
    panes.classList.toggle("two", reading.length > 1);
    if (reading.length) panes.replaceChildren(tools(), ...reading.map((one) => transcript(games[one])));
    else panes.replaceChildren(element("p", { class: "empty" }, "Choose a game."));
    panes.scrollTop = 0;
  }

  function tools() {
    const all = sameWord(current), every = Math.ceil(all.length / MOST_OPTIONS);
    const same = all.filter((number, at) => number === beside || at % every === 0);
    const select = element("select", { id: "beside" }, element("option", { value: "-1" }, "a game about the same word"));
    const groups = new Map();
    for (const number of same) {
      const name = data.files[games[number].file] || "games";
      if (!groups.has(name)) groups.set(name, element("optgroup", { label: name }));
      groups.get(name).append(element("option", { value: number }, `${games[number].id}: ${ended(games[number])}`));
    }
    select.append(...groups.values());
    select.value = beside;
    select.addEventListener("change", () => show(current, Number(select.value)));
    const step = (text, title, by) => {
      const button = element("button", { type: "button", title }, text);
      button.addEventListener("click", () => move(by));
      return button;
    };
    return element("div", { class: "tools" },
      step("\u2191", "the game before (k)", -1), step("\u2193", "the next game (j)", 1),
      ...(same.length ? [element("label", {}, "beside it", select)] : []),
      element("a", { href: hash(), id: "permalink" }, "permalink"));
  }

  function transcript(game) {
    const [turn, start, end] = game.evidence || [-1, 0, 0];
    const agents = new Map(game.players.map((player) => [player.role, data.agents[player.agent]]));
    const names = new Set(agents.values());
    const who = names.size > 1 ? [...agents].map(([role, agent]) => `${data.roles[role]}: ${agent}`) : [...names];
    const pane = element("article", { class: "pane" },
      element("h3", {}, data.words[game.word] ? `Secret word: ${data.words[game.word]}` : `Game ${game.id}`),
      element("p", { class: "about" }, [data.files[game.file], `game ${game.id}`, ...who].filter(Boolean).join(" \u00b7 ")));
    game.said.forEach(([role, text, truncated, thought], at) => {
      const box = element("div", { class: `turn r${role}` }, element("div", { class: "who" }, data.roles[role]));
      if (thought) box.append(element("details", { class: "thought" }, element("summary", {}, "private thought"), element("p", {}, thought)));
      const says = element("p", { class: "says" });
      if (at === turn) says.append(...hits(text.slice(0, start)), element("mark", {}, text.slice(start, end)), ...hits(text.slice(end)));
      else says.append(...hits(text));
      box.append(says);
      if (truncated) box.append(element("div", { class: "about" }, "cut at the limit of its length"));
      pane.append(box);
    });
    pane.append(element("p", { class: "verdict" }, ended(game)));
    return pane;
  }

  function hits(text) {
    const sought = choose("text").value.toLowerCase(), lower = text.toLowerCase();
    if (!sought || lower.length !== text.length) return [text];
    const parts = [];
    let from = 0;
    for (let at = lower.indexOf(sought); at >= 0; at = lower.indexOf(sought, from)) {
      parts.push(text.slice(from, at), element("mark", { class: "hit" }, text.slice(at, at + sought.length)));
      from = at + sought.length;
    }
    return [...parts, text.slice(from)];
  }

  function move(by) {
    if (!shown.length) return;
    const place = shown.indexOf(current);
    show(shown[Math.min(shown.length - 1, Math.max(0, place < 0 ? 0 : place + by))]);
  }

  // About the same word in another file (round), the furthest away; the game of the same number in its group where there is one.
  function compare() {
    if (current < 0) return;
    if (beside >= 0) return show(current);
    const game = games[current];
    const last = (id) => id.slice(id.lastIndexOf("/") + 1);
    const far = (other) => 2 * Math.abs(other.file - game.file) + (last(other.id) === last(game.id));
    const same = sameWord(current);
    if (same.length) show(current, same.reduce((best, number) => (far(games[number]) > far(games[best]) ? number : best)));
  }

  // Permalinks: filters and games in the address

  function hash() {
    const wanted = new URLSearchParams();
    for (const name of FILTERS) {
      const control = choose(name), value = control.value;
      if (value) wanted.set(name, ["result", "text"].includes(name) ? value : control.selectedOptions[0].textContent);
    }
    if (current >= 0) wanted.set("game", key(games[current]));
    if (beside >= 0) wanted.set("beside", key(games[beside]));
    return `#${wanted}`;
  }

  // Not at once: browsers refuse a page that changes its address many times a second, as where a key is held down.
  let remembering = 0;
  function remember() {
    clearTimeout(remembering);
    remembering = setTimeout(() => history.replaceState(null, "", hash()), 150);
  }

  async function restore() {
    const wanted = location.hash.includes("=") ? new URLSearchParams(location.hash.slice(1)) : new URLSearchParams();
    for (const name of FILTERS) {
      const control = choose(name), value = wanted.get(name) ?? "";
      const option = control.options && [...control.options].find((one) => one.value && [one.value, one.textContent].includes(value));
      control.value = control.options ? option?.value ?? "" : value;
    }
    if (!(await filter())) return;
    const game = wanted.get("game"), number = numbers.get(game) ?? -1;
    byId("absent").hidden = !game || number >= 0;
    if (number >= 0) show(number, numbers.get(wanted.get("beside")) ?? -1, { push: false });
    else if (shown.length) show(shown[0], -1, { push: false });
    else show(-1, -1, { push: false });
    list.scrollTop = (shown.indexOf(current) + 0.5) * ROW - list.clientHeight / 2;
    draw();
    if (wanted.size) byId("games").scrollIntoView();
  }

  let timer = 0;
  for (const name of FILTERS) {
    choose(name).addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        if (!(await filter())) return;
        show(shown.includes(current) || !shown.length ? current : shown[0], shown.includes(current) ? beside : -1);
      }, name === "text" ? 120 : 0);
    });
  }
  byId("reset").addEventListener("click", () => {
    for (const name of FILTERS) choose(name).value = "";
    filter();
    remember();
  });
  list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  addEventListener("resize", draw);
  rows.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row) show(shown[Number(row.dataset.at)]);
  });
  list.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -games.length, End: games.length }[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(by);
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === choose("text") && event.key === "Escape") { list.focus(); return; }
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const act = { j: () => move(1), k: () => move(-1), c: compare, "/": () => choose("text").focus() }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
  addEventListener("hashchange", restore);
  await restore();
  await Promise.all([current, beside].filter((one) => one >= 0).map(talkOf));
  byId("games").dataset.ready = "yes";
})().catch((error) => {
  document.getElementById("status").textContent = `The games cannot be shown by this browser (${error.message}); one of 2023 or later can.`;
});

// The playground's behaviour. Whatever came from a person or a server gets into the page as text, never as markup.

const PAUSE_MS = 250;
const PAUSE_LARGE_MS = 900;
const LARGE = 100_000;
const EXPLAINED = 8_000;
const BARS = 8;
const BACKOFF_S = [1, 2, 4, 8, 15];
const BUSY = [429, 502, 503, 504];
const BUSY_RETRIES = 5;
const UNREACHABLE = 0;
// Below this the strongest word of a text is noise, and is not painted as if it were strong.
const QUIET_PROBABILITY = 0.01;
const LIKELY = 0.5;
const NO_MODEL = "";
const KINDS = { fasttext: "fastText", model2vec: "Model2Vec" };
const TASKS = { classification: "one label", multilabel: "several labels", regression: "a number" };

const EXAMPLES = {
  "A tidy function": `def moving_average(values: list[float], width: int) -> list[float]:
    """The mean of every run of \`width\` neighbours in \`values\`."""
    if width < 1:
        raise ValueError(f"width must be at least 1, not {width}")
    total = sum(values[:width])
    averages = [total / width] if len(values) >= width else []
    for leaving, entering in zip(values, values[width:]):
        total += entering - leaving
        averages.append(total / width)
    return averages
`,
  "A messy script": `import os,sys
from utils import *
d=sys.argv[1]
x=[]
for f in os.listdir(d):
  try:
    s=open(d+'/'+f).read()
    # TODO fix this!!!
    if 'foo' in s: x.append(eval(s))
    #x.append(s)
  except: pass
print x
global tmp; tmp=x
os.system('rm -rf '+d+'/tmp')
`,
  "A paragraph of prose": `A mill does not make the grain better than it was. It takes off what nobody wants to eat, and \
leaves the rest in a shape that a baker can use. How fine it grinds is a choice, and every choice costs something: \
coarse flour keeps its flavour, fine flour rises. Whoever runs the mill should know which bread is wanted.
`,
};

const $ = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function show(element, text) {
  element.hidden = !text;
  element.textContent = text;
}

// Storage may be switched off or full; the page works without it.
const memory = {
  read(name) {
    try {
      return sessionStorage.getItem(`gristmill.${name}`) ?? "";
    } catch {
      return "";
    }
  },
  write(name, value) {
    try {
      if (value) sessionStorage.setItem(`gristmill.${name}`, value);
      else sessionStorage.removeItem(`gristmill.${name}`);
    } catch {
      // What is not kept is gone after a reload, and nothing else.
    }
  },
};

// ---- numbers and texts

const grouped = (number) => number.toLocaleString("en").replaceAll(",", "\u202f");
// Three decimals; but only what is 0 or 1 reads like it.
function probability(number) {
  if (number > 0 && number < 0.0005) return "<0.001";
  return number < 1 && number >= 0.9995 ? ">0.999" : number.toFixed(3);
}

const decimal = (number) => String(Number(number.toPrecision(5)));
const milliseconds = (number) => `${number < 10 ? number.toFixed(1) : Math.round(number)} ms`;
const characters = (count) => `${grouped(count)} character${count === 1 ? "" : "s"}`;

function signed(effect) {
  const size = Math.abs(effect);
  if (size === 0) return "0";
  const sign = effect > 0 ? "+" : "\u2212";
  return size < 0.0005 ? `${sign}<0.001` : sign + (size < 100 ? size.toFixed(3) : decimal(size));
}

// A character is a code point here, as it is for the server.
function length(text) {
  let count = text.length;
  for (let at = 0; at < text.length; at++) if (text.codePointAt(at) > 0xffff) count -= 1;
  return count;
}

function head(text, count) {
  if (text.length <= count) return text;
  let end = 0;
  for (let taken = 0; taken < count && end < text.length; taken++) end += text.codePointAt(end) > 0xffff ? 2 : 1;
  return text.slice(0, end);
}

// ---- the server

class Problem extends Error {
  constructor(status, title, detail, retryAfter = null) {
    super(detail ? `${title}: ${detail}` : title);
    Object.assign(this, { status, retryAfter });
  }
}

function secondsOf(retryAfter) {
  if (!retryAfter) return null;
  const seconds = Number(retryAfter);
  const wait = Number.isNaN(seconds) ? (Date.parse(retryAfter) - Date.now()) / 1000 : seconds;
  return Number.isNaN(wait) ? null : Math.max(0, Math.ceil(wait));
}

const TITLES = {
  404: "The server no longer has this model",
  413: "This text is too large for the server",
  422: "The server could not use this text",
};

function problemOf(response, body) {
  let said = {};
  try {
    said = JSON.parse(body) ?? {};
  } catch {
    // A proxy answers in its own words; the status says enough.
  }
  const title = TITLES[response.status] ?? said.title ?? `The server answered ${response.status}`;
  const detail = typeof said.detail === "string" ? said.detail : "";
  return new Problem(response.status, title, detail, secondsOf(response.headers.get("retry-after")));
}

async function send(path, body, signal, key) {
  const headers = { accept: "application/json" };
  if (key) headers.authorization = `Bearer ${key}`;
  if (body) headers["content-type"] = "application/json";
  const method = body ? "POST" : "GET";
  let response, answer;
  try {
    response = await fetch(path, { method, headers, signal, cache: "no-store", body: body && JSON.stringify(body) });
    answer = await response.text();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem(UNREACHABLE, "Cannot reach the server");
  }
  if (!response.ok) throw problemOf(response, answer);
  try {
    return JSON.parse(answer);
  } catch {
    throw new Problem(response.status, "The server's answer is not JSON");
  }
}

function waitAfter(problem, attempt) {
  const backoff = BACKOFF_S[Math.min(attempt, BACKOFF_S.length - 1)];
  if (problem.status === UNREACHABLE) return backoff;
  if (!BUSY.includes(problem.status) || attempt >= BUSY_RETRIES) return null;
  return problem.retryAfter ?? backoff;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

// Sends until there is an answer, asking for a key and waiting where the server wants that. `waiting` is told why.
async function request(path, body, signal, waiting) {
  for (let attempt = 0; ; attempt++) {
    if (keyring.asking) await keyring.asking.promise;
    signal.throwIfAborted();
    const key = keyring.key;
    try {
      const answer = await send(path, body, signal, key);
      keyring.accepted(key);
      return answer;
    } catch (problem) {
      if (signal.aborted || !(problem instanceof Problem)) throw problem;
      if (problem.status === 401) {
        await keyring.other(key);
        continue;
      }
      const seconds = waitAfter(problem, attempt);
      if (seconds === null) throw problem;
      const reason = problem.status === UNREACHABLE ? "Cannot reach the server; trying again" : "Busy, trying again";
      waiting(`${reason} in ${seconds} s`);
      await pause(seconds, signal);
    }
  }
}

// ---- the key, where the server wants one

const keyring = {
  key: memory.read("key"),
  asking: null,

  // Resolves when there is a key other than `refused`.
  other(refused) {
    if (this.key !== refused) return Promise.resolve();
    if (this.asking) return this.asking.promise;
    let resolve;
    this.asking = { promise: new Promise((settle) => (resolve = settle)), resolve };
    const after = refused ? "The server does not accept this key." : "";
    this.forget();
    $("key-form").hidden = false;
    $("notice").hidden = true;
    $("key-refused").textContent = after;
    // Someone in the middle of a word keeps the focus.
    if (document.activeElement !== $("text")) $("key").focus();
    return this.asking.promise;
  },

  forget() {
    memory.write("key", "");
  },

  // The key is kept in its field until it worked, so that a slip can be corrected; it is stored only after that.
  accepted(key) {
    if (!key || key !== this.key || $("key-form").hidden) return;
    memory.write("key", key);
    const focused = $("key-form").contains(document.activeElement);
    $("key-form").hidden = true;
    $("key").value = "";
    if (focused) $("text").focus();
  },

  offered(event) {
    event.preventDefault();
    const key = $("key").value.trim();
    if (!/^[\x21-\x7e]+$/.test(key)) {
      $("key-refused").textContent = "A key has no spaces and no letters beyond ASCII.";
      return;
    }
    if (key === this.key && this.asking) {
      $("key-refused").textContent = "The server does not accept this key.";
      return;
    }
    $("key-refused").textContent = "";
    this.key = key;
    this.asking?.resolve();
    this.asking = null;
  },
};

// ---- notices

function notice(element, tone, text, action) {
  element.hidden = !text;
  element.dataset.tone = tone;
  element.replaceChildren(make("span", "", text));
  if (!action) return;
  const button = make("button", "", "Try again");
  button.type = "button";
  button.addEventListener("click", action);
  element.append(button);
}

// ---- one model's answer

class Panel {
  constructor(model, position) {
    this.model = model;
    this.chosen = "";
    this.text = "";
    this.asked = new AbortController();
    this.explaining = new AbortController();
    this.element = $("panel").content.firstElementChild.cloneNode(true);
    this.bars = new Map();
    this.describe(position);
    this.part("select").addEventListener("change", (event) => {
      this.chosen = event.target.value;
      this.explain();
    });
    this.part(".more").addEventListener("click", () => {
      this.showBars(this.shown, Infinity);
      this.part(".bars").focus(); // the button that had the focus is gone
    });
    walkable(this.part(".pieces"));
  }

  part(selector) {
    return this.element.querySelector(selector);
  }

  get path() {
    return `v1/models/${encodeURIComponent(this.model.name)}`;
  }

  get regressor() {
    return this.model.task === "regression";
  }

  describe(position) {
    const { name, kind, task, labels } = this.model;
    const heading = this.part("h2");
    heading.textContent = name;
    heading.id = `panel-${position}`;
    this.element.setAttribute("aria-labelledby", heading.id);
    this.element.dataset.model = name;
    const of = this.regressor ? "" : ` of ${grouped(labels.length)}`;
    this.part(".about").textContent = `${KINDS[kind] ?? kind} · ${TASKS[task] ?? task}${of}`;
    this.part(".bars").hidden = this.regressor;
    this.part("select").hidden = this.regressor;
    this.part(".moves").textContent = this.regressor ? "Words that move the value" : "Words that move";
    if (this.regressor) {
      this.part(".for").textContent = "raises it";
      this.part(".not").textContent = "lowers it";
    }
    this.part(".pieces").setAttribute("aria-label", "The text, word by word; the arrow keys go through it");
    this.print(this.model.version, null);
  }

  drop() {
    this.asked.abort();
    this.explaining.abort();
    this.element.remove();
  }

  // Classifies `text`. Whatever was asked before is dropped, so its answer cannot come in later.
  async ask(text) {
    this.asked.abort();
    this.explaining.abort();
    const { signal } = (this.asked = new AbortController());
    this.text = text;
    this.notify("", "");
    if (!text.trim()) return this.empty();
    this.part(".invitation").hidden = true;
    this.busy(true);
    const started = performance.now();
    try {
      const answer = await request(`${this.path}:classify`, { inputs: [text] }, signal, (why) => this.notify("waiting", why));
      this.answer(answer, performance.now() - started);
    } catch (problem) {
      if (!signal.aborted) this.fail(problem);
      return;
    }
    await this.explain();
  }

  busy(is) {
    this.element.setAttribute("aria-busy", String(is));
  }

  notify(tone, text, action) {
    notice(this.part(".notice"), tone, text, action);
  }

  empty() {
    this.busy(false);
    this.part(".invitation").hidden = false;
    this.part(".answer").hidden = true;
    this.print(this.model.version, null);
  }

  fail(problem) {
    this.busy(false);
    this.part(".answer").hidden = true;
    const again = () => (problem.status === 404 ? start() : this.ask(this.text));
    // The same text would be refused again.
    this.notify("failed", problem.message, [413, 422].includes(problem.status) ? null : again);
    if (!(problem instanceof Problem)) throw problem;
  }

  answer({ version, results: [result], timing }, roundTrip) {
    this.notify("", "");
    this.part(".answer").hidden = false;
    this.part(".words-note").textContent = "";
    this.top = result.label;
    const [label, number] = this.verdict(result);
    this.part(".verdict .label").textContent = label;
    this.part(".verdict .number").textContent = number;
    if (!this.regressor) {
      this.showBars(result, this.shown && this.part(".more").hidden ? Infinity : BARS);
      this.showChoice(result);
    }
    const { max_length: most } = this.model;
    const count = length(this.text);
    show(this.part(".reach"), most && count > most ? `Reads the first ${grouped(most)} of ${characters(count)}.` : "");
    this.print(version, { ...timing, roundTrip });
    speak(`${this.model.name}: ${label} ${number}`);
  }

  verdict(result) {
    const calibrated = typeof result.calibrated === "number" ? ` · score ${decimal(result.calibrated)}` : "";
    if (this.regressor) return [decimal(result.value), calibrated.replace(" · ", "")];
    if (this.model.task !== "multilabel") return [result.label, probability(result.probability) + calibrated];
    const likely = sorted(result.probabilities).filter(([, value]) => value >= LIKELY);
    if (!likely.length) return ["none", `below ${LIKELY}${calibrated}`];
    const [[label, value], ...others] = likely;
    return [label, probability(value) + (others.length ? ` and ${others.length} more` : "") + calibrated];
  }

  showBars(result, most) {
    this.shown = result;
    const ranked = sorted(result.probabilities);
    const items = ranked.slice(0, most).map(([label, value]) => {
      if (!this.bars.has(label)) this.bars.set(label, bar(label));
      const item = this.bars.get(label);
      setBar(item, value, this.model.task === "multilabel" ? value >= LIKELY : label === result.label);
      return item;
    });
    const list = this.part(".bars");
    // Put in again only where the order changed: an element that is put in again does not glide to its new length.
    if (items.length !== list.children.length || items.some((item, at) => item !== list.children[at])) list.replaceChildren(...items);
    show(this.part(".more"), ranked.length > items.length ? `Show all ${grouped(ranked.length)} labels` : "");
  }

  showChoice(result) {
    const select = this.part("select");
    if (!select.options.length) {
      select.add(new Option("", ""));
      for (const label of this.model.labels) select.add(new Option(label, label));
    }
    select.options[0].textContent = `${result.label} (most probable)`;
    select.value = this.chosen;
  }

  print(version, timing) {
    const facts = { version: version.slice(0, 12), "normal form": this.model.normalization ?? "none" };
    if (timing) {
      facts.model = milliseconds(timing.model_ms);
      facts.queue = milliseconds(timing.queue_ms);
      facts["round trip"] = milliseconds(timing.roundTrip);
    }
    const items = Object.entries(facts).map(([name, value]) => {
      const item = make("div");
      item.append(make("dt", "", name), make("dd", "", value));
      return item;
    });
    items[0].title = version;
    this.part(".print").replaceChildren(...items);
  }

  // Asks which words move the output for the chosen label. The answer above stays, whatever becomes of this.
  async explain() {
    this.explaining.abort();
    const { signal } = (this.explaining = new AbortController());
    const input = head(this.text, EXPLAINED);
    const body = this.regressor ? { input } : { input, label: this.chosen || this.top };
    this.busy(true);
    try {
      const explanation = await request(`${this.path}:explain`, body, signal, (why) => this.remark(why));
      this.showPieces(explanation, body.label, input.length < this.text.length);
    } catch (problem) {
      if (signal.aborted) return;
      this.part(".pieces").replaceChildren();
      this.remark(problem.message);
      if (!(problem instanceof Problem)) throw problem;
    } finally {
      if (!signal.aborted) this.busy(false);
    }
  }

  remark(text) {
    this.part(".words-note").textContent = text;
  }

  showPieces({ pieces, truncated }, label, cut) {
    const strongest = pieces.reduce((most, { effect }) => Math.max(most, Math.abs(effect ?? 0)), 0);
    const scale = Math.max(strongest, this.regressor ? Number.MIN_VALUE : QUIET_PROBABILITY);
    const nodes = pieces.flatMap(({ text, effect }) => pieceNodes(text, effect, scale, label));
    hideTip();
    const place = this.part(".pieces");
    place.replaceChildren(...nodes);
    place.querySelector(".piece")?.setAttribute("tabindex", "0");
    this.part(".scale").textContent = strongest ? `strongest ${signed(strongest).replace("+", "±")}` : "no single word moves it";
    const read = pieces.reduce((sum, { text }) => sum + length(text), 0);
    if (truncated) this.remark(`Only the first ${characters(read)} are explained.`);
    else this.remark(cut ? `Only the first ${characters(read)} are explained, as a text of their own.` : "");
  }
}

const sorted = (probabilities) => Object.entries(probabilities).sort(([, one], [, other]) => other - one);

function bar(label) {
  const item = make("li");
  const meter = make("div", "meter");
  meter.setAttribute("role", "meter");
  meter.setAttribute("aria-label", label);
  meter.setAttribute("aria-valuemin", "0");
  meter.setAttribute("aria-valuemax", "1");
  meter.append(make("div", "fill"));
  item.append(make("span", "name", label), make("span", "value"), meter);
  return item;
}

function setBar(item, value, chosen) {
  const [, number, meter] = item.children;
  item.classList.toggle("chosen", chosen);
  number.textContent = probability(value);
  meter.setAttribute("aria-valuenow", String(value));
  meter.setAttribute("aria-valuetext", probability(value));
  meter.firstElementChild.style.transform = `scaleX(${value})`;
}

// ---- the words

// The nodes of one piece: its white space plain, the word itself marked by what it does.
function pieceNodes(text, effect, scale, label) {
  if (effect === null) return [text];
  const word = text.trim() || text;
  const start = text.indexOf(word);
  const weight = Math.abs(effect) / scale;
  const strength = weight < 0.02 ? "" : effect > 0 ? " supports" : " against";
  const mark = make("span", `piece${strength}`, word);
  mark.tabIndex = -1;
  mark.dataset.effect = effect;
  mark.dataset.says = signed(effect) + (label && effect ? ` ${effect > 0 ? "for" : "against"} ${label}` : "");
  mark.style.setProperty("--weight", Math.min(1, weight).toFixed(3));
  return [text.slice(0, start), mark, text.slice(start + word.length)].filter((node) => node !== "");
}

const STEPS = {
  ArrowRight: (at) => at + 1,
  ArrowDown: (at) => at + 1,
  ArrowLeft: (at) => at - 1,
  ArrowUp: (at) => at - 1,
  Home: () => 0,
  End: (_, count) => count - 1,
};

// Makes the words in `place` one stop of the Tab key, with the arrow keys going from word to word.
function walkable(place) {
  place.addEventListener("keydown", (event) => {
    if (!(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) return;
    const words = [...place.querySelectorAll(".piece")];
    const at = words.indexOf(event.target);
    if (at < 0) return;
    event.preventDefault();
    const next = words[Math.max(0, Math.min(words.length - 1, STEPS[event.key](at, words.length)))];
    words[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  for (const kind of ["focusin", "pointerover"]) {
    place.addEventListener(kind, (event) => (event.target.matches(".piece") ? showTip(event.target) : hideTip()));
  }
  for (const kind of ["focusout", "pointerleave", "scroll"]) place.addEventListener(kind, hideTip);
}

function showTip(word) {
  hideTip();
  const tip = $("tip");
  tip.textContent = word.dataset.says;
  tip.hidden = false;
  word.setAttribute("aria-describedby", "tip");
  // A word may go over several lines; the tip belongs to the first.
  const [line] = word.getClientRects();
  const own = tip.getBoundingClientRect();
  const left = Math.min(line.left, document.documentElement.clientWidth - own.width - 8);
  const above = line.top - own.height - 6;
  tip.style.translate = `${Math.max(8, left)}px ${above < 4 ? line.bottom + 6 : above}px`;
}

function hideTip() {
  $("tip").hidden = true;
  for (const word of document.querySelectorAll("[aria-describedby=tip]")) word.removeAttribute("aria-describedby");
}

// ---- the page

let models = [];
let panels = [];
let timer = 0;

function speak(text) {
  $("spoken").textContent = text;
}

function fillSelects() {
  const [first, second] = [$("model"), $("other")];
  const options = () => models.map(({ name }) => new Option(name, name));
  first.replaceChildren(...(models.length ? options() : [new Option("none", NO_MODEL)]));
  second.replaceChildren(new Option("none", NO_MODEL), ...options());
  const names = models.map(({ name }) => name);
  first.value = names.includes(memory.read("model")) ? memory.read("model") : (names[0] ?? NO_MODEL);
  second.value = names.includes(memory.read("other")) ? memory.read("other") : NO_MODEL;
  first.disabled = second.disabled = !models.length;
}

function showPanels() {
  for (const panel of panels) panel.drop();
  const names = [$("model").value, $("other").value];
  memory.write("model", names[0]);
  memory.write("other", names[1]);
  const chosen = names.map((name) => models.find((model) => model.name === name)).filter(Boolean);
  panels = chosen.map((model, position) => new Panel(model, position));
  $("answers").replaceChildren(...panels.map(({ element }) => element));
  $("bench").dataset.panels = panels.length;
  classify();
}

function classify() {
  clearTimeout(timer);
  const text = $("text").value;
  memory.write("text", text);
  // Half of a surrogate pair is no character, and no server takes it.
  const sound = text.toWellFormed?.() ?? text;
  for (const panel of panels) panel.ask(sound);
}

function typed() {
  const text = $("text").value;
  count(text);
  clearTimeout(timer);
  timer = setTimeout(classify, text.length > LARGE ? PAUSE_LARGE_MS : PAUSE_MS);
}

function count(text) {
  $("count").textContent = characters(length(text));
  $("clear").hidden = !text;
}

function fill(text) {
  $("text").value = text;
  count(text);
  classify();
}

function pressed(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    classify();
  } else if (event.key === "Escape") {
    hideTip();
  } else if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey) {
    if (event.target.matches?.("input, textarea, select")) return;
    event.preventDefault();
    $("text").focus();
  }
}

function wire() {
  for (const [name, text] of Object.entries(EXAMPLES)) {
    const button = make("button", "", name);
    button.type = "button";
    button.addEventListener("click", () => fill(text));
    $("examples").append(button);
  }
  if (/mac|iphone|ipad/i.test(navigator.platform)) $("modifier").textContent = "⌘";
  $("text").addEventListener("input", typed);
  $("clear").addEventListener("click", () => (fill(""), $("text").focus()));
  $("key-form").addEventListener("submit", (event) => keyring.offered(event));
  for (const id of ["model", "other"]) $(id).addEventListener("change", showPanels);
  document.addEventListener("keydown", pressed);
  window.addEventListener("scroll", hideTip, { passive: true });
  window.addEventListener("pagehide", () => memory.write("text", $("text").value));
}

async function start() {
  const place = $("notice");
  notice(place, "quiet", "Loading the models…");
  const { signal } = new AbortController();
  try {
    ({ models } = await request("v1/models", null, signal, (why) => notice(place, "waiting", why)));
  } catch (problem) {
    notice(place, "failed", problem.message, start);
    return;
  }
  notice(place, "quiet", models.length ? "" : "This server has no models yet.", models.length ? null : start);
  fillSelects();
  showPanels();
}

wire();
$("text").value = memory.read("text");
count($("text").value);
start();

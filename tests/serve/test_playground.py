"""The playground in a real browser.

The tests take the page from `playground_url`, and compare what it shows with what the API at that address says. So they
hold for every server that speaks it and serves two classifiers, the first of which finds words for and against its
label in TEXT with `eval(TODO)`. What a server does only in trouble (a late answer, 401, 503) is put between the browser
and the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from serve.playground_page import CONTENT_SECURITY_POLICY, playground
from tests.serve.conftest import endpoint_of, listening

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

pytestmark = pytest.mark.component

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TEXT = "def add(left, right):\n    return left + right\n"
PHONE = {"width": 390, "height": 844}
WAIT_MS = 15_000


# ---- a server that speaks the API, with models that count words

STUB_MODELS: list[dict[str, Any]] = [
    {"name": "quality", "kind": "fasttext", "task": "classification", "labels": ["good", "poor"]},
    {"name": "topics", "kind": "model2vec", "task": "multilabel", "labels": [f"topic {n}" for n in range(12)]},
    {"name": "educational value", "kind": "model2vec", "task": "regression", "labels": []},
]
for _number, _model in enumerate(STUB_MODELS):
    _model |= {"version": f"{_number}f2a9c77d0b41e6a", "max_length": None, "calibrated": False}
    _model |= {"normalization": "potion" if _number == 0 else None}
STUB_MODELS[1]["max_length"] = 400

WEIGHTS = {
    "def": 0.8,
    "return": 0.7,
    "list": 0.4,
    "float": 0.4,
    "mean": 0.5,
    "import": -0.3,
    "eval": -1.6,
    "except": -1.1,
}
WEIGHTS |= {"pass": -0.8, "TODO": -0.9, "system": -1.0, "baker": 0.5, "flour": 0.3, "nobody": -0.4}


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]+", text)


def _outputs(model: dict[str, Any], text: str) -> dict[str, float]:
    score = sum(WEIGHTS.get(word, 0.0) for word in _words(text))
    good = 1 / (1 + 2.718281828 ** -(0.2 + score))
    if model["task"] == "classification":
        return {"good": round(good, 6), "poor": round(1 - good, 6)}
    if model["task"] == "multilabel":
        return {label: round((good + 0.37 * place) % 1, 6) for place, label in enumerate(model["labels"])}
    return {"value": round(5 * good, 6)}


def _result(model: dict[str, Any], text: str) -> dict[str, Any]:
    outputs = _outputs(model, text)
    if model["task"] == "regression":
        return outputs
    label = max(outputs, key=lambda name: outputs[name])
    return {"label": label, "probability": outputs[label], "probabilities": outputs}


def _explanation(model: dict[str, Any], text: str, label: str | None) -> dict[str, Any]:
    whole = _result(model, text)
    chosen = label or whole.get("label") or "value"
    at_start, pieces = _outputs(model, text)[chosen], []
    words = _words(text[:1000])
    for place, word in enumerate(words):
        without = "".join(words[:place] + words[place + 1 :])
        effect = None if word.isspace() else round(at_start - _outputs(model, without)[chosen], 6)
        pieces.append({"text": word, "effect": effect})
    named = {"value": at_start, "label": None} if chosen == "value" else {"probability": at_start, "label": chosen}
    return named | {"pieces": pieces, "method": "occlusion"} | ({"truncated": True} if len(text) > 1000 else {})


class _Stub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/":
            self._send(200, "text/html; charset=utf-8", playground())
        elif self.path == "/v1/models":
            self._send_json(200, {"models": STUB_MODELS})
        else:
            self._problem(404, "Not Found")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name, _, verb = urllib.request.unquote(self.path.removeprefix("/v1/models/")).rpartition(":")
        model = next((model for model in STUB_MODELS if model["name"] == name), None)
        if model is None:
            self._problem(404, "Not Found")
        elif verb == "classify":
            results = [_result(model, text) for text in body["inputs"]]
            self._answer(model, {"results": results, "timing": {"queue_ms": 0.1, "model_ms": 0.42}})
        else:
            self._answer(model, _explanation(model, body["input"], body.get("label")))

    def _answer(self, model: dict[str, Any], answer: dict[str, Any]) -> None:
        self._send_json(200, {"model": model["name"], "version": model["version"]} | answer)

    def _problem(self, status: int, title: str) -> None:
        self._send(status, "application/problem+json", json.dumps(problem(status, title)).encode())

    def _send_json(self, status: int, answer: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(answer).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", CONTENT_SECURITY_POLICY)
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # the page took its question back
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


GOOD = (
    "def add ( left , right ) : return left + right",
    "def mean ( values ) : return total / width",
    "def f ( x ) : return x list float",
)
POOR = ("import os , sys eval ( TODO )", "except : pass eval ( s ) # TODO newer", "print x import eval")


def _trained(folder: Path, name: str, good: str, poor: str) -> Path:
    """A small model of programs that are well written, and others."""
    from actors.classifiers.fasttext import FastTextParams, train

    lines = folder / f"{name}.txt"
    pairs = zip(GOOD, POOR, strict=True)
    lines.write_text("".join(f"__label__{good} {one}\n__label__{poor} {other}\n" for one, other in pairs) * 20)
    params = FastTextParams(dimension=8, bucket=50, min_count=1, learning_rate=0.5, epoch=8)
    train(lines, folder / name, params)
    return folder / name


@pytest.fixture(scope="module", params=["stub", "endpoint"])
def playground_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page, with the API below it: of the stub, and of the real endpoint."""
    if request.param == "endpoint":
        folder = tmp_path_factory.mktemp("playground")
        models = {
            "quality": _trained(folder, "quality", "good", "poor"),
            "second": _trained(folder, "second", "fine", "odd"),
        }
        with ThreadPoolExecutor(1) as elsewhere:  # Playwright has an event loop in this thread
            endpoint = elsewhere.submit(lambda: asyncio.run(endpoint_of(**models))).result()
        with listening(endpoint) as url:
            yield f"{url}/"
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


# ---- the browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: Any, playground_url: str) -> Any:
    """The page, with its models loaded."""
    page = context.new_page()
    page.goto(playground_url)
    expect(page.locator(".panel")).to_have_count(1)
    return page


def models(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}v1/models") as response:
        return json.load(response)["models"]


def ask(url: str, name: str, verb: str, **body: Any) -> dict[str, Any]:
    address = f"{url}v1/models/{urllib.request.quote(name)}:{verb}"
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode(), headers)) as response:
        return json.load(response)


def problem(status: int, title: str, detail: str = "") -> dict[str, Any]:
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def refuse(route: Any, status: int, title: str, detail: str = "", **headers: str) -> None:
    body = json.dumps(problem(status, title, detail))
    route.fulfill(status=status, headers={"content-type": "application/problem+json"} | headers, body=body)


def settled(page: Any) -> None:
    """Wait until every panel has its answer and its words."""
    expect(page.locator(".panel[aria-busy=true]")).to_have_count(0)
    expect(page.locator(".panel .answer:visible")).not_to_have_count(0)


def classify(page: Any, text: str) -> None:
    page.locator("#text").fill(text)
    page.locator("#text").press("Control+Enter")
    settled(page)


def effects_on(page: Any) -> list[float]:
    """The effects of the words that the page shows."""
    return [float(effect) for effect in page.locator(".piece").evaluate_all("all => all.map(e => e.dataset.effect)")]


def shown(probability: float) -> str:
    """A probability as the page writes it."""
    if 0 < probability < 0.0005:
        return "<0.001"
    return ">0.999" if 0.9995 <= probability < 1 else f"{probability:.3f}"


# ---- what it shows


def test_a_typed_text_gets_the_bars_and_numbers_that_the_api_gives(page, playground_url):
    (model, *_) = models(playground_url)
    page.locator("#text").press_sequentially(TEXT)
    settled(page)
    expected = ask(playground_url, model["name"], "classify", inputs=[TEXT])["results"][0]
    expect(page.locator(".verdict .label")).to_have_text(expected["label"])
    expect(page.locator(".verdict .number")).to_contain_text(shown(expected["probability"]))
    ranked = sorted(expected["probabilities"].items(), key=lambda entry: -entry[1])[:8]
    expect(page.locator(".bars .name")).to_have_text([label for label, _ in ranked])
    expect(page.locator(".bars .value")).to_have_text([shown(value) for _, value in ranked])
    meter = page.get_by_role("meter", name=ranked[0][0], exact=True)
    expect(meter).to_have_attribute("aria-valuenow", str(ranked[0][1]))
    full, filled = (page.locator(f".bars li:first-child .{part}").bounding_box() for part in ("meter", "fill"))
    assert filled["width"] / full["width"] == pytest.approx(ranked[0][1], abs=0.02)
    expect(page.locator("#count")).to_have_text(f"{len(TEXT)} characters")
    expect(page.locator(".print")).to_contain_text(model["version"][:12])


def test_each_word_carries_its_effect_and_its_sign_not_by_colour_alone(page, playground_url):
    text = f"{TEXT}eval(TODO)\n"
    classify(page, text)
    name = models(playground_url)[0]["name"]
    expected = ask(playground_url, name, "explain", input=text)
    assert page.locator(".pieces").evaluate("element => element.textContent") == text
    effects = [piece["effect"] for piece in expected["pieces"] if piece["effect"] is not None]
    words = page.locator(".piece")
    assert effects_on(page) == effects
    for place, effect in ((effects.index(max(effects)), "supports"), (effects.index(min(effects)), "against")):
        expect(words.nth(place)).to_have_class(f"piece {effect}")
    lines = [
        page.locator(f".pieces .{kind}").first.evaluate("e => getComputedStyle(e).textDecorationStyle")
        for kind in ("supports", "against")
    ]
    assert lines == ["solid", "wavy"]
    words.nth(effects.index(min(effects))).hover()
    expect(page.get_by_role("tooltip")).to_contain_text("\u2212")
    expect(page.get_by_role("tooltip")).to_contain_text(f"against {expected['label']}")


def test_another_label_can_be_explained(page, playground_url):
    classify(page, TEXT)
    name, *_ = (model["name"] for model in models(playground_url))
    first = ask(playground_url, name, "explain", input=TEXT)
    other = next(label for label in models(playground_url)[0]["labels"] if label != first["label"])
    page.locator(".words select").select_option(other)
    expected = ask(playground_url, name, "explain", input=TEXT, label=other)
    effects = [piece["effect"] for piece in expected["pieces"] if piece["effect"] is not None]
    expect(page.locator(".piece").first).to_have_attribute("data-says", re.compile(re.escape(other)))
    assert effects_on(page) == effects
    expect(page.locator(".verdict .label")).to_have_text(first["label"])


def test_two_models_stand_side_by_side(page, playground_url):
    first, second = (model["name"] for model in models(playground_url)[:2])
    page.locator("#other").select_option(second)
    classify(page, TEXT)
    expect(page.locator(".panel h2")).to_have_text([first, second])
    expect(page.locator(".verdict .label").first).not_to_be_empty()
    expect(page.locator(".verdict .label").nth(1)).not_to_be_empty()
    left, right = (page.locator(".panel").nth(place).bounding_box() for place in (0, 1))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    page.locator("#other").select_option("none")
    expect(page.locator(".panel")).to_have_count(1)


def test_the_text_and_the_models_survive_a_reload(page, playground_url):
    second = models(playground_url)[1]["name"]
    page.locator("#other").select_option(second)
    classify(page, TEXT)
    page.reload()
    expect(page.locator("#text")).to_have_value(TEXT)
    expect(page.locator(".panel h2").nth(1)).to_have_text(second)
    settled(page)


def test_an_empty_text_is_invited_and_not_sent(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    expect(page.locator(".invitation")).to_be_visible()
    page.locator("#text").fill("  \n")
    page.locator("#text").press("Control+Enter")
    page.wait_for_timeout(600)
    assert asked == []
    expect(page.locator(".invitation")).to_be_visible()
    page.get_by_role("button", name="A tidy function").click()
    settled(page)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".invitation")).to_be_visible()
    expect(page.locator("#text")).to_be_focused()


def test_markup_in_a_text_stays_text(page):
    text = "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b>"
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    classify(page, text)
    assert page.locator(".pieces").evaluate("element => element.textContent") == text
    assert page.locator(".pieces :is(img, script, b)").count() == 0


def test_markup_in_a_model_and_in_a_problem_stays_text(context, playground_url):
    markup = "<img src=x onerror=alert(1)>"
    entry = models(playground_url)[0] | {"name": markup, "labels": [markup]}
    page = context.new_page()
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": [entry]}))
    page.route("**/*:classify", lambda route: refuse(route, 422, "Unprocessable", markup))
    page.goto(playground_url)
    page.locator("#text").fill("a text")
    expect(page.locator(".panel .notice")).to_contain_text(markup)
    expect(page.locator(".panel h2")).to_have_text(markup)
    assert page.locator("img").count() == 0


# The longest time in which the page did nothing else, from a clock that should tick every 20 ms.
WATCH = """() => {
  let last = performance.now();
  window.longest = 0;
  setInterval(() => { const now = performance.now(); window.longest = Math.max(window.longest, now - last); last = now; }, 20);
}"""


def test_a_pasted_megabyte_does_not_freeze_and_only_its_head_is_explained(page, context):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    text = "x = 1 # ünïcode 🜨\n" * 55_000
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.evaluate(WATCH)
    sent = []
    page.on("request", lambda request: sent.append(request) if request.url.endswith(":explain") else None)
    page.locator("#text").focus()
    page.keyboard.press("Control+v")
    settled(page)
    expect(page.locator("#count")).to_have_text("990\u202f000 characters")
    assert len(sent[-1].post_data_json["input"]) == 8_000
    expect(page.locator(".words-note")).to_contain_text("Only the first")
    assert page.evaluate("longest") < 4_000


def test_it_says_when_the_model_reads_only_the_head(context, playground_url):
    entry = models(playground_url)[0] | {"max_length": 20}
    page = context.new_page()
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": [entry]}))
    page.goto(playground_url)
    classify(page, "a" * 21)
    expect(page.locator(".reach")).to_have_text("Reads the first 20 of 21 characters.")
    classify(page, "a" * 20)
    expect(page.locator(".reach")).to_be_hidden()


# ---- how it is reached


def test_the_keyboard_alone_goes_from_load_to_the_effect_of_a_word(page):
    for target in ("#model", "#other", "#text"):
        page.keyboard.press("Tab")
        expect(page.locator(target)).to_be_focused()
    assert page.locator("#text").evaluate("element => getComputedStyle(element).outlineStyle") != "none"
    page.keyboard.type("eval def / return")
    expect(page.locator("#text")).to_have_value("eval def / return")
    page.keyboard.press("Control+Enter")
    settled(page)
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.piece')"):
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    expect(page.locator(".piece").first).to_be_focused()
    expect(page.get_by_role("tooltip")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".piece").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#tip")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#text")).to_have_value("eval def / return")


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_has_no_sideways_scrolling_and_stacks_the_models(page, playground_url, width):
    page.set_viewport_size(PHONE | {"width": width})
    page.locator("#other").select_option(models(playground_url)[1]["name"])
    classify(page, TEXT + "w" * 300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".pieces").evaluate_all("all => all.every(place => place.scrollWidth <= place.clientWidth)")
    first, second = (page.locator(".panel").nth(place).bounding_box() for place in (0, 1))
    assert second["y"] >= first["y"] + first["height"]
    assert first["x"] == second["x"]


def luminance(colour: str) -> float:
    parts = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# Colours are painted on a canvas over what lies behind them, so mixtures and transparency count as they are seen.
CONTRASTS = """selectors => selectors.map(selector => {
  const element = document.querySelector(selector), layers = [];
  for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
  const brush = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = colour => { brush.fillStyle = colour; brush.fillRect(0, 0, 1, 1); return brush.getImageData(0, 0, 1, 1).data.join(); };
  const behind = layers.map(paint).at(-1);
  return [paint(getComputedStyle(element).color), behind];
})"""


def test_dark_and_light_differ_and_every_kind_of_text_has_contrast(page):
    classify(page, f"{TEXT} eval(1)")
    kinds = [
        "body",
        "h1 span",
        "#count",
        ".about",
        ".bars .value",
        ".print dd",
        ".legend",
        ".notice",
        "#clear",
        "#keys",
    ]
    kinds += [".verdict .number", ".pieces .supports", ".pieces .against", ".sample.supports", ".sample.against", "kbd"]
    backgrounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        pairs = page.evaluate(CONTRASTS, kinds)
        backgrounds.add(pairs[0][1])
        for kind, (text, behind) in zip(kinds, pairs, strict=True):
            darker, lighter = sorted((luminance(text), luminance(behind)))
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (scheme, kind, text, behind)
    assert len(backgrounds) == 2


def test_nothing_moves_where_less_motion_is_wanted(page):
    page.emulate_media(reduced_motion="reduce")
    classify(page, TEXT)
    assert page.locator(".fill").first.evaluate("element => getComputedStyle(element).transitionDuration") == "0s"


# ---- what it does in trouble


def test_an_older_answer_that_comes_late_changes_nothing(page, playground_url):
    held = []

    def hold_the_older(route):
        if route.request.post_data_json["inputs"] == ["older"]:
            held.append(route)
        else:
            route.continue_()

    page.route("**/*:classify", hold_the_older)
    page.locator("#text").fill("older")
    page.locator("#text").press("Control+Enter")
    page.wait_for_timeout(100)
    classify(page, "eval newer")
    expected = ask(playground_url, models(playground_url)[0]["name"], "classify", inputs=["eval newer"])["results"][0]
    late = {"label": "late", "probability": 1.0, "probabilities": {"late": 1.0}}
    (route,) = held
    with suppress(sync_api.Error):  # it was taken back
        route.fulfill(json={"model": "m", "version": "v", "results": [late], "timing": {"queue_ms": 0, "model_ms": 0}})
    page.wait_for_timeout(500)
    expect(page.locator(".verdict .label")).to_have_text(expected["label"])
    expect(page.locator(".pieces")).to_have_text("eval newer")


def guard(page: Any, key: str) -> None:
    def check(route: Any) -> None:
        if route.request.headers.get("authorization") == f"Bearer {key}":
            route.continue_()
        else:
            refuse(route, 401, "Unauthorized", "give a key")

    page.route("**/v1/**", check)


def test_a_key_is_asked_for_and_kept_for_the_session_only(context, playground_url):
    page = context.new_page()
    guard(page, "the-right-key")
    page.goto(playground_url)
    field = page.locator("#key")
    expect(field).to_be_visible()
    expect(field).to_be_focused()
    assert (field.get_attribute("type"), field.get_attribute("autocomplete")) == ("password", "off")
    page.keyboard.type("a-wrong-key\n")
    expect(page.locator("#key-refused")).to_contain_text("does not accept")
    assert "a-wrong-key" not in page.evaluate("JSON.stringify({...sessionStorage})")
    field.fill("the-right-key")
    field.press("Enter")
    expect(page.locator("#key-form")).to_be_hidden()
    classify(page, TEXT)
    assert "the-right-key" in page.evaluate("JSON.stringify({...sessionStorage})")
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("document.cookie") == ""
    assert page.url == playground_url
    assert "the-right-key" not in page.content()
    page.reload()
    settled(page)
    expect(page.locator("#key-form")).to_be_hidden()


def test_a_key_that_is_withdrawn_is_asked_for_again(page):
    classify(page, TEXT)
    guard(page, "a-new-key")
    page.locator("#text").fill("another text")
    expect(page.locator("#key")).to_be_visible()
    page.locator("#key").fill("a-new-key")
    page.get_by_role("button", name="Use this key").click()
    settled(page)
    expect(page.locator(".pieces")).to_have_text("another text")


def test_a_busy_server_is_asked_again_when_it_says(page):
    times = []

    def busy_twice(route):
        times.append(page.evaluate("performance.now()"))
        if len(times) <= 2:
            refuse(route, 503, "Service Unavailable", "the queue is full", **{"retry-after": "1"})
        else:
            route.continue_()

    page.route("**/*:classify", busy_twice)
    page.locator("#text").fill(TEXT)
    expect(page.locator(".panel .notice")).to_have_text("Busy, trying again in 1 s")
    settled(page)
    assert len(times) == 3
    assert all(later - earlier >= 950 for earlier, later in pairwise(times))
    expect(page.locator(".panel .notice")).to_be_hidden()


def test_a_server_that_stays_busy_is_given_up_until_asked(page):
    asked = []
    busy = lambda route: (asked.append(route), refuse(route, 429, "Too Many Requests", **{"retry-after": "0"}))  # noqa: E731
    page.route("**/*:classify", busy)
    page.locator("#text").fill(TEXT)
    again = page.get_by_role("button", name="Try again")
    expect(again).to_be_visible()
    assert len(asked) == 6
    page.unroute("**/*:classify")
    again.click()
    settled(page)


def test_a_server_that_is_gone_is_tried_until_it_is_back(context, playground_url):
    page = context.new_page()
    page.route("**/v1/models", lambda route: route.abort("connectionrefused"))
    page.goto(playground_url)
    expect(page.locator("#notice")).to_contain_text("Cannot reach the server; trying again in")
    page.unroute("**/v1/models")
    expect(page.locator(".panel")).to_have_count(1)
    expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize(
    ("status", "said"), [(413, "too large"), (422, "could not use this text"), (404, "no longer"), (500, "Oh dear")]
)
def test_a_refused_text_says_why_and_the_next_one_works(page, status, said):
    page.route("**/*:classify", lambda route: refuse(route, status, "Oh dear", "for this reason"))
    page.locator("#text").fill(TEXT)
    notice = page.locator(".panel .notice")
    expect(notice).to_contain_text(said)
    expect(notice).to_contain_text("for this reason")
    page.unroute("**/*:classify")
    classify(page, "another")
    expect(notice).to_be_hidden()


def test_words_that_cannot_be_explained_leave_the_answer(page):
    page.route("**/*:explain", lambda route: refuse(route, 500, "Oh dear"))
    classify(page, TEXT)
    expect(page.locator(".words-note")).to_have_text("Oh dear")
    expect(page.locator(".verdict .label")).not_to_be_empty()


def test_a_server_without_models_says_so(context, playground_url):
    page = context.new_page()
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": []}))
    page.goto(playground_url)
    expect(page.locator("#notice")).to_contain_text("no models")
    expect(page.locator("#model")).to_be_disabled()


def test_no_request_leaves_for_another_host_and_the_console_stays_silent(context, playground_url):
    page, complaints, asked = context.new_page(), [], []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(playground_url)
    for model in models(playground_url):
        page.locator("#other").select_option(model["name"])
        for name in ("A tidy function", "A messy script", "A paragraph of prose"):
            page.get_by_role("button", name=name).click()
            settled(page)
    page.locator(".piece").first.hover()
    assert complaints == []
    assert {address for address in asked if not address.startswith((playground_url, "data:"))} == set()
    assert page.evaluate("getComputedStyle(document.querySelector('.fill')).transform") != "none"

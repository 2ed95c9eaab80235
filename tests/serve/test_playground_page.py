import base64
import hashlib
import re
from html.parser import HTMLParser
from urllib.parse import unquote

from serve.playground_page import CONTENT_SECURITY_POLICY, playground

PAGE = playground().decode()
DIRECTIVES = {
    name: values.split() for name, _, values in (part.partition(" ") for part in CONTENT_SECURITY_POLICY.split("; "))
}
LOADS = {"src", "srcset", "action", "formaction", "poster", "data", "background", "ping"}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.blocks = {"style": [], "script": []}
        self._within = None

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._within = tag if tag in self.blocks else None

    def handle_endtag(self, tag):
        self._within = None

    def handle_data(self, data):
        if self._within:
            self.blocks[self._within].append(data)


def tags():
    parser = Tags()
    parser.feed(PAGE)
    parser.close()
    return parser


def hashed(block):
    return f"'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'"


def test_the_page_is_one_document_that_loads_nothing():
    links = [attributes for tag, attributes in tags().found if tag == "link"]
    assert [link["rel"] for link in links] == ["icon"]
    assert links[0]["href"].startswith("data:image/svg+xml,")
    assert "<svg xmlns=" in unquote(links[0]["href"])
    assert not [(tag, name) for tag, attributes in tags().found for name in attributes if name in LOADS]
    assert "@import" not in PAGE
    assert "url(" not in PAGE


def test_no_address_of_another_host_is_in_it():
    assert not re.search(r"https?:|[\"'(]//|wss?:", PAGE)


def test_the_policy_admits_exactly_the_two_blocks_by_their_hashes():
    blocks = tags().blocks
    assert len(blocks["style"]) == len(blocks["script"]) == 1
    assert DIRECTIVES["style-src"] == [hashed(block) for block in blocks["style"]]
    assert DIRECTIVES["script-src"] == [hashed(block) for block in blocks["script"]]


def test_the_policy_forbids_everything_else():
    assert DIRECTIVES["default-src"] == ["'none'"]
    assert DIRECTIVES["connect-src"] == ["'self'"]
    assert DIRECTIVES["img-src"] == ["data:"]
    assert all(DIRECTIVES[name] == ["'none'"] for name in ("base-uri", "form-action", "frame-ancestors"))
    assert DIRECTIVES["require-trusted-types-for"] == ["'script'"]
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "\n" not in CONTENT_SECURITY_POLICY


def test_no_attribute_holds_what_the_policy_would_block():
    attributes = [(tag, name, value or "") for tag, found in tags().found for name, value in found.items()]
    assert not [entry for entry in attributes if entry[1].startswith("on") or entry[1] == "style"]
    assert not [entry for entry in attributes if entry[2].strip().lower().startswith("javascript:")]


def test_the_script_never_writes_markup():
    (script,) = tags().blocks["script"]
    forbidden = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "setHTML")
    assert not [name for name in (*forbidden, "new Function", "srcdoc") if name in script]


def test_the_key_goes_to_the_session_only():
    (script,) = tags().blocks["script"]
    assert "localStorage" not in script
    assert "document.cookie" not in script
    assert not re.search(r"location|history\.", script)


def test_every_field_has_a_name_and_ids_are_unique():
    found = tags().found
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes["for"] for tag, attributes in found if tag == "label" and "for" in attributes}
    assert {"text", "key"} <= labelled
    named = [attributes for tag, attributes in found if tag == "select" and "aria-label" in attributes]
    assert len(named) == 1  # the two others stand in their labels
    assert all(attributes.get("type") for tag, attributes in found if tag == "button")


def test_it_is_the_same_document_each_time():
    assert playground() is playground()
    assert PAGE.startswith("<!doctype html>")

import pytest

from actors.engines.hardcoded_secrets import hardcoded_secrets

# Put together here, so that no scanner takes this file for a leak.
RANDOM = "q7Rt2LmZx9KcVb4NhY8sWd3F" + "g6Jp1QaEu5TzXo0C"
FOUND = [
    ("key = 'AKIA" + "J7Q2ZMX4KD9TLWPV'", "AWS access key"),
    ("ghp_" + RANDOM[:36], "GitHub token"),
    ("glpat-" + RANDOM[:20], "GitLab token"),
    ("AIza" + RANDOM[:35], "Google API key"),
    ("xoxb-" + "1234567890-" + RANDOM[:12], "Slack token"),
    ("sk_live_" + RANDOM[:20], "Stripe key"),
    ("sk-" + RANDOM, "model provider's key"),
    ("hf_" + RANDOM[:34], "Hugging Face token"),
    ("-----BEGIN RSA PRIVATE KEY-----\n" + RANDOM, "private key"),
    ("password = 'hunter2" + "zebra9'", "credential"),
    ('API_KEY: str = "a8f9' + 'e3c2b7d4"', "credential"),
    ('{"db_password": "Tr0ub4' + 'dor&3"}', "credential"),
    ("apiKey => 'a8f9" + "e3c2b7d4'", "credential"),
]

HARMLESS = [
    "AKIAIOSFODNN7EXAMPLE",
    "password = 'your-password-1'",
    "password = 'changeme123'",
    "password = os.environ['DB_PASSWORD1']",
    "password = '${DB_PASSWORD1}'",
    "secret_name = 'production/database'",
    "api_key = '<api-key-1>'",
    "password: str",
    "the task-force-of-many-people-who-met-in-the-city-hall",
    "-----BEGIN PRIVATE KEY-----",
    "",
]


@pytest.mark.parametrize(("text", "kind"), FOUND)
def test_a_credential_is_named_with_its_line_and_without_its_value(text, kind):
    assert hardcoded_secrets(f"# a comment\n{text}\n") == [f"{kind} (line 2)"]


@pytest.mark.parametrize("text", HARMLESS)
def test_placeholders_and_look_ups_are_let_through(text):
    assert hardcoded_secrets(text) == []


def test_findings_are_limited_and_in_the_order_of_the_text():
    text = "\n".join(["password = 'hunter2" + "zebra9'"] * 8)
    assert hardcoded_secrets(text, limit=3) == [f"credential (line {line})" for line in (1, 2, 3)]

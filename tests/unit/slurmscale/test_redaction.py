"""Secrets are masked in whatever form they turn up, and nodes cannot write escape sequences to a terminal."""

from __future__ import annotations

import base64
import json
import shlex
import unicodedata
from urllib.parse import quote, quote_plus

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st
from slurmscale.clean_text import clean
from slurmscale.inventory.extra_vars import split_secrets
from slurmscale.redaction import Redactor

SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=6, max_size=30)
ENCODINGS = {
    "plain": str,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"x": text})),
    "URL": lambda text: quote(text, safe=""),
    "path of a URL": quote,
    "form": quote_plus,
    "shell": shlex.quote,
    "Python": repr,
    "Python in a list": lambda text: repr([text]),
    "cleaned": clean,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(secret=SECRETS)
@example(secret="pa{{ss}}word")
@example(secret="{# comment #}")
@example(secret='it\'s "quoted" \\ and ünïcode')
@example(secret="line one of it\nline two of it")
def test_a_secret_is_masked_in_every_encoding(encoding, secret):
    # what consists of the mask, or of parts of what stands around it, cannot be told from it
    assume(set(secret) - set("* \n\t"))
    assume(len(clean(secret).strip()) >= 6)
    redactor = Redactor()
    redactor.learn({"login_password": secret})
    encoded = ENCODINGS[encoding](secret)
    shown = redactor(f"begin {encoded} end")
    assert encoded not in shown
    assert secret not in shown
    assert "********" in shown


@given(secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8), before=st.binary(max_size=6),
       after=st.binary(max_size=6))  # fmt: skip
def test_a_secret_is_masked_inside_of_base64(secret, before, after):
    redactor = Redactor()
    redactor.learn({"token": secret})
    shown = redactor(base64.b64encode(before + secret.encode() + after).decode())
    assert "********" in shown


def test_yaml_quotes_are_known():
    secret = "it's a secret"
    redactor = Redactor()
    redactor.learn({"token": secret})
    assert "secret" not in redactor(yaml.safe_dump({"x": secret}, default_style="'"))


@given(secrets=st.lists(st.text("abc", min_size=4, max_size=9), min_size=2, max_size=5))
@example(secrets=["aaaa", "aaaabbbb"])
def test_the_longest_of_several_secrets_goes_first(secrets):
    redactor = Redactor()
    for number, secret in enumerate(secrets):
        redactor.learn({f"password{number}": secret})
    assert redactor(max(secrets, key=len)) == "********"


def test_secrets_are_found_inside_of_variables():
    variables = {
        "db": {"password": "hunter22"},
        "urls": ["http://user:pw@host/x"],
        "proxy": "http://proxy.example.org:3128",
        "size": 3,
        "password": "x",
    }
    plain, secret = split_secrets(variables)
    assert set(plain) == {"proxy", "size"}
    assert set(secret) == {"db", "urls", "password"}


def test_the_password_of_a_url_is_masked_also_when_it_is_decoded():
    redactor = Redactor()
    redactor.learn({"proxy": "http://user:p%40ssw%C3%B6rd@host:3128"})
    assert redactor("http://user:p%40ssw%C3%B6rd@host p@sswörd") == "http://user:********@host ********"


def test_a_template_of_the_inventory_is_no_secret_but_a_password_of_a_caller_may_look_like_one():
    redactor = Redactor()
    redactor.learn({"n1": {"ansible_password": "{{ vault_pw }}"}}, literal=False)
    assert redactor("{{ vault_pw }}") == "{{ vault_pw }}"
    redactor.learn({"n1": {"ansible_password": {"__ansible_unsafe": "a{{b}}c"}}})
    assert redactor("it is a{{b}}c") == "it is ********"


@given(st.text())
@example("\x1b]0;title\x07text")
@example("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\")
@example("\x9b31mred\x9b0m \x9d0;t\x9c \x90q\x9c")
@example("\x1b[2J\x1b[1;1Hforged")
@example("\x1b\x1b[31m[31m")
@example("a\0b\x08\rc\udcff")
def test_no_control_character_is_left_of_a_text(text):
    for character in clean(text):
        assert character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cs"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[31mred\x1b[0m\tand\n\x9b1mbold", "red\tand\nbold"),
        ("\x1b]0;never ended\nnext line", "\nnext line"),
        ("tschüß 日本 ✓", "tschüß 日本 ✓"),
    ],
)
def test_escape_sequences_go_and_text_stays(text, shown):
    assert clean(text) == shown

"""The files of the page: small, unchanged where they are others', complete in both languages, and kept by browsers."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import slurmscale.service.routes.page
from fastapi import FastAPI
from fastapi.testclient import TestClient
from slurmscale.operations import Operation
from slurmscale.service.access.permissions import Role
from slurmscale.states import Phase, RunStatus, TaskStatus

PAGE = Path(slurmscale.service.__file__).parent / "page"
MOST_BYTES = 120 * 1024
"""Of all that a browser loads for all views, as it is in the files; compressed, as it is sent, it is less than half."""
NOT_LOADED = {"vendor/SHA256SUMS", "vendor/lit-html/LICENSE"}
TEXTS = {
    key: texts for key, *texts in (line.split("\t") for line in (PAGE / "strings.tsv").read_text("utf-8").splitlines())
}
SCRIPTS = [path for path in PAGE.rglob("*.js") if "vendor" not in path.parts]
WORDS = {
    "operation": Operation, "phase": Phase, "role": Role, "status": [*RunStatus, *TaskStatus, "denied"],
    "health": ("healthy", "unhealthy"), "kind": ("external", "managed"),
    "stage": ("resolve", "tcp", "hostkey", "auth", "slurm"),
}  # fmt: skip


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(slurmscale.service.routes.page.router)
    return TestClient(app)


def test_page_is_small(client: TestClient) -> None:
    sizes = {str(path.relative_to(PAGE)): path.stat().st_size for path in PAGE.rglob("*") if path.is_file()}
    for name in NOT_LOADED:
        del sizes[name]
    sent = 0
    for name in sizes.keys() - {"index.html"}:
        with client.stream("GET", f"/page/any/{name}", headers={"Accept-Encoding": "gzip"}) as answer:
            sent += sum(map(len, answer.iter_raw()))
            assert answer.headers["Content-Encoding"] == "gzip"
    print(f"{sum(sizes.values())} bytes, {sent} as sent")  # noqa: T201 - the figures
    assert sum(sizes.values()) <= MOST_BYTES
    assert sent <= MOST_BYTES / 2


def test_files_are_plain_for_those_who_do_not_unpack(client: TestClient) -> None:
    answer = client.get("/page/any/app.js", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in answer.headers
    assert answer.content == (PAGE / "app.js").read_bytes()


def test_vendored_files_are_unchanged_and_come_with_their_license() -> None:
    vendor = PAGE / "vendor"
    listed = [line.split("  ") for line in (vendor / "SHA256SUMS").read_text().splitlines() if not line.startswith("#")]
    files = {str(path.relative_to(vendor)) for path in vendor.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert {name for _, name in listed} == files
    for digest, name in listed:
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name
    assert "lit-html/LICENSE" in files


def test_every_text_is_there_in_both_languages_and_used() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    # "name" alone may also be handed to t() by way of a variable
    used = set(re.findall(r"\"([a-z]+(?:_[a-z]+)*)\"", code))
    families = set(re.findall(r"\bt\(`([a-z]+_)\$", code)) | {f"{kind}_" for kind in WORDS}
    missing = set(re.findall(r"\bt\(\"([a-z_]+)\"", code)) - set(TEXTS)
    assert not missing
    unused = [key for key in TEXTS if key not in used and not key.startswith(tuple(families))]
    assert not unused
    for key, (english, chinese) in TEXTS.items():
        marks = [set(re.findall(r"\{\w+\}", text)) for text in (english, chinese)]
        assert marks[0] == marks[1], key
        # without an English text the key ends with the word
        assert english or "_" in key
        assert chinese


def test_words_of_programs_are_translated() -> None:
    missing = [f"{kind}_{word}" for kind, words in WORDS.items() for word in words if f"{kind}_{word}" not in TEXTS]
    assert not missing


def test_nothing_is_drawn_from_text_and_nothing_is_asked_again_and_again() -> None:
    for path in SCRIPTS:
        code = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|unsafe|\beval\b", code), path.name
        assert "setInterval" not in code.replace("setInterval(this.update, 1000)", ""), path.name


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/slurm", "./"),
        ("/slurm-tasks", "./"),
        ("/slurm/runs", "../"),
        ("/slurm/runs/one", "../../"),
        ("/slurm/", "../"),
    ],
)
def test_links_are_relative_to_whatever_is_before_the_page(client: TestClient, path: str, base: str) -> None:
    assert f'<base href="{base}">' in client.get(path).text


def test_policy_allows_nothing_from_elsewhere_and_no_script_from_text(client: TestClient) -> None:
    answer = client.get("/slurm")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "script-src" not in policy
    assert answer.headers["Cache-Control"] == "no-cache"


def test_browsers_keep_files_until_they_change(client: TestClient) -> None:
    [path] = re.findall(r'src="(page/\w+/app.js)"', client.get("/slurm").text)
    kept = client.get(f"/{path}")
    assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert kept.headers["Content-Type"].startswith("text/javascript")
    old = client.get("/page/0000/app.js")
    assert (old.content, old.headers["Cache-Control"]) == (kept.content, "no-cache")
    assert client.get("/page/0000/../page.py").status_code == 404
    assert client.get("/page/0000/index.html").status_code == 404

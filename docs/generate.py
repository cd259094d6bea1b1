"""Writes the generated pages of the documentation from the sources: `make docs`.

With --check nothing is written: stale pages are named and the exit status is 1.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs/reference"
# What stands between the markers in a role's README is generated, the rest is written by hand.
BEGIN = "<!-- options: generated from meta/argument_specs.yml -->"
END = "<!-- end of options -->"
# Likewise in the enumeration of the codes of failures, which goes to managed hosts without what the codes mean.
FAILURES = ROOT / "plugins/module_utils/failure_code_meanings.yml"
CODES = "    # codes: generated from failure_code_meanings.yml by `make docs`\n"
CODES_END = "    # end of codes\n"
# Likewise in the README of the project, from supported_systems.py.
SYSTEMS = "<!-- systems: generated -->"
SYSTEMS_END = "<!-- end of systems -->"


def markdown(value: str | list[str] | None) -> str:
    """Turn Ansible's markup, such as C(value) and O(option), into Markdown; a list becomes one paragraph."""
    text = " ".join(value) if isinstance(value, list) else str(value or "")
    text = re.sub(r"\bM\(([^)]*)\)", lambda found: f"`{found[1].removeprefix('ai_infra.slurm.')}`", text)
    text = re.sub(r"\bI\(([^)]*)\)", r"*\1*", text)
    text = re.sub(r"\b(?:RV|[CVOEFPR])\((?:[\w.]+#\w+:)?((?:\\.|[^)])*)\)", r"`\1`", text)
    return " ".join(text.split())


def cell(value: str | list[str] | None) -> str:
    """Return Markdown that fits into one cell of a table."""
    return markdown(value).replace("|", r"\|")


def literal(value: object) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...").replace("|", r"\|")


def flatten(options: dict[str, dict[str, Any]] | None, key: str, prefix: str = "") -> list[dict[str, Any]]:
    """Return options or return values one below the other, nested ones behind their parent: `files[].path`.

    Args:
        options: Options by name.
        key: What nested ones stand under.
        prefix: Name of the parent.
    """
    rows = []
    for name, option in (options or {}).items():
        rows.append({**option, "name": f"{prefix}{name}"})
        brackets = "[]" if option.get("type") == "list" else ""
        rows += flatten(option.get(key), key, f"{prefix}{name}{brackets}.")
    return rows


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_fragment(name: str) -> dict[str, Any]:
    """Return the documentation that plugins share under a name such as ai_infra.slurm.apphub."""
    path = ROOT / "plugins/doc_fragments" / f"{name.rpartition('.')[2]}.py"
    (text,) = (
        ast.literal_eval(statement.value)
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(statement, ast.Assign)
    )
    return yaml.safe_load(text)


def read_plugin(path: Path) -> dict[str, Any]:
    """Return what a plugin says about itself, without importing it."""
    blocks = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id in {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    }
    documentation = yaml.safe_load(blocks["DOCUMENTATION"])
    for name in documentation.get("extends_documentation_fragment", []):
        for part, shared in read_fragment(name).items():
            documentation.setdefault(part, {}).update(shared)
    returned = {name: value for name, value in (yaml.safe_load(blocks.get("RETURN", "")) or {}).items() if value}
    return {
        **documentation,
        "name": path.stem,
        "options": flatten(documentation.get("options"), "suboptions"),
        "examples": blocks.get("EXAMPLES", "").strip(),
        "returned": flatten(returned, "contains"),
    }


def read_role(path: Path) -> dict[str, Any]:
    """Return what a role says about itself: entry points, and the options of all of them in one list."""
    specs = read_yaml(path / "meta/argument_specs.yml")["argument_specs"]
    entries = sorted(specs, key=lambda name: name != "main")
    options: dict[str, dict[str, Any]] = {}
    for entry in entries:
        for name, option in (specs[entry].get("options") or {}).items():
            options.setdefault(name, {**option, "entries": []})["entries"].append(entry)
    for option in options.values():
        option["entries"] = [] if len(option["entries"]) == len(entries) else option["entries"]
    return {
        "name": path.name,
        "description": read_yaml(path / "meta/main.yml")["galaxy_info"]["description"],
        "entries": [{**specs[name], "name": name} for name in entries],
        "options": flatten(options, "options"),
    }


def read_playbook(path: Path) -> dict[str, Any]:
    """Return the parts of the comment at a playbook's top: purpose, variables, example."""
    lines = path.read_text(encoding="utf-8").removeprefix("---\n").splitlines()
    header = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    text = "\n".join(line[2:] for line in header)
    parts = re.fullmatch(r"(?s)(?P<purpose>.*?)\nVariables: (?P<variables>.*?)\nExample: (?P<example>.*)", text)
    if parts is None:
        sys.exit(f"{path.relative_to(ROOT)} must begin with a comment: purpose, 'Variables: ...', 'Example: ...'.")
    return {
        "name": path.stem,
        "purpose": " ".join(parts["purpose"].split()),
        "variables": list(split_variables(parts["variables"])),
        "example": re.sub(r"\n\s+", "\n", parts["example"]),
    }


def split_variables(text: str) -> list[str]:
    """Return one item per variable; a line that is indented further continues the one before."""
    items: list[str] = []
    indent = " " * len("Variables: ")
    for line in text.splitlines():
        begins = not items or (line.startswith(indent) and not line.removeprefix(indent).startswith(" "))
        named = re.match(r"(\w+) {2,}(.*)", line.strip())
        if begins and named:
            items.append(f"`{named[1]}`: {named[2]}")
        elif begins:
            items.append(line.strip())
        else:
            items[-1] += f" {line.strip()}"
    return items


def read_command() -> str | None:
    """Return typer's own description of the command slurmscale; None while there is no command."""
    if not (ROOT / "python_lib/slurmscale/cli.py").is_file() and not (ROOT / "python_lib/slurmscale/cli").is_dir():
        return None
    # Without the caller's settings, which typer would show as the defaults.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURMSCALE_")}
    arguments = ["-m", "typer", "slurmscale.cli", "utils", "docs", "--name", "slurmscale"]
    text = _run_python("The help of slurmscale", arguments, {**environment, "COLUMNS": "120", "NO_COLOR": "1"})
    return text.strip() + "\n"


def read_openapi() -> str:
    """Return the service's own description of its API."""
    code = "import json; from slurmscale.service.app import describe; print(json.dumps(describe(), indent=1))"
    return _run_python("The description of the API", ["-c", code], dict(os.environ))


def read_roles() -> dict[str, list[str]]:
    """Return the permissions that there are, each with the roles that have it."""
    code = (
        "import json; from slurmscale.service.access.permissions import PERMISSIONS, Permission;"
        "print(json.dumps({one: [role for role, own in PERMISSIONS.items() if one in own] for one in Permission}))"
    )
    found: dict[str, list[str]] = json.loads(_run_python("The permissions", ["-c", code], dict(os.environ)))
    return found


def read_api(document: dict[str, Any], roles: dict[str, list[str]]) -> dict[str, Any]:
    """Return the calls of the API and the shapes of what they take and answer, from its description.

    Args:
        document: The description.
        roles: The roles that have each permission.
    """
    calls = [
        {
            "method": method.upper(),
            "path": path,
            "anchor": re.sub(r"[^a-z0-9_ -]", "", f"{method} {path}").replace(" ", "-"),
            "permission": permission_of(call),
            "description": call.get("description", ""),
            "parameters": [
                {**one, "place": one["in"], "type": shape(one["schema"])} for one in call.get("parameters", [])
            ],
            "body": shapes_of(call.get("requestBody", {})),
            "answers": [
                {"status": status, "type": shapes_of(answer)}
                for status, answer in sorted(call["responses"].items())
                if status != "default"
            ],
        }
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]
    shapes = [
        {
            "name": name,
            "description": found.get("description", ""),
            "fields": [
                {**one, "name": field, "type": shape(one), "required": field in found.get("required", ())}
                for field, one in found.get("properties", {}).items()
            ],
            "values": [str(value) for value in found.get("enum", ())],
        }
        for name, found in sorted(document["components"]["schemas"].items())
    ]
    permissions = [
        {"name": name, "roles": own, "calls": [call for call in calls if call["permission"] == f"`{name}`"]}
        for name, own in roles.items()
    ]
    return {"calls": calls, "shapes": shapes, "permissions": permissions}


def permission_of(call: dict[str, Any]) -> str:
    """Return what a call needs."""
    if "x-permission" in call:
        return f"`{call['x-permission']}`"
    return "a login" if "security" in call else "none"


def shapes_of(message: dict[str, Any]) -> str:
    """Return what a body or an answer may be."""
    kinds = (shape(one["schema"]) for one in message.get("content", {}).values() if "schema" in one)
    return ", ".join(dict.fromkeys(kinds))


def shape(schema: dict[str, Any]) -> str:
    """Return a schema of JSON as a few words, with links to the shapes that have a section of their own."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(shape(one) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {shape(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {shape(schema['additionalProperties'])}"
    return str(schema.get("format", kind))


def _run_python(what: str, arguments: list[str], environment: dict[str, str]) -> str:
    """Return what a Python that finds the library prints; end with the reason when it fails."""
    answer = subprocess.run(
        [sys.executable, *arguments],
        env={**environment, "PYTHONPATH": str(ROOT / "python_lib")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if answer.returncode:
        reason = (answer.stderr.strip() or "no message").splitlines()[-1]
        sys.exit(f"{what} can't be read: {reason}")
    return answer.stdout


def read_reasons() -> dict[str, list[dict[str, str]]]:
    """Return by section every reason code with its meaning, and where to look."""
    return {
        section: [
            {"code": code, "meaning": meaning, "look_at": group.get("look_at", "")}
            for group in groups
            for code, meaning in group["codes"].items()
        ]
        for section, groups in read_yaml(FAILURES).items()
    }


def members(reasons: dict[str, list[dict[str, str]]]) -> str:
    """Return the members of the enumeration of the codes."""
    names = [item["code"] for items in reasons.values() for item in items]
    return "".join(f'    {name.upper().replace("-", "_")} = "{name}"\n' for name in names)


def read_systems() -> str:
    """Return the operating systems that are supported."""
    spec = importlib.util.spec_from_file_location("systems", ROOT / "plugins/module_utils/node/supported_systems.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SUPPORTED


def readme(role: dict[str, Any], path: Path, templates: jinja2.Environment) -> str:
    """Return a role's README with its generated part renewed; a whole page when there is none yet."""
    part = f"{BEGIN}\n\n{templates.get_template('role_options.md.j2').render(role=role).strip()}\n\n{END}"
    if not path.is_file():
        return templates.get_template("role.md.j2").render(role=role, part=part)
    page = path.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        sys.exit(f"{path.relative_to(ROOT)} must have the lines {BEGIN} and {END} once each.")
    return between(page, BEGIN, part, END)


def between(page: str, begin: str, part: str, end: str) -> str:
    """Return a page with what stands from one marker to another replaced."""
    before, _, rest = page.partition(begin)
    return before + part + rest.partition(end)[2]


def pages() -> dict[Path, str]:
    """Return the wanted text of every generated page."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "docs/templates"),
        autoescape=False,  # noqa: S701 - Markdown of our own sources, not HTML of somebody else's
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.ChainableUndefined,
    )
    templates.filters |= {"markdown": markdown, "cell": cell, "literal": literal}
    roles = [read_role(path.parents[1]) for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml"))]
    sources = {
        "playbooks": [read_playbook(path) for path in sorted(ROOT.glob("playbooks/*.yml"))],
        "modules": [read_plugin(path) for path in sorted(ROOT.glob("plugins/modules/*.py"))],
        "filters": [read_plugin(path) for path in sorted(ROOT.glob("plugins/filter/*.py"))],
        "reasons": (reasons := read_reasons()),
        "roles": roles,
    }
    wanted = {
        REFERENCE / f"{kind}.md": templates.get_template(f"{kind}.md.j2").render(items=items)
        for kind, items in sources.items()
    }
    for role in roles:
        path = ROOT / "roles" / role["name"] / "README.md"
        wanted[path] = readme(role, path, templates)
    codes = FAILURES.with_name("failure_codes.py")
    enumeration = CODES + members(reasons) + CODES_END
    wanted[codes] = between(codes.read_text(encoding="utf-8"), CODES, enumeration, CODES_END)
    project = ROOT / "README.md"
    systems = f"{SYSTEMS}\n  {read_systems()}. {SYSTEMS_END}"
    wanted[project] = between(project.read_text(encoding="utf-8"), SYSTEMS, systems, SYSTEMS_END)
    wanted[REFERENCE / "openapi.json"] = openapi = read_openapi()
    api = templates.get_template("api.md.j2").render(items=read_api(json.loads(openapi), read_roles()))
    wanted[REFERENCE / "api.md"] = re.sub(r"\n{3,}", "\n\n", api)
    command = read_command()
    if command:
        wanted[REFERENCE / "command.md"] = command
    return wanted


def main() -> int:
    """Write the pages, or with --check compare them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, name stale pages")
    check = parser.parse_args().check
    wanted = pages()
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    left_over = [path for path in REFERENCE.glob("*.md") if path not in wanted]
    for path in sorted(stale + left_over):
        done = "written" if path in wanted else "removed"
        sys.stdout.write(f"{'stale' if check else done}: {path.relative_to(ROOT)}\n")
    if check:
        return 1 if stale or left_over else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    for path in left_over:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())

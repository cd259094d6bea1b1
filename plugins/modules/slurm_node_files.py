#!/usr/bin/python
# Copyright 2026 The slurmscale authors
# SPDX-License-Identifier: Apache-2.0
"""Entry point of the module slurm_node_files."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: slurm_node_files
short_description: Write files, and create the accounts that own them, in one module run
version_added: "0.1.0"
description:
  - Makes directories, writes files and removes paths on the managed host, all in one module run. Each
    M(ansible.builtin.copy) or M(ansible.builtin.template) costs two module runs per file, which adds up when many
    nodes are made at once.
  - Accounts are made first, because files may belong to them. What else is stated is checked before it is changed. Then
    directories are made, files are written, words are listed, and paths are removed, in this order and in the order
    of each list.
  - A file is written beside its target with its final owner and mode and then renamed, so that nobody ever reads half
    of it, nor a secret with a wrong mode.
options:
  sysusers:
    description:
      - Lines in the format of sysusers.d for accounts that must exist, each with a name. Missing ones are made with
        systemd-sysusers.
      - Nothing is changed when one of them exists with another number, or when somebody else has its number, of which
        systemd-sysusers would say nothing.
    type: list
    elements: str
    default: []
  directories:
    description: Directories that must exist. Missing parents are made with mode V(0755).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. A link to a directory counts as a directory.
        type: path
        required: true
      mode:
        description: Quoted octal mode. When unstated, a new directory gets V(0755) and an old one keeps what it has.
        type: raw
      owner:
        description: Name or number of the owner. When unstated, the owner is left as it is.
        type: str
      group:
        description: Name or number of the group. When unstated, the group is left as it is.
        type: str
  files:
    description: Files that must have this content. Their directory must exist or be one of O(directories).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. A link in its place is replaced by a file, unless O(files[].follow) is set.
        type: path
        required: true
      content:
        description: The content as text. Exactly one of this and O(files[].content_base64) is needed.
        type: str
      content_base64:
        description: The content in base64, for binary content and for secrets. It is never logged.
        type: str
      mode:
        description: Quoted octal mode; V(0644) when unstated, V(0600) for a secret.
        type: raw
      owner:
        description: Name or number of the owner. When unstated, a file that has to be written is the login user's.
        type: str
      group:
        description: Name or number of the group. When unstated, a file that has to be written is the login user's.
        type: str
      follow:
        description: Writes the file that a link in this place leads to, such as one on a shared file system.
        type: bool
        default: false
      secret:
        description: Keeps the content out of the diff. A secret must be given as O(files[].content_base64).
        type: bool
        default: false
  words:
    description:
      - Words that an option of a configuration file must or must not list, such as patterns of packages in dnf.conf.
        Everything else in the file stays as it is, and its content is never shown. A link is followed.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. The file is made when it is missing and a word must be listed.
        type: path
        required: true
      section:
        description: The section of the option.
        type: str
        required: true
      options:
        description: Names of the option. What any of them lists counts; the first is added when none is there.
        type: list
        elements: str
        required: true
      present:
        description: Words that must be listed.
        type: list
        elements: str
        default: []
      absent:
        description: Words that must not be listed.
        type: list
        elements: str
        default: []
  absent:
    description: Paths that must not exist. Files, links and empty directories are removed, other directories refused.
    type: list
    elements: path
    default: []
  parts:
    description:
      - What several roles want, each in the options above, which are put together on the control machine. There a file
        without content is one that must not exist, the content of a secret may be given as text, and the directory of
        each file is added.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    description: Tells what would change and changes nothing. Owners and groups that don't exist yet are accepted.
    support: full
  diff_mode:
    description: Shows each file before and after, without the content of secrets.
    support: full
author:
  - The slurmscale authors
"""

EXAMPLES = r"""
- name: Make the account munge, and place its key and slurmd's options
  ai_infra.slurm.slurm_node_files:
    sysusers:
      - g munge 991
      - u munge 991:991
    directories:
      - {path: /etc/munge, mode: "0700", owner: munge, group: munge}
      - {path: /etc/systemd/system/slurmd.service.d}
    files:
      - path: /etc/munge/munge.key
        content_base64: "{{ munge_key_base64 }}"
        mode: "0400"
        owner: munge
        group: munge
        secret: true
      - path: /etc/default/slurmd
        content: |
          SLURMD_OPTIONS="--conf-server ctl1:6817"
        mode: "0644"
        owner: root
        group: root
    absent:
      - /etc/slurm/slurm.conf
  register: placed

- name: Start munge with its key
  ansible.builtin.systemd_service:
    name: munge
    state: "{{ placed.files['/etc/munge/munge.key'].changed | ternary('restarted', 'started') }}"
"""

RETURN = r"""
accounts:
  description: Names of users and groups of O(sysusers) that were missing.
  returned: always
  type: list
  elements: str
  sample: [munge]
files:
  description: For each path of O(files) whether it was changed.
  returned: always
  type: dict
  sample: {"/etc/munge/munge.key": {"changed": true}}
directories:
  description: For each path of O(directories) whether it was changed.
  returned: always
  type: dict
  sample: {"/etc/munge": {"changed": false}}
words:
  description: For each path of O(words) whether it was changed.
  returned: always
  type: dict
  sample: {"/etc/dnf/dnf.conf": {"changed": true}}
absent:
  description: For each path of O(absent) whether it was removed.
  returned: always
  type: dict
  sample: {"/etc/slurm/slurm.conf": {"changed": false}}
"""

import contextlib
import errno
import os
from typing import Any, Dict, Iterator, List, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code, fail
from ansible_collections.ai_infra.slurm.plugins.module_utils.files import accounts, ini_list_option
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.options import (
    Attributes,
    FileError,
    WantedFile,
    WantedWords,
    attributes_of,
    check_paths,
    wanted_file,
    wanted_words,
)
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.write_errors import remedy_for
from ansible_collections.ai_infra.slurm.plugins.module_utils.files.writer import (
    Change,
    put_directory,
    put_file,
    put_words,
    remove,
)

_ATTRIBUTES = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "raw"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
}
ARGUMENTS = {
    "sysusers": {"type": "list", "elements": "str", "default": []},
    "directories": {"type": "list", "elements": "dict", "default": [], "options": _ATTRIBUTES},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": dict(
            _ATTRIBUTES,
            content={"type": "str"},
            content_base64={"type": "str", "no_log": True},
            follow={"type": "bool", "default": False},
            secret={"type": "bool", "default": False, "no_log": False},
        ),
        "mutually_exclusive": [("content", "content_base64")],
        "required_one_of": [("content", "content_base64")],
    },
    "words": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": dict(
            ini_list_option.ARGUMENTS,
            present={"type": "list", "elements": "str", "default": []},
            absent={"type": "list", "elements": "str", "default": []},
        ),
    },
    "absent": {"type": "list", "elements": "path", "default": []},
    # The action takes it; what reached the host would be logged with the secrets in it.
    "parts": {"type": "list", "elements": "dict", "default": [], "no_log": True},
}

Plan = Tuple[List[Tuple[str, Attributes]], List[WantedFile], List[WantedWords], List[str]]


def plan(params: Dict[str, Any], *, check_mode: bool) -> Plan:
    """Check everything that is stated, before anything is changed.

    Args:
        params: The module's options.
        check_mode: Tolerate owners and directories that earlier tasks would have made.

    Returns:
        Directories, files, words and removals.

    Raises:
        FileError: Something is stated wrongly.
    """
    directories = [(item["path"], attributes_of(item, tolerate_unknown=check_mode)) for item in params["directories"]]
    files = [wanted_file(item, tolerate_unknown=check_mode) for item in params["files"]]
    words = [wanted_words(item) for item in params["words"]]
    absent = list(params["absent"])
    made = [path for path, _attributes in directories]
    check_paths([item.path for item in files] + [item.path for item in words], made, absent)
    for path in [item.path for item in files] + [item.path for item in words if item.present]:
        parent = os.path.dirname(path)
        coming = any(path == parent or path.startswith(parent.rstrip("/") + "/") for path in made)
        if not (check_mode or coming or os.path.isdir(parent)):
            raise FileError(
                Code.FILE_INVALID, f"the directory of {path} does not exist.", f"Add {parent} to directories."
            )
    return directories, files, words, absent


@contextlib.contextmanager
def _errors_name(path: str) -> Iterator[None]:
    """Name the path itself in errors, which otherwise name a temporary file or nothing."""
    try:
        yield
    except OSError as error:
        reason = f"can't change {path}: {error.strerror or error}"
        raise FileError(Code.FILE_NOT_WRITTEN, reason, remedy_for(error.errno, os.path.dirname(path))) from None


def make_accounts(module: AnsibleModule, result: Dict[str, Any]) -> None:
    """Make the accounts that are missing, and put their names into the result.

    Raises:
        FileError: A line is malformed, an id is not free, or systemd-sysusers does not make what it is asked for.
    """
    missing = accounts.find_missing(module.params["sysusers"])
    result["accounts"] = sorted({account.name for account in missing})
    if missing and not module.check_mode:
        command = ["systemd-sysusers", "--inline", *(account.line for account in missing)]
        code, _out, problem = module.run_command(command)
        if code:
            names = ", ".join(result["accounts"])
            remedy = remedy_for(errno.EROFS, "/etc") if os.strerror(errno.EROFS) in problem else ""
            raise FileError(Code.ACCOUNT_NOT_MADE, f"systemd-sysusers can't make {names}: {problem.strip()}", remedy)
        result["changed"] = True
        accounts.verify(missing)
    result["changed"] = bool(missing)


def apply(module: AnsibleModule, steps: Plan, result: Dict[str, Any]) -> None:
    """Carry the plan out and put each change into the result.

    Args:
        module: The running module.
        steps: What plan() made.
        result: Filled as far as it went, also when a step fails.

    Raises:
        FileError: Something is in the way, or a path can't be changed.
    """

    def label(temporary: str, path: str) -> None:
        if module.selinux_enabled():
            module.set_context_if_different(temporary, module.selinux_default_context(path), changed=False)

    def record(kind: str, path: str, change: Change) -> None:
        result[kind][path] = {"changed": change.changed}
        result["changed"] = result["changed"] or change.changed
        result["diff"].extend(change.diffs)

    directories, files, words, absent = steps
    for path, attributes in directories:
        with _errors_name(path):
            record("directories", path, put_directory(path, attributes, label, check_mode=module.check_mode))
    for item in files:
        with _errors_name(item.path):
            record("files", item.path, put_file(item, label, check_mode=module.check_mode))
    for listed in words:
        with _errors_name(listed.path):
            record("words", listed.path, put_words(listed, label, check_mode=module.check_mode))
    for path in absent:
        with _errors_name(path):
            record("absent", path, remove(path, check_mode=module.check_mode))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    result: Dict[str, Any] = {
        "changed": False,
        "diff": [],
        "accounts": [],
        "files": {},
        "directories": {},
        "words": {},
        "absent": {},
    }
    try:
        make_accounts(module, result)
        apply(module, plan(module.params, check_mode=module.check_mode), result)
    except FileError as error:
        fail(module, error.failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

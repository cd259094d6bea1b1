# Apache License 2.0 (see LICENSE)
"""Reasons that users read: every finding, refusal and failure is a code, a reason and a remedy.

A code is a contract: programs decide by it, and docs/reference/reasons.md lists them all. The reason and the remedy are
sentences for people; nothing reads them back. Standard library only, as modules bring this to managed hosts.
"""

from __future__ import annotations

import enum
from typing import Any, Dict, NamedTuple


class Code(str, enum.Enum):
    """Every code, with what it means in general."""

    # For a type checker Code("job-lost"), which finds a member, calls this with the value alone.
    def __new__(cls, value: str, meaning: str = "") -> "Code":  # noqa: PYI034 - Python 3.8 has no Self
        """Make a member that is its own text and knows its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    meaning: str

    # Any task.
    TASK_FAILED = "task-failed", "A task of Ansible failed for a reason that has no code of its own."
    HOST_UNREACHABLE = "host-unreachable", "Ansible cannot log in to the host, or lost the connection to it."
    HOST_KEY_DIFFERS = "host-key-differs", "The host shows another ssh key than the one that is known or confirmed."
    HOST_KEY_UNKNOWN = (
        "host-key-unknown",
        "ssh on the control machine does not know the key of the host, or another one.",
    )

    # What was asked for.
    REQUEST_INVALID = "request-invalid", "The call names no nodes, unknown nodes, or an option that does not exist."

    # Nodes, before and while they are made.
    SYSTEM_UNSUPPORTED = "system-unsupported", "The operating system is not supported."
    PYTHON_TOO_OLD = "python-too-old", "The Python of the host is older than ansible-core and the modules need."
    PYTHON_MISSING = "python-missing", "There is no Python on the host, or not where it is stated."
    SUDO_MISSING = "sudo-missing", "The host has no sudo, by which Ansible is to become root."
    PRIVILEGES_MISSING = "privileges-missing", "The user that logs in to the host is not root and cannot become root."
    NODE_CLAIM_INVALID = "node-claim-invalid", "The host reports names or values that cannot be entered in slurm.conf."
    HARDWARE_NOT_MEASURED = "hardware-not-measured", "CPUs or memory of the host could not be measured."
    MEMORY_TOO_SMALL = "memory-too-small", "The host has less memory than a node must have."
    DISK_SPACE_LOW = "disk-space-low", "There is too little free space where packages or the spool go."
    CLOCK_SKEW = "clock-skew", "The clock of the host differs too much from the controller's."
    ACCOUNT_ID_DIFFERS = "account-id-differs", "An account has another uid or gid on the host than on the controller."
    ACCOUNT_ID_TAKEN = "account-id-taken", "Another account of the host has the uid or gid that Slurm or munge needs."
    HOST_NAME_INVALID = "host-name-invalid", "The host has no host name, or is called localhost."
    NAME_NOT_RESOLVED = "name-not-resolved", "A host does not resolve the name of another one."
    PORT_UNREACHABLE = "port-unreachable", "A host cannot connect to a port of another one."
    NODE_DEFINITION_INVALID = "node-definition-invalid", "The hardware cannot meet what is stated of the node."
    REGISTRATION_UNSUITABLE = "registration-unsuitable", "The cluster cannot take the node as a static or dynamic one."
    AUTH_TYPE_UNSUPPORTED = "auth-type-unsupported", "The cluster authenticates by something other than munge."
    NODE_PROGRAM_MISSING = "node-program-missing", "A program that slurm.conf names for nodes is not on the machine."
    MUNGE_IN_USE = "munge-in-use", "munge runs on the host with another key, for something that is not this cluster."
    MUNGE_NOT_STARTED = "munge-not-started", "munge does not run with the key of the cluster."
    SLURMD_NOT_STARTED = "slurmd-not-started", "slurmd does not run, or ended at once."
    NODE_NOT_VERIFIED = "node-not-verified", "The node did not become available, or its test job did not run."
    NODES_NOT_CONNECTED = "nodes-not-connected", "Jobs over several nodes fail, as nodes do not reach each other."
    SERVER_SELECTED = "server-selected", "The nodes that are asked for include a controller or an AppHub."
    RUN_LIMITED = "run-limited", "A --limit leaves out hosts without which the playbook cannot work."

    # The command and library slurmscale.
    NODES_IN_USE = "nodes-in-use", "Another run works on some of the nodes."
    CLUSTER_UNUSABLE = "cluster-unusable", "The cluster is not known, or its inventory cannot be used."
    CREDENTIALS_NEEDED = "credentials-needed", "Passwords or keys are never stored and have to be given again."
    NOT_FOUND = "not-found", "There is no such run, task or log."
    PLAYBOOKS_MISSING = "playbooks-missing", "The playbooks of slurmscale are not installed."
    DATABASE_UNAVAILABLE = "database-unavailable", "The database of slurmscale cannot be opened, read or written."
    ANSIBLE_NOT_STARTED = "ansible-not-started", "ansible-playbook is missing, too old, or could not be started."
    NODES_FAILED = "nodes-failed", "Nodes of the run failed, each for its own reason."
    NODE_NOT_IN_PLAYBOOK = "node-not-in-playbook", "No play of the playbook ran on the node."
    NODE_NOT_READY = "node-not-ready", "The readiness report refuses the node."
    RUN_STOPPED = "run-stopped", "The run stopped before the node was finished, because of others."
    RUN_CANCELLED = "run-cancelled", "Somebody cancelled the run."
    RUN_INTERRUPTED = "run-interrupted", "The process that ran the run is gone."
    RUN_LOST = "run-lost", "Another process ended the run, so the one that ran it stopped."
    RESULT_NOT_RECORDED = "result-not-recorded", "The run has ended, and its result could not be recorded."
    TIME_LIMIT_REACHED = "time-limit-reached", "The run took longer than its time limit."
    ANSIBLE_FAILED = "ansible-failed", "ansible-playbook could not run the playbook to its end."
    INTERNAL_ERROR = "internal-error", "A mistake in slurmscale itself; please report it."

    # The service.
    NOT_SIGNED_IN = "not-signed-in", "A request needs a token or a login, and has none that is valid."
    PERMISSION_MISSING = "permission-missing", "The user has no permission for what was asked for."
    ORIGIN_NOT_ALLOWED = "origin-not-allowed", "A page of another origin sent a request with the cookie of a user."
    HOST_NOT_ALLOWED = "host-not-allowed", "The service was called by a name that is not one of its own."
    METHOD_NOT_ALLOWED = "method-not-allowed", "The address does not take requests of this method."
    REQUEST_TOO_LARGE = "request-too-large", "The body of a request is larger than the service takes."
    CONTENT_TYPE_UNSUPPORTED = "content-type-unsupported", "The body of a request is not JSON."
    TOO_MANY_REQUESTS = "too-many-requests", "There were too many requests or failed logins in a short time."
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused", "An Idempotency-Key was used for two different requests."
    REQUEST_AT_WORK = "request-at-work", "The first request with this Idempotency-Key has not been answered yet."
    TASK_IS_PART_OF_RUN = "task-is-part-of-run", "One node of many cannot be stopped alone; the run can."
    AUDIT_CHANGED = "audit-changed", "A row of the audit trail was changed, or one is missing."
    PLAN_DIFFERS = "plan-differs", "The plan that is named is not one of this cluster and these nodes."

    # A node, its jobs and its state in Slurm.
    NODE_RUNS_JOBS = "node-runs-jobs", "Jobs are on the node, or it is not known whether any are."
    NODE_NOT_AVAILABLE = "node-not-available", "The node has not become available in time."
    NODE_REQUESTED_BY_JOBS = "node-requested-by-jobs", "Pending jobs ask for the node by name and would fail."
    NODE_RESERVED = "node-reserved", "A reservation has the node."
    NODE_NOT_MANAGED = "node-not-managed", "The node is defined in a file that slurmscale does not manage."
    NODE_NOT_RESPONDING = "node-not-responding", "slurmctld gets no answer from the slurmd of the node."
    NODE_NOT_REGISTERED = "node-not-registered", "The controller does not know the node."
    NODE_NOT_PREPARED = "node-not-prepared", "The machine has no slurmd."
    NODE_INVALID = "node-invalid", "The node has less than is configured for it (INVAL)."
    NODE_HELD_BY_OTHERS = "node-held-by-others", "An administrator drained the node or set it DOWN."
    NODE_DRAINED_BY_SLURM = "node-drained-by-slurm", "Slurm itself drained the node."
    NODE_DRAINED_BY_SLURMSCALE = "node-drained-by-slurmscale", "An earlier run drained the node and did not resume it."
    NODE_OF_OTHER_CLUSTER = "node-of-other-cluster", "The machine belongs to another cluster."
    HOST_RUNS_SLURMCTLD = "host-runs-slurmctld", "The machine is a controller, so Slurm is not removed from it."

    # Services, files and keys of a cluster.
    CONTROLLER_NOT_ANSWERING = "controller-not-answering", "slurmctld does not answer."
    SLURM_CONF_NOT_MANAGED = "slurm-conf-not-managed", "slurm.conf was written by somebody else."
    SLURMCTLD_NOT_STARTED = "slurmctld-not-started", "slurmctld does not run with the new configuration."
    SERVICE_MISSING = "service-missing", "A service is not installed."
    SERVICE_DOWN = "service-down", "A service does not run."
    SERVICE_NOT_ENABLED = "service-not-enabled", "A service does not start at boot."
    PERMISSIONS_WRONG = "permissions-wrong", "A file or directory has the wrong owner or mode."
    MUNGE_KEY_MISSING = "munge-key-missing", "There is no munge key."
    MUNGE_KEY_DIFFERS = "munge-key-differs", "The munge key is not the controller's."
    MUNGE_CREDENTIAL_REFUSED = "munge-credential-refused", "Two hosts do not decode each other's munge credentials."
    SLURMD_OPTIONS_DIFFER = "slurmd-options-differ", "slurmd has other options than the cluster needs."
    CONFIGURATION_STRAY = "configuration-stray", "A node has a slurm.conf of its own although it gets the controller's."
    CONFIGURATION_DIFFERS = (
        "configuration-differs",
        "Configuration files of a node or backup controller are not the controller's.",
    )
    CONFIGURATION_EDITED = "configuration-edited", "slurm.conf was edited after slurmctld read it."
    SLURM_UPDATE_REFUSED = "slurm-update-refused", "slurmctld did not change the state of a node as asked."
    JOB_NOT_SUBMITTED = "job-not-submitted", "slurmctld did not accept a job."
    JOB_FAILED = "job-failed", "The job that verifies a node failed."
    JOB_TIMED_OUT = "job-timed-out", "The job that verifies a node did not end in time and was cancelled."
    JOB_LOST = "job-lost", "Nobody knows how the job that verifies a node ended."
    PARTITION_UNAVAILABLE = "partition-unavailable", "No partition that is UP has the node."
    STEP_LEFT_OVER = "step-left-over", "A slurmstepd of a job that the controller does not know runs on the node."
    CLUSTER_FAULTY = "cluster-faulty", "A check or repair of the cluster found, or left, something that is wrong."
    PARTITION_WITHOUT_JOBS = "partition-without-jobs", "A partition did not run its test job."

    # Jobs of users.
    JOB_USER_UNSUITABLE = "job-user-unsuitable", "No user is configured for jobs, or one who has more rights than that."
    JOB_SCRIPT_REFUSED = "job-script-refused", "A job script has an option that is not allowed in it."
    JOB_NOT_CANCELLED = "job-not-cancelled", "slurmctld did not cancel a job."
    JOB_OUTPUT_MISSING = "job-output-missing", "The output of a job is not where it should be, or cannot be read."

    # The controller's configuration, while nodes are registered or removed.
    CONTROLLER_BUSY = "controller-busy", "Another run changes the configuration of this controller."
    CONFIGURATION_UNREADABLE = "configuration-unreadable", "slurm.conf or a file that it includes can't be read."
    CONFIGURATION_REFUSED = "configuration-refused", "Slurm can't read the new configuration; the old one stays."
    CONFIGURATION_NOT_WRITTEN = "configuration-not-written", "A file beside slurm.conf can't be read or written."
    CONFIGURATION_ROLLED_BACK = (
        "configuration-rolled-back",
        "slurmctld failed with the new one; the old one is back.",
    )
    CONFIGURATION_NOT_RESTORED = "configuration-not-restored", "slurmctld is without a configuration that works."
    CHANGE_INTERRUPTED = "change-interrupted", "The module was stopped; the old configuration is back."
    APPLY_METHOD_UNSUITABLE = "apply-method-unsuitable", "This slurmctld would exit at scontrol reconfigure."
    NODE_REQUEST_INVALID = "node-request-invalid", "A name, parameter or line of a node can't stand in slurm.conf."
    NODE_ADDRESS_SHARED = "node-address-shared", "Two nodes would be the same machine."
    NODE_ADDRESS_UNKNOWN = "node-address-unknown", "slurmctld would drop nodes whose address it can't resolve."
    NODE_IS_CONTROLLER = "node-is-controller", "The node would be the controller itself."
    NODE_WITHOUT_PARTITION = "node-without-partition", "A partition is missing, or none would take the node."
    NODE_WITHOUT_SWITCH = "node-without-switch", "topology.conf has no switch or block for the node."
    NODE_SET_TAKEN = "node-set-taken", "slurm.conf uses the name of the NodeSet that slurmscale needs."
    SLURM_COMMAND_MISSING = "slurm-command-missing", "A command of Slurm is not installed."
    SLURM_COMMAND_FAILED = "slurm-command-failed", "A command of Slurm took too long or returned an error."

    # Files and accounts of a machine.
    FILE_INVALID = "file-invalid", "A file, directory or account is stated wrongly."
    FILE_NOT_WRITTEN = "file-not-written", "A file or directory can't be made, changed or removed."
    OWNER_MISSING = "owner-missing", "The user or group that a file must belong to does not exist."
    ACCOUNT_NOT_MADE = "account-not-made", "A user or group could not be created as needed."

    # Removal, upgrade and rotation of the key.
    REMOVAL_NOT_CONFIRMED = "removal-not-confirmed", "Nobody confirmed the removal of nodes."
    SLURM_VERSION_UNSUITABLE = "slurm-version-unsuitable", "The version does not fit the controller or the node."
    SLURM_VERSION_NOT_PUBLISHED = "slurm-version-not-published", "AppHub does not have the version of Slurm."
    UPGRADE_STOPPED = "upgrade-stopped", "The node was not upgraded, because one of an earlier batch failed."
    ROTATION_INCOMPLETE = "rotation-incomplete", "Hosts of the cluster would be left with the old munge key."
    ROTATION_UNDER_WAY = "rotation-under-way", "Another rotation of the munge key has not ended."
    ROTATION_INTERRUPTED = "rotation-interrupted", "A rotation stopped halfway; the host says which key it has."
    ROTATION_TOO_LATE = "rotation-too-late", "The moment to switch keys was over before the host was ready."
    ROTATION_NOT_SCHEDULED = "rotation-not-scheduled", "The host was not prepared to switch to the new munge key."
    MUNGE_KEY_UNUSABLE = "munge-key-unusable", "munged would not accept the key."
    ROTATION_TAKEN_BACK = "rotation-taken-back", "The old munge key is back, or comes back by itself."

    # AppHub, as its clients see it.
    APPHUB_NOT_CONFIGURED = "apphub-not-configured", "No address of an AppHub is stated."
    APPHUB_ADDRESS_INVALID = "apphub-address-invalid", "An address or a user name cannot be used, or holds a password."
    APPHUB_UNREACHABLE = "apphub-unreachable", "The AppHub does not answer, or none of several can be used."
    APPHUB_CERTIFICATE_INVALID = "apphub-certificate-invalid", "The certificate of the AppHub is not trusted."
    APPHUB_LOGIN_REFUSED = "apphub-login-refused", "The AppHub or its proxy asks for another user name and password."
    APPHUB_SERVER_ERROR = "apphub-server-error", "The web server of the AppHub answers with an error."
    APPHUB_LIMIT_EXCEEDED = "apphub-limit-exceeded", "A file, an archive or a folder is larger than it can rightly be."
    APPHUB_KEY_UNKNOWN = "apphub-key-unknown", "Nothing says whether the key that a server offers is AppHub's."
    APPHUB_KEY_DIFFERS = "apphub-key-differs", "The key has another checksum than the one that is stated."
    APPHUB_KEY_INVALID = "apphub-key-invalid", "The key cannot be read, has expired or was revoked."
    APPHUB_CATALOG_INVALID = "apphub-catalog-invalid", "The server has no catalog of packages that can be read."
    APPHUB_SIGNATURE_INVALID = "apphub-signature-invalid", "An index is not signed with AppHub's key."
    APPHUB_FILE_MISSING = "apphub-file-missing", "A published file is not there."
    APPHUB_FILE_DAMAGED = "apphub-file-damaged", "A published file is not what its index says."
    APPHUB_REPOSITORY_MISSING = "apphub-repository-missing", "There is no repository for an operating system."
    APPHUB_PACKAGE_MISSING = "apphub-package-missing", "A repository lacks a package, or a version of it."
    PACKAGE_INSTALLATION_FAILED = "package-installation-failed", "The package manager cannot install from the AppHub."
    PACKAGE_DEPENDENCY_MISSING = (
        "package-dependency-missing",
        "What a package needs is neither in AppHub nor in the sources of the machine.",
    )
    PACKAGE_MANAGER_BUSY = "package-manager-busy", "Something else installs packages on the machine, and does not end."
    PACKAGE_SOURCE_MISSING = "package-source-missing", "The machine does not have a repository that is stated."

    # AppHub, where it is made.
    APPHUB_TOOL_MISSING = "apphub-tool-missing", "A program that is needed is not installed."
    APPHUB_TOOL_FAILED = "apphub-tool-failed", "A program that makes or reads packages or indexes failed."
    APPHUB_SOURCE_MISSING = "apphub-source-missing", "A folder of packages is missing or empty."
    APPHUB_PACKAGE_INVALID = "apphub-package-invalid", "A package is broken, misplaced, there twice, or not for AppHub."
    APPHUB_VERSION_NEEDED = "apphub-version-needed", "Without a version, a repository would have no Slurm at all."
    APPHUB_SIGNING_KEY_INVALID = "apphub-signing-key-invalid", "The signing key cannot be used."
    APPHUB_MIRROR_FAILED = "apphub-mirror-failed", "Packages cannot be fetched from a distribution."
    APPHUB_NOT_PUBLISHED = "apphub-not-published", "Nothing is published below the root folder."
    APPHUB_DISK_FULL = "apphub-disk-full", "There is not enough free space to publish."

    # Client bundles.
    CLIENT_BUNDLE_INPUT_INVALID = "client-bundle-input-invalid", "A client bundle cannot be made of these files."
    CLIENT_BUNDLE_MISSING = "client-bundle-missing", "There is no client bundle, or none that fits the machine."
    CLIENT_BUNDLE_DAMAGED = "client-bundle-damaged", "A client bundle or the index of bundles is not what it should be."
    CLIENT_BUNDLE_FAILED = "client-bundle-failed", "The installed commands, or the script that installs them, fail."


class Failure(NamedTuple):
    """Why something is not as it should be, and what to do.

    Attributes:
        code: For programs.
        reason: What is needed and what was found, as a sentence.
        remedy: What to do, as a sentence; empty when the reason says it.
    """

    code: Code
    reason: str
    remedy: str = ""

    @property
    def message(self) -> str:
        """Reason and remedy as one text."""
        # Lines of a journal may end the reason; the remedy is none of them.
        separator = "\n" if "\n" in self.reason.strip() else " "
        return separator.join(part for part in (self.reason.strip(), self.remedy.strip()) if part)

    def as_dict(self) -> Dict[str, str]:
        """Return the form in which results, facts and reports hold it."""
        return {"code": Code(self.code).value, "reason": self.reason, "remedy": self.remedy}


class FailureError(Exception):
    """Something failed for a reason with a code; every error that modules report derives from it.

    Args:
        code: For programs.
        reason: What is needed and what was found, as a sentence.
        remedy: What to do, as a sentence.
    """

    def __init__(self, code: Code, reason: str, remedy: str = "") -> None:
        self.failure = Failure(code, reason, remedy)
        super().__init__(self.failure.message)


def fail(module: Any, failure: Failure, **result: Any) -> None:
    """End a module with a failure: `msg` for people, `failure` for programs.

    Args:
        module: The AnsibleModule.
        failure: Why.
        **result: What the module returns beside it.
    """
    module.fail_json(msg=failure.message, failure=failure.as_dict(), **result)

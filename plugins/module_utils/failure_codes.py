# Apache License 2.0 (see LICENSE)
"""Reasons that users read: every finding, refusal and failure is a code, a reason and a remedy.

A code is a contract: programs decide by it. What each means stands in failure_code_meanings.yml, which no module brings
along. The reason and the remedy are sentences for people; nothing reads them back. Standard library only, as modules
bring this to managed hosts.
"""

from __future__ import annotations

import enum
from typing import Any, Dict, NamedTuple


class Code(str, enum.Enum):
    """Every code."""

    # codes: generated from failure_code_meanings.yml by `make docs`
    HOST_UNREACHABLE = "host-unreachable"
    HOST_KEY_UNKNOWN = "host-key-unknown"
    HOST_KEY_DIFFERS = "host-key-differs"
    PYTHON_MISSING = "python-missing"
    PYTHON_TOO_OLD = "python-too-old"
    SUDO_MISSING = "sudo-missing"
    PRIVILEGES_MISSING = "privileges-missing"
    TASK_FAILED = "task-failed"
    REQUEST_INVALID = "request-invalid"
    RUN_LIMITED = "run-limited"
    SERVER_SELECTED = "server-selected"
    SYSTEM_UNSUPPORTED = "system-unsupported"
    NODE_CLAIM_INVALID = "node-claim-invalid"
    HARDWARE_NOT_MEASURED = "hardware-not-measured"
    MEMORY_TOO_SMALL = "memory-too-small"
    DISK_SPACE_LOW = "disk-space-low"
    CLOCK_SKEW = "clock-skew"
    ACCOUNT_ID_DIFFERS = "account-id-differs"
    ACCOUNT_ID_TAKEN = "account-id-taken"
    HOST_NAME_INVALID = "host-name-invalid"
    NAME_NOT_RESOLVED = "name-not-resolved"
    PORT_UNREACHABLE = "port-unreachable"
    NODE_DEFINITION_INVALID = "node-definition-invalid"
    REGISTRATION_UNSUITABLE = "registration-unsuitable"
    AUTH_TYPE_UNSUPPORTED = "auth-type-unsupported"
    NODE_PROGRAM_MISSING = "node-program-missing"
    GPU_PLUGIN_MISSING = "gpu-plugin-missing"
    NODE_OF_OTHER_CLUSTER = "node-of-other-cluster"
    MUNGE_IN_USE = "munge-in-use"
    NODE_WITHOUT_PARTITION = "node-without-partition"
    PARTITION_UNAVAILABLE = "partition-unavailable"
    NODE_WITHOUT_SWITCH = "node-without-switch"
    NODE_ADDRESS_SHARED = "node-address-shared"
    NODE_ADDRESS_UNKNOWN = "node-address-unknown"
    NODE_IS_CONTROLLER = "node-is-controller"
    HOST_RUNS_SLURMCTLD = "host-runs-slurmctld"
    NODE_REQUEST_INVALID = "node-request-invalid"
    NODE_SET_TAKEN = "node-set-taken"
    JOB_NOT_SUBMITTED = "job-not-submitted"
    MUNGE_NOT_STARTED = "munge-not-started"
    MUNGE_KEY_MISSING = "munge-key-missing"
    MUNGE_KEY_DIFFERS = "munge-key-differs"
    MUNGE_KEY_UNUSABLE = "munge-key-unusable"
    MUNGE_CREDENTIAL_REFUSED = "munge-credential-refused"
    SLURMD_NOT_STARTED = "slurmd-not-started"
    NODE_NOT_REGISTERED = "node-not-registered"
    NODE_NOT_PREPARED = "node-not-prepared"
    NODE_NOT_AVAILABLE = "node-not-available"
    NODE_NOT_VERIFIED = "node-not-verified"
    NODE_NOT_RESPONDING = "node-not-responding"
    NODE_INVALID = "node-invalid"
    NODE_HELD_BY_OTHERS = "node-held-by-others"
    NODE_DRAINED_BY_SLURM = "node-drained-by-slurm"
    NODE_DRAINED_BY_SLURMSCALE = "node-drained-by-slurmscale"
    JOB_FAILED = "job-failed"
    JOB_TIMED_OUT = "job-timed-out"
    JOB_LOST = "job-lost"
    PARTITION_WITHOUT_JOBS = "partition-without-jobs"
    NODES_NOT_CONNECTED = "nodes-not-connected"
    STEP_LEFT_OVER = "step-left-over"
    SERVICE_MISSING = "service-missing"
    SERVICE_DOWN = "service-down"
    SERVICE_NOT_ENABLED = "service-not-enabled"
    PERMISSIONS_WRONG = "permissions-wrong"
    OWNER_MISSING = "owner-missing"
    ACCOUNT_NOT_MADE = "account-not-made"
    FILE_INVALID = "file-invalid"
    FILE_NOT_WRITTEN = "file-not-written"
    SLURMD_OPTIONS_DIFFER = "slurmd-options-differ"
    CONFIGURATION_DIFFERS = "configuration-differs"
    CONFIGURATION_STRAY = "configuration-stray"
    CONTROLLER_NOT_ANSWERING = "controller-not-answering"
    SLURMCTLD_NOT_STARTED = "slurmctld-not-started"
    CONTROLLER_BUSY = "controller-busy"
    SLURM_CONF_NOT_MANAGED = "slurm-conf-not-managed"
    CONFIGURATION_EDITED = "configuration-edited"
    CONFIGURATION_UNREADABLE = "configuration-unreadable"
    CONFIGURATION_REFUSED = "configuration-refused"
    CONFIGURATION_NOT_WRITTEN = "configuration-not-written"
    CONFIGURATION_ROLLED_BACK = "configuration-rolled-back"
    CHANGE_INTERRUPTED = "change-interrupted"
    CONFIGURATION_NOT_RESTORED = "configuration-not-restored"
    APPLY_METHOD_UNSUITABLE = "apply-method-unsuitable"
    SLURM_COMMAND_MISSING = "slurm-command-missing"
    SLURM_COMMAND_FAILED = "slurm-command-failed"
    SLURM_UPDATE_REFUSED = "slurm-update-refused"
    CLUSTER_FAULTY = "cluster-faulty"
    NODE_RUNS_JOBS = "node-runs-jobs"
    NODE_REQUESTED_BY_JOBS = "node-requested-by-jobs"
    NODE_RESERVED = "node-reserved"
    NODE_NOT_MANAGED = "node-not-managed"
    REMOVAL_NOT_CONFIRMED = "removal-not-confirmed"
    SLURM_VERSION_UNSUITABLE = "slurm-version-unsuitable"
    SLURM_VERSION_NOT_PUBLISHED = "slurm-version-not-published"
    UPGRADE_STOPPED = "upgrade-stopped"
    ROTATION_INCOMPLETE = "rotation-incomplete"
    ROTATION_UNDER_WAY = "rotation-under-way"
    ROTATION_INTERRUPTED = "rotation-interrupted"
    ROTATION_TOO_LATE = "rotation-too-late"
    ROTATION_NOT_SCHEDULED = "rotation-not-scheduled"
    ROTATION_TAKEN_BACK = "rotation-taken-back"
    APPHUB_NOT_CONFIGURED = "apphub-not-configured"
    APPHUB_ADDRESS_INVALID = "apphub-address-invalid"
    APPHUB_UNREACHABLE = "apphub-unreachable"
    APPHUB_CERTIFICATE_INVALID = "apphub-certificate-invalid"
    APPHUB_LOGIN_REFUSED = "apphub-login-refused"
    APPHUB_KEY_UNKNOWN = "apphub-key-unknown"
    APPHUB_KEY_DIFFERS = "apphub-key-differs"
    APPHUB_KEY_INVALID = "apphub-key-invalid"
    APPHUB_SIGNATURE_INVALID = "apphub-signature-invalid"
    APPHUB_CATALOG_INVALID = "apphub-catalog-invalid"
    APPHUB_FILE_MISSING = "apphub-file-missing"
    APPHUB_FILE_DAMAGED = "apphub-file-damaged"
    APPHUB_SERVER_ERROR = "apphub-server-error"
    APPHUB_LIMIT_EXCEEDED = "apphub-limit-exceeded"
    APPHUB_REPOSITORY_MISSING = "apphub-repository-missing"
    APPHUB_PACKAGE_MISSING = "apphub-package-missing"
    APPHUB_VERSION_NEEDED = "apphub-version-needed"
    PACKAGE_INSTALLATION_FAILED = "package-installation-failed"
    PACKAGE_DEPENDENCY_MISSING = "package-dependency-missing"
    PACKAGE_SOURCE_MISSING = "package-source-missing"
    PACKAGE_MANAGER_BUSY = "package-manager-busy"
    APPHUB_TOOL_MISSING = "apphub-tool-missing"
    APPHUB_TOOL_FAILED = "apphub-tool-failed"
    APPHUB_SOURCE_MISSING = "apphub-source-missing"
    APPHUB_PACKAGE_INVALID = "apphub-package-invalid"
    APPHUB_SIGNING_KEY_INVALID = "apphub-signing-key-invalid"
    APPHUB_MIRROR_FAILED = "apphub-mirror-failed"
    APPHUB_NOT_PUBLISHED = "apphub-not-published"
    APPHUB_DISK_FULL = "apphub-disk-full"
    CLIENT_BUNDLE_INPUT_INVALID = "client-bundle-input-invalid"
    CLIENT_BUNDLE_MISSING = "client-bundle-missing"
    CLIENT_BUNDLE_DAMAGED = "client-bundle-damaged"
    CLIENT_BUNDLE_FAILED = "client-bundle-failed"
    NODES_IN_USE = "nodes-in-use"
    CLUSTER_UNUSABLE = "cluster-unusable"
    CREDENTIALS_NEEDED = "credentials-needed"
    NOT_FOUND = "not-found"
    PLAYBOOKS_MISSING = "playbooks-missing"
    DATABASE_UNAVAILABLE = "database-unavailable"
    ANSIBLE_NOT_STARTED = "ansible-not-started"
    NODES_FAILED = "nodes-failed"
    NODE_NOT_IN_PLAYBOOK = "node-not-in-playbook"
    NODE_NOT_READY = "node-not-ready"
    RUN_STOPPED = "run-stopped"
    RUN_CANCELLED = "run-cancelled"
    RUN_INTERRUPTED = "run-interrupted"
    RUN_LOST = "run-lost"
    RESULT_NOT_RECORDED = "result-not-recorded"
    TIME_LIMIT_REACHED = "time-limit-reached"
    ANSIBLE_FAILED = "ansible-failed"
    INTERNAL_ERROR = "internal-error"
    NOT_SIGNED_IN = "not-signed-in"
    PERMISSION_MISSING = "permission-missing"
    ORIGIN_NOT_ALLOWED = "origin-not-allowed"
    HOST_NOT_ALLOWED = "host-not-allowed"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    REQUEST_TOO_LARGE = "request-too-large"
    CONTENT_TYPE_UNSUPPORTED = "content-type-unsupported"
    TOO_MANY_REQUESTS = "too-many-requests"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    REQUEST_AT_WORK = "request-at-work"
    TASK_IS_PART_OF_RUN = "task-is-part-of-run"
    AUDIT_CHANGED = "audit-changed"
    PLAN_DIFFERS = "plan-differs"
    JOB_USER_UNSUITABLE = "job-user-unsuitable"
    JOB_SCRIPT_REFUSED = "job-script-refused"
    JOB_NOT_CANCELLED = "job-not-cancelled"
    JOB_OUTPUT_MISSING = "job-output-missing"
    # end of codes


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

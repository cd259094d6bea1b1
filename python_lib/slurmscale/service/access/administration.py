"""The users of a service as those manage them who may run commands on its machine; what they change is audited, too."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from slurmscale import settings
from slurmscale.service.access.accounts import Accounts
from slurmscale.service.access.keys import derive, read_keys
from slurmscale.service.settings import ServiceSettings
from slurmscale.store.audit import AuditEntry, AuditTrail

if TYPE_CHECKING:
    from slurmscale.scaling import Scaling

SOURCE = "command"


class Administration:
    """The users of a service.

    Args:
        scaling: The library, whose database the service has.

    Raises:
        RefusedError: The secret keys of the service can't be read.
    """

    def __init__(self, scaling: Scaling) -> None:
        self.config = settings.read(ServiceSettings)
        keys = read_keys(self.config.secret_key_file, scaling.settings.data_dir.expanduser().absolute())
        self.accounts = Accounts(scaling.store)
        self.audit = AuditTrail(scaling.store, derive(keys, "audit"))

    def record(self, action: str, resource: str, **details: Any) -> None:
        """Write into the audit trail what was changed.

        Args:
            action: What was done.
            resource: What it was done to.
            details: More, without secrets.
        """
        self.audit.add(
            AuditEntry(action, "success", resource, SOURCE, user_name=f"{getpass.getuser()} (command)", details=details)
        )

"""How slurmctld was started decides how it takes a new configuration."""

import pytest
from ansible_collections.ai_infra.slurm.plugins.module_utils.controller import restart_policy


@pytest.mark.parametrize(
    ("version", "foreground", "wanted", "expected"),
    [
        ((22, 5, 8), True, "auto", ("restart", True, False)),
        ((22, 5, 8), False, "auto", ("restart", True, False)),
        ((23, 2, 7), True, "restart", ("restart", True, False)),
        ((23, 11, 4), False, "auto", ("restart", True, False)),
        ((24, 5, 1), False, "auto", ("restart", True, False)),
        ((23, 11, 4), False, "reconfigure", ("reconfigure", False, True)),
        ((24, 11, 5), False, "auto", ("reconfigure", False, True)),
        ((24, 11, 5), True, "auto", ("reconfigure", False, False)),
        ((26, 5, 0), False, "auto", ("reconfigure", False, True)),
        ((24, 11, 5), False, "restart", ("restart", True, False)),
    ],
)
def test_the_way_is_chosen_by_version_and_start(version: tuple, foreground: bool, wanted: str, expected: tuple) -> None:  # noqa: FBT001 - parametrized
    state = {"foreground": foreground, "load": "loaded", "unit": "slurmctld"}
    assert restart_policy.choose_apply_method(version, state, wanted, configless=True) == expected


def test_nothing_is_pushed_where_every_node_has_its_slurm_conf() -> None:
    state = {"foreground": True, "load": "loaded", "unit": "slurmctld"}
    assert restart_policy.choose_apply_method((22, 5, 8), state, "auto", configless=False).push is False


@pytest.mark.parametrize(("version", "foreground"), [((22, 5, 8), False), ((23, 11, 4), True), ((), False)])
def test_a_reconfigure_that_would_end_slurmctld_is_refused(version: tuple, foreground: bool) -> None:  # noqa: FBT001 - parametrized
    state = {"foreground": foreground, "load": "loaded", "unit": "slurmctld"}
    with pytest.raises(restart_policy.CannotApplyError, match="would make it exit"):
        restart_policy.choose_apply_method(version, state, "reconfigure", configless=True)


def test_a_restart_without_a_unit_names_the_option() -> None:
    state = {"foreground": True, "load": "not-found", "unit": "slurmctld"}
    with pytest.raises(
        restart_policy.CannotApplyError, match=r"no unit slurmctld.service \(not-found\).*option service"
    ):
        restart_policy.choose_apply_method((22, 5, 8), state, "auto", configless=True)

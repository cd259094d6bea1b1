"""The codes of the library's own errors are those of the collection."""

from __future__ import annotations

import inspect

from ansible_collections.ai_infra.slurm.plugins.module_utils.failure_codes import Code
from slurmscale import errors

CODES = {code.value for code in Code}


def test_each_error_of_the_library_has_a_code_of_the_collection() -> None:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Exception)]
    assert len(classes) > 5
    assert {one.__name__: one.code for one in classes if one.code not in CODES} == {}


def test_the_codes_of_the_library_are_codes_of_the_collection() -> None:
    assert {code.value for code in errors.Code} - CODES == set()


def test_an_error_is_a_code_a_reason_and_a_remedy() -> None:
    error = errors.ClusterError("There is no cluster x.", "Add it.")
    assert error.as_dict() == {"code": "cluster-unusable", "reason": "There is no cluster x.", "remedy": "Add it."}
    assert str(error) == "There is no cluster x. Add it."
    assert errors.RefusedError("No.", code="credentials-needed").code == "credentials-needed"

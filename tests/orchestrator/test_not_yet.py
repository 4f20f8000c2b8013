"""What this API has and this server has not yet is told apart from what no one knows."""

import pytest

from tests.orchestrator.conftest import Api

LATER = [
    ("POST", "/v1/jobs/workflow"),
    ("POST", "/v1/jobs/workflow/params/check"),
    ("POST", "/v1/jobs/workflow/template"),
    ("POST", "/v1/workflows/template/check"),
    ("GET", "/v1/workflows/676018193025756628"),
    ("POST", "/v1/img2prompt"),
]


@pytest.mark.parametrize(("method", "path"), LATER)
async def test_an_endpoint_that_comes_later_says_so_to_who_is_known(api: Api, method: str, path: str) -> None:
    known = await api.call(method, path, data=b"{ anything")
    stranger = await api.call(method, path, headers={"Authorization": "Bearer wrong"})

    assert (known[0], known[1]["code"], known[1]["details"]) == (501, 12, [])
    assert path in known[1]["message"]
    assert (stranger[0], stranger[1]["code"]) == (401, 16)

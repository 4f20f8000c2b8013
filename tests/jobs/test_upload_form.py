import base64
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from jobs.errors import InvalidSubmission, LinkRefused
from jobs.upload_form import AllowedUpload, SignedForm, UploadForms
from tests.jobs.samples import Clock

HOUR = timedelta(hours=1)
RESOURCE = UUID(int=5)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def forms(clock: Clock) -> UploadForms:
    return UploadForms(url="https://images.example/upload", secret=b"a secret of the test", now=clock, max_bytes=1000)


def fields(form: SignedForm, **changes: str | None) -> dict[str, str]:
    """As a browser sends them; None leaves one out."""
    whole = {
        "ossaccesskeyid": form.access_id,
        "policy": form.policy,
        "signature": form.signature,
        "key": form.file_path,
        "callback": form.callback,
        "x-oss-security-token": form.security_token,
    }
    changed = {**whole, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return {name: value for name, value in changed.items() if value is not None}


def test_a_signed_form_allows_its_resource_and_its_size(forms: UploadForms) -> None:
    assert forms.check(fields(forms.sign(RESOURCE, HOUR))) == AllowedUpload(RESOURCE, 1000)


def test_the_policy_is_one_that_oss_would_read(forms: UploadForms) -> None:
    form = forms.sign(RESOURCE, HOUR)

    policy = json.loads(base64.b64decode(form.policy))
    assert policy["expiration"] == "2026-05-01T13:00:00.000Z"
    assert policy["conditions"][:2] == [["content-length-range", 1, 1000], ["eq", "$key", form.file_path]]
    assert form.expires_at == datetime(2026, 5, 1, 13, tzinfo=UTC)
    assert json.loads(base64.b64decode(form.callback)) == {
        "callbackUrl": "https://images.example/upload",
        "callbackBody": f"resourceId={RESOURCE}",
    }


def test_fields_that_were_not_signed_are_passed_over(forms: UploadForms) -> None:
    form = forms.sign(RESOURCE, HOUR)

    assert forms.check(fields(form, name="picture.png")).resource_id == RESOURCE


def test_callback_and_token_may_be_left_out(forms: UploadForms) -> None:
    form = forms.sign(RESOURCE, HOUR)

    assert forms.check(fields(form, callback=None, x_oss_security_token=None)).resource_id == RESOURCE


@pytest.mark.parametrize(
    "altered",
    [
        {"ossaccesskeyid": "another"},
        {"policy": base64.b64encode(b'{"expiration":"2099-01-01T00:00:00Z","conditions":[]}').decode()},
        {"policy": ""},
        {"policy": "é\udcff"},
        {"signature": ""},
        {"signature": "é\udcff"},
        {"key": f"uploads/{UUID(int=6)}"},
        {"key": "../../etc/passwd"},
        {"callback": "e30="},
        {"x_oss_security_token": "0"},
    ],
)
def test_an_altered_form_is_refused(forms: UploadForms, altered: dict[str, str]) -> None:
    form = forms.sign(RESOURCE, HOUR)

    with pytest.raises(LinkRefused):
        forms.check(fields(form, **altered))


def test_another_secret_does_not_sign_it(forms: UploadForms, clock: Clock) -> None:
    other = UploadForms(url=forms.url, secret=b"another secret", now=clock, max_bytes=1000)

    with pytest.raises(LinkRefused):
        forms.check(fields(other.sign(RESOURCE, HOUR)))


def test_the_signature_of_one_form_does_not_fit_the_policy_of_another(forms: UploadForms) -> None:
    one, other = forms.sign(RESOURCE, HOUR), forms.sign(UUID(int=6), HOUR)

    with pytest.raises(LinkRefused):
        forms.check(fields(one, policy=other.policy, key=other.file_path))


def test_all_missing_fields_are_named_at_once_as_oss_spells_them(forms: UploadForms) -> None:
    with pytest.raises(InvalidSubmission) as refused:
        forms.check({"policy": "x"})

    assert [fault.path for fault in refused.value.faults] == ["OSSAccessKeyId", "Signature", "key"]


def test_a_form_works_until_its_last_second_and_not_after(forms: UploadForms, clock: Clock) -> None:
    signed = fields(forms.sign(RESOURCE, HOUR))

    clock.time += HOUR
    forms.check(signed)
    clock.time += timedelta(seconds=1)
    with pytest.raises(LinkRefused, match="expired"):
        forms.check(signed)

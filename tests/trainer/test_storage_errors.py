"""What S3 answers, as the class and reason that the operator acts on."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, IncompleteReadError, NoCredentialsError

from finetune_api.conditions import Reason
from finetune_trainer.errors import CredentialsError, InfrastructureError, SettingsError, TrainerError
from finetune_trainer.storage_errors import translated


def answer(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "the server's own words"}}, "PutObject")


UNAVAILABLE = (InfrastructureError, Reason.STORAGE_UNAVAILABLE)
DENIED = (CredentialsError, Reason.ACCESS_DENIED)
ANSWERS = {
    "no bucket": (answer("NoSuchBucket"), (SettingsError, Reason.BUCKET_NOT_FOUND), "'team' does not exist"),
    "a wrong key": (answer("InvalidAccessKeyId"), DENIED, "does not accept"),
    "no right": (answer("AccessDenied"), DENIED, "may not write"),
    "no identity": (NoCredentialsError(), DENIED, "no S3 identity"),
    "a full bucket of Ceph": (answer("QuotaExceeded"), UNAVAILABLE, "no room in bucket 'team'"),
    "a full bucket of MinIO": (answer("XMinioAdminBucketQuotaExceeded"), UNAVAILABLE, "no room in bucket 'team'"),
    "a full disk, without a code": (answer("507"), UNAVAILABLE, "no room in bucket 'team'"),
    "an object replaced while it was read": (answer("PreconditionFailed"), UNAVAILABLE, "it was replaced meanwhile"),
    "too many requests": (answer("SlowDown"), UNAVAILABLE, "SlowDown"),
    "no connection": (
        EndpointConnectionError(endpoint_url="http://s3:8333/team?own words"),
        UNAVAILABLE,
        "EndpointConnectionError at http://s3:8333",
    ),
    "half an answer": (IncompleteReadError(actual_bytes=1, expected_bytes=2), UNAVAILABLE, "IncompleteReadError"),
}


@pytest.mark.parametrize(("raised", "expected", "message"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_has_its_class_and_the_message_names_the_object(
    raised: Exception, expected: tuple[type[TrainerError], Reason], message: str
) -> None:
    with pytest.raises(TrainerError) as caught, translated("write", "s3://team/a/key"):
        raise raised
    assert (type(caught.value), caught.value.reason) == expected
    assert message in caught.value.message
    assert "s3://team/a/key" in caught.value.message
    assert "own words" not in caught.value.message

"""`spec.model` and `spec.storage`: the base model and how S3 is reached."""

from pydantic import ConfigDict, Field

from finetune_api.base import Contract, ObjectName, S3Uri, cel


class Model(Contract):
    """The base model."""

    uri: S3Uri
    """S3 prefix of a Hugging Face model directory: config.json, tokenizer files, *.safetensors weights. Pickled
    weights and remote code are refused."""
    adapter_uri: S3Uri | None = None
    """Go on from this adapter, the artifact of an earlier job on the same base (transfer learning). Its rank, scale and
    target modules are kept; it stands beside base and tuned in the comparison."""


class Credentials(Contract):
    """Where the trainer finds its S3 identity."""

    secret_name: ObjectName
    """Secret in the job's namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and optionally
    AWS_SESSION_TOKEN). The operator never reads it; only the trainer pod does."""


class CaBundle(Contract):
    """A private certificate authority to trust."""

    config_map_name: ObjectName
    """ConfigMap in the job's namespace that holds the PEM bundle."""
    key: str = Field(default="ca.crt", max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")
    """Key of the bundle in the ConfigMap."""


class Storage(Contract):
    """The S3 service that every URI of this job is read from and written to."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!(has(self.credentials) && has(self.serviceAccountName))",
                    "set either storage.credentials (static keys) or storage.serviceAccountName (workload identity), "
                    "not both",
                ),
            ]
        }
    )

    endpoint: str | None = Field(default=None, max_length=512, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$")
    """URL of an S3-compatible service; leave empty for AWS."""
    region: str = Field(default="us-east-1", max_length=64, pattern=r"^[a-z0-9-]+$")
    """Region that requests are signed for."""
    path_style: bool = True
    """Address buckets as endpoint/bucket (most self-hosted services) instead of bucket.endpoint."""
    ca_bundle: CaBundle | None = None
    """Trust this certificate authority when the endpoint's certificate is not publicly signed."""
    credentials: Credentials | None = None
    """Static keys from a Secret. Leave empty when the pod's service account carries the identity."""
    service_account_name: ObjectName | None = None
    """Service account whose workload identity (IRSA, Pod Identity and the like) reaches S3. The pod never gets a
    Kubernetes API token."""

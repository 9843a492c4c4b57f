"""Keys and certificates: one authority for Kubernetes, one for S3.

S3 has its own so that trainers meet what users meet: an object store whose CA they must be given.
"""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = datetime.timedelta(days=3650)
# A machine whose clock was just set back must still accept what it made.
_CLOCK_SLACK = datetime.timedelta(days=1)


@dataclass(frozen=True)
class KeyPair:
    """The files of one certificate and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Subject:
    """Whom a certificate names: Kubernetes reads the user from `name` and groups from `groups`."""

    name: str
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class Authority:
    """A certificate authority kept in a folder; made at first use, read again later."""

    def __init__(self, folder: Path, name: str, now: datetime.datetime) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.pair = KeyPair(folder / f"{name}.crt", folder / f"{name}.key")
        self._now = now
        if not self.pair.certificate.exists():
            self._create(name)
        self._key = _read_key(self.pair.key)
        self._certificate = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())

    def issue(self, name: str, subject: Subject) -> KeyPair:
        """The certificate file `name` for `subject`, good for client and server; made once."""
        pair = KeyPair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if pair.certificate.exists():
            return pair
        key = write_key(pair.key)
        builder = _builder(_x509_name(subject), self._certificate.subject, key, self._now)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        names = _alternative_names(subject)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        _write_certificate(pair.certificate, builder.sign(self._key, hashes.SHA256()))
        return pair

    def _create(self, name: str) -> None:
        key = write_key(self.pair.key)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key, self._now)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_signing_only(), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        _write_certificate(self.pair.certificate, builder.sign(key, hashes.SHA256()))


def write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A new P-256 key, written as PKCS 8 PEM, readable by the owner only."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return key


def service_account_keys(folder: Path) -> KeyPair:
    """The pair that signs service account tokens; `certificate` holds the bare public key."""
    pair = KeyPair(folder / "service-account.pub", folder / "service-account.key")
    if not pair.certificate.exists():
        public = write_key(pair.key).public_key()
        pair.certificate.write_bytes(
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + _LIFETIME)
    )


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _x509_name(subject: Subject) -> x509.Name:
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in subject.groups]
    return x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, subject.name)])


def _alternative_names(subject: Subject) -> Sequence[x509.GeneralName]:
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in subject.addresses]
    return [*addresses, *(x509.DNSName(host) for host in subject.hosts)]


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} is not an elliptic-curve key; delete the cluster's folder and start again")
    return key


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

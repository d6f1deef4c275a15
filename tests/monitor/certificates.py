"""Real certificates of every kind of wrong, made for a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import define
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "court.example"
NOW = datetime.now(UTC)


@define
class Authority:
    """A CA that can sign, and say what it has taken back."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, folder: Path, name: str, parent: Authority | None = None) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, parent, is_ca=True)
        authority = cls(folder, key, certificate)
        authority.file.write_bytes(_pem(certificate))
        return authority

    @property
    def file(self) -> Path:
        common = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return self.folder / f"{common}.pem"

    def issue(
        self,
        name: str = NAME,
        *,
        begins: timedelta = timedelta(days=-1),
        ends: timedelta = timedelta(days=60),
        chain: tuple[x509.Certificate, ...] = (),
    ) -> Path:
        """Return a PEM file with key, certificate and *chain*."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, self, begins=begins, ends=ends)
        return _keep(self.folder, key, certificate, *chain)

    def revoke(self, *files: Path, ends: timedelta = timedelta(days=30)) -> bytes:
        """Return a revocation list in PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(NOW - timedelta(days=60))
            .next_update(NOW + ends)
        )
        for file in files:
            certificate = x509.load_pem_x509_certificates(file.read_bytes())[0]
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(NOW)
                .build()
            )
        signed = builder.sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    return _keep(folder, key, _certificate(NAME, key, None))


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    parent: Authority | None,
    *,
    is_ca: bool = False,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=60),
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=is_ca, crl_sign=is_ca, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent.certificate.subject if parent else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    if not is_ca:
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(parent.key if parent else key, hashes.SHA256())


def _keep(folder: Path, key: ec.EllipticCurvePrivateKey, *chain: x509.Certificate) -> Path:
    file = folder / f"{chain[0].serial_number}.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(secret + b"".join(_pem(one) for one in chain))
    return file


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)

//! Certificates of any dates, with keys that fit and signatures that nobody looks at.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::der::asn1::{BitString, GeneralizedTime, Ia5String, OctetString};
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Any, Encode as _, EncodePem as _, pem};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use super::{Bundle, CertificateHost, IssuerName, Texts};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// Midnight of a day, `2026-01-01`.
pub(crate) fn day(text: &str) -> DateTime<Utc> {
    let day: NaiveDate = text.parse().unwrap();
    day.and_hms_opt(0, 0, 0).unwrap().and_utc()
}

fn time(text: &str) -> Time {
    let seconds = u64::try_from(day(text).timestamp()).unwrap();
    Time::GeneralTime(GeneralizedTime::from_unix_duration(Duration::from_secs(seconds)).unwrap())
}

/// A new key and a certificate of it.
pub(crate) fn made(host: &str, from: &str, to: &str) -> Texts {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).unwrap();
    let name = GeneralName::DnsName(Ia5String::new(host).unwrap());
    let names = Extension {
        extn_id: SubjectAltName::OID,
        critical: false,
        extn_value: OctetString::new(SubjectAltName(vec![name]).to_der().unwrap()).unwrap(),
    };
    let signature = AlgorithmIdentifierOwned { oid: ECDSA, parameters: None };
    let algorithm = AlgorithmIdentifierOwned { oid: EC, parameters: Some(Any::from(P256)) };
    let public = BitString::from_bytes(pair.public_key().as_ref()).unwrap();
    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(&pair.public_key().as_ref()[1..9]).unwrap(),
        signature: signature.clone(),
        issuer: Name::default(),
        validity: Validity { not_before: time(from), not_after: time(to) },
        subject: Name::default(),
        subject_public_key_info: SubjectPublicKeyInfoOwned {
            algorithm,
            subject_public_key: public,
        },
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(Extensions::from([names])),
    };
    let certificate = Certificate {
        tbs_certificate,
        signature_algorithm: signature,
        signature: BitString::from_bytes(&[0; 8]).unwrap(),
    };
    let url = "https://ca.test/certificate/1";
    let metadata = serde_json::json!({"sans": [host], "issuer_data": {"url": url}});
    let key = pem::encode_string("PRIVATE KEY", LineEnding::LF, key.as_ref()).unwrap();
    let certificate = certificate.to_pem(LineEnding::LF).unwrap();
    Texts { certificate, key, metadata: metadata.to_string() }
}

pub(crate) fn bundle_of(issuer: &str, host: &str, from: &str, to: &str) -> Bundle {
    let name = CertificateHost::parse(host).unwrap();
    let issuer = IssuerName::parse(issuer).unwrap();
    Bundle::new(name, issuer, made(host, from, to)).unwrap()
}

pub(crate) fn bundle(host: &str, from: &str, to: &str) -> Bundle {
    bundle_of("ca.test-directory", host, from, to)
}

//! Whether a private key is that of a certificate.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RsaKeyPair,
};
use x509_cert::der::asn1::OctetString;
use x509_cert::der::{self, Any, Encode as _, Tag};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// What belongs says of keys of no kind that Caddy makes: ECDSA on P-256 or P-384, RSA, Ed25519.
const UNKNOWN: &str = "it is of no kind that is known";

/// Checks it; `label` is the PEM block's.
pub(super) fn belongs(
    label: &str,
    key: &[u8],
    subject: &SubjectPublicKeyInfoOwned,
) -> Result<(), &'static str> {
    let public = match label {
        "EC PRIVATE KEY" => {
            let wrapped = as_pkcs8(key, subject).map_err(|_| UNKNOWN)?;
            elliptic(&wrapped)
        }
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(key).ok().map(|pair| bytes(&pair)),
        "PRIVATE KEY" | "ED25519 PRIVATE KEY" => {
            let rsa = || RsaKeyPair::from_pkcs8(key).ok().map(|pair| bytes(&pair));
            let edwards =
                || Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).ok().map(|pair| bytes(&pair));
            elliptic(key).or_else(rsa).or_else(edwards)
        }
        _ => None,
    };
    match public {
        None => Err(UNKNOWN),
        Some(public) if Some(public.as_slice()) == subject.subject_public_key.as_bytes() => Ok(()),
        Some(_) => Err("it is that of another certificate"),
    }
}

fn bytes<Pair: ring::signature::KeyPair>(pair: &Pair) -> Vec<u8> {
    pair.public_key().as_ref().to_vec()
}

fn elliptic(key: &[u8]) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING]
        .into_iter()
        .find_map(|curve| EcdsaKeyPair::from_pkcs8(curve, key, &random).ok())
        .map(|pair| bytes(&pair))
}

/// A key in the older form (SEC 1) in the form that says its algorithm, which is the certificate's.
fn as_pkcs8(key: &[u8], subject: &SubjectPublicKeyInfoOwned) -> der::Result<Vec<u8>> {
    let version = 0u8.to_der()?;
    let algorithm = subject.algorithm.to_der()?;
    let key = OctetString::new(key)?.to_der()?;
    Any::new(Tag::Sequence, [version, algorithm, key].concat())?.to_der()
}

#[cfg(test)]
mod tests {
    use x509_cert::Certificate;
    use x509_cert::der::{DecodePem as _, pem};

    use super::*;

    /// Made by `openssl req -x509 -newkey …`, `openssl ec` and `openssl rsa -traditional`.
    const CASES: [(&str, &str); 4] = [
        (include_str!("testdata/p256.crt"), include_str!("testdata/p256.key")),
        (include_str!("testdata/p384.crt"), include_str!("testdata/p384.key")),
        (include_str!("testdata/rsa.crt"), include_str!("testdata/rsa.key")),
        (include_str!("testdata/ed25519.crt"), include_str!("testdata/ed25519.key")),
    ];

    #[test]
    fn the_keys_that_caddy_makes_are_told_apart() {
        for (i, (_, key)) in CASES.iter().enumerate() {
            for (j, (certificate, _)) in CASES.iter().enumerate() {
                let certificate = Certificate::from_pem(certificate).unwrap();
                let subject = &certificate.tbs_certificate.subject_public_key_info;
                let (label, key) = pem::decode_vec(key.trim().as_bytes()).unwrap();
                assert_eq!(belongs(label, &key, subject).is_ok(), i == j, "{label} {i} {j}");
            }
        }
    }
}

//! Keys, issuers and tokens for the tests of this crate. The keys are made when a test asks for them.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hearth_core::Map;
use serde_json::{Value, json};

use crate::keys::{Algorithm, KeySource};
use crate::mint::{Grant, Minter};
use crate::token::Issuer;

pub(crate) const NOW: u64 = 1_900_000_000;
/// A test key.
pub(crate) const SECRET: &[u8] = b"a secret of the tests, worth nothing elsewhere";

struct Pair {
    private_pem: String,
    public_pem: String,
    jwk: Value,
}

static RSA: LazyLock<Pair> = LazyLock::new(|| rsa(KeySize::Rsa2048));
static OTHER_RSA: LazyLock<Pair> = LazyLock::new(|| rsa(KeySize::Rsa2048));
static P256: LazyLock<Pair> = LazyLock::new(|| ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"));
static P384: LazyLock<Pair> = LazyLock::new(|| ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"));
static ED: LazyLock<Pair> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::generate().unwrap();
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())});
    Pair { private_pem: pem("PRIVATE KEY", private.as_ref()), public_pem: pem("PUBLIC KEY", public.as_ref()), jwk }
});

fn rsa(size: KeySize) -> Pair {
    let pair = aws_lc_rs::rsa::KeyPair::generate(size).unwrap();
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    let n = base64url(pair.public_key().modulus().big_endian_without_leading_zero());
    let e = base64url(pair.public_key().exponent().big_endian_without_leading_zero());
    let jwk = json!({"kty": "RSA", "n": n, "e": e});
    Pair { private_pem: pem("PRIVATE KEY", private.as_ref()), public_pem: pem("PUBLIC KEY", public.as_ref()), jwk }
}

fn ec(signing: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm, curve: &str) -> Pair {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(signing, private.as_ref()).unwrap();
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
    let jwk = json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)});
    Pair { private_pem: pem("PRIVATE KEY", private.as_ref()), public_pem: pem("PUBLIC KEY", public.as_ref()), jwk }
}

fn pair(algorithm: Algorithm) -> &'static Pair {
    match algorithm {
        Algorithm::Hs256 => panic!("HS256 has no pair"),
        Algorithm::Rs256 | Algorithm::Ps256 => &RSA,
        Algorithm::Es256 => &P256,
        Algorithm::Es384 => &P384,
        Algorithm::EdDsa => &ED,
    }
}

pub(crate) fn private_pem(algorithm: Algorithm) -> &'static str {
    &pair(algorithm).private_pem
}

pub(crate) fn public_pem(algorithm: Algorithm) -> &'static str {
    &pair(algorithm).public_pem
}

pub(crate) fn other_rsa_private_pem() -> &'static str {
    &OTHER_RSA.private_pem
}

/// The public key as a JWK without `kid`, `use` and `alg`.
pub(crate) fn jwk(algorithm: Algorithm) -> Value {
    pair(algorithm).jwk.clone()
}

/// The same with that id.
pub(crate) fn jwk_named(algorithm: Algorithm, kid: &str) -> Value {
    with(jwk(algorithm), "kid", json!(kid))
}

/// A JSON object with one member set.
pub(crate) fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

pub(crate) fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// The test issuer, with its secret or its public key as PEM.
pub(crate) fn issuer(algorithm: Algorithm) -> Issuer {
    let keys = match algorithm {
        Algorithm::Hs256 => KeySource::Secret(SECRET.to_vec()),
        algorithm => KeySource::Pem(public_pem(algorithm).into()),
    };
    Issuer {
        issuer: "https://issuer.test".into(),
        audiences: vec!["hearth".into(), "other".into()],
        algorithm,
        keys,
        uid_claim: None,
        leeway_seconds: Issuer::LEEWAY_SECONDS_DEFAULT,
    }
}

pub(crate) fn secret_issuer() -> Issuer {
    issuer(Algorithm::Hs256)
}

pub(crate) fn minter(algorithm: Algorithm) -> Minter {
    match algorithm {
        Algorithm::Hs256 => secret_minter(),
        algorithm => Minter::pem(algorithm, private_pem(algorithm).as_bytes()).unwrap(),
    }
}

pub(crate) fn secret_minter() -> Minter {
    Minter::secret(SECRET).unwrap()
}

/// A token's worth for the test issuer, an hour long.
pub(crate) fn grant(uid: &str) -> Grant {
    Grant {
        issuer: "https://issuer.test".into(),
        audience: "hearth".into(),
        uid: uid.into(),
        claims: Map::new(),
        lifetime_seconds: 3_600,
    }
}

/// Signs any header and claims, also those that no minter would make.
pub(crate) fn signed(algorithm: Algorithm, header: &str, claims: &str) -> String {
    crate::install_token_crypto();
    let message = format!("{}.{}", part(header), part(claims));
    let key = match algorithm {
        Algorithm::Hs256 => jsonwebtoken::EncodingKey::from_secret(SECRET),
        Algorithm::Rs256 | Algorithm::Ps256 => {
            jsonwebtoken::EncodingKey::from_rsa_pem(private_pem(algorithm).as_bytes()).unwrap()
        }
        Algorithm::Es256 | Algorithm::Es384 => {
            jsonwebtoken::EncodingKey::from_ec_pem(private_pem(algorithm).as_bytes()).unwrap()
        }
        Algorithm::EdDsa => jsonwebtoken::EncodingKey::from_ed_pem(private_pem(algorithm).as_bytes()).unwrap(),
    };
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm.for_jsonwebtoken()).unwrap();
    format!("{message}.{signature}")
}

/// One part of a token.
pub(crate) fn part(json: &str) -> String {
    base64url(json.as_bytes())
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

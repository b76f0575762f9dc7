//! See the module above: its promises, one test each.

use serde_json::json;

use super::*;
use crate::testing::{self, NOW, jwk, jwk_named, set, with};

fn load(algorithm: Algorithm, source: KeySource) -> String {
    match KeySet::new(algorithm, &source) {
        Ok(keys) => format!("{} keys", keys.keys.len()),
        Err(error) => format!("refused: {error}"),
    }
}

fn jwks(algorithm: Algorithm, keys: &[serde_json::Value]) -> String {
    load(algorithm, KeySource::Jwks(set(keys)))
}

fn fetched() -> KeySet {
    KeySet::new(Algorithm::Es256, &KeySource::JwksUrl("https://issuer.test/keys".into())).unwrap()
}

fn look(keys: &mut KeySet, id: &str, now: u64) -> &'static str {
    match keys.find(Some(id), now) {
        Found::Key(_) => "found",
        Found::Unknown { may_arrive: true } => "unknown, may arrive",
        Found::Unknown { may_arrive: false } => "unknown",
        Found::NotLoaded => "not loaded",
    }
}

#[test]
fn algorithms_are_named_as_tokens_name_them() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
    }
    for name in ["none", "hs256", "HS512", "ES512", "RS256 ", ""] {
        assert_eq!(Algorithm::parse(name), None, "{name}");
    }
}

#[test]
fn secrets_and_public_keys_are_not_taken_for_each_other() {
    let pem = || KeySource::Pem(testing::public_pem(Algorithm::Rs256).into());
    let refused = "refused: HS256 wants a secret, and a public key was given: whoever knows it could sign";
    assert_eq!(load(Algorithm::Hs256, pem()), refused);
    assert_eq!(load(Algorithm::Hs256, KeySource::JwksUrl("https://issuer.test/keys".into())), refused);
    let secret = || KeySource::Secret(testing::SECRET.into());
    assert_eq!(load(Algorithm::Hs256, secret()), "1 keys");
    assert_eq!(load(Algorithm::Rs256, secret()), "refused: a secret is for HS256 alone, and RS256 wants a public key");
    let short = KeySource::Secret(b"0123456789012345678901234567890\n".into());
    assert_eq!(load(Algorithm::Hs256, short), "refused: the secret has 31 bytes, fewer than the 32 that HS256 needs");
}

#[test]
fn pem_files_hold_a_public_key_of_the_right_kind() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        assert_eq!(load(algorithm, KeySource::Pem(testing::public_pem(algorithm).into())), "1 keys");
        assert!(load(algorithm, KeySource::Pem(testing::private_pem(algorithm).into())).starts_with("refused"));
        assert!(load(algorithm, KeySource::Pem(b"-----BEGIN PUBLIC KEY-----".into())).starts_with("refused"));
    }
    let wrong = |algorithm, of| load(algorithm, KeySource::Pem(testing::public_pem(of).into()));
    assert!(wrong(Algorithm::Es256, Algorithm::Es384).starts_with("refused"));
    assert!(wrong(Algorithm::Rs256, Algorithm::Es256).starts_with("refused"));
    assert!(wrong(Algorithm::EdDsa, Algorithm::Rs256).starts_with("refused"));
}

// Made once with openssl: certificates of throw-away keys whose private halves were thrown away.
const RSA_CERTIFICATE: &str = include_str!("../../tests/fixtures/test-rsa-certificate.pem");
const EC_CERTIFICATE: &str = include_str!("../../tests/fixtures/test-ec-certificate.pem");
/// A token that the key of the first certificate signed before it was thrown away.
const RSA_TOKEN: &str = include_str!("../../tests/fixtures/test-rsa-token.txt");

#[test]
fn certificates_are_taken_for_the_key_inside() {
    crate::install_token_crypto();
    let key = Key::pem(Algorithm::Rs256, RSA_CERTIFICATE.as_bytes()).unwrap();
    let (message, signature) = RSA_TOKEN.trim().rsplit_once('.').unwrap();
    assert!(key.verifies(message, signature));
    assert!(!key.verifies(&message[1..], signature));
    assert_eq!(load(Algorithm::Es256, KeySource::Pem(EC_CERTIFICATE.into())), "1 keys");
    assert!(load(Algorithm::EdDsa, KeySource::Pem(EC_CERTIFICATE.into())).starts_with("refused"));
}

#[test]
fn certificates_by_key_id_are_a_set_too() {
    let body = json!({"one": RSA_CERTIFICATE, "two": "no certificate", "three": EC_CERTIFICATE}).to_string();
    let mut keys = KeySet::new(Algorithm::Rs256, &KeySource::Jwks(body.into_bytes())).unwrap();
    assert_eq!(look(&mut keys, "one", NOW), "found");
    assert_eq!(look(&mut keys, "two", NOW), "unknown");
    assert_eq!(look(&mut keys, "three", NOW), "unknown");
}

#[test]
fn keys_of_a_set_are_used_only_for_what_they_are_meant() {
    use Algorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
    for algorithm in [Rs256, Ps256, Es256, Es384, EdDsa] {
        assert_eq!(jwks(algorithm, &[jwk(algorithm)]), "1 keys");
        assert_eq!(jwks(algorithm, &[with(jwk(algorithm), "alg", json!(algorithm.name()))]), "1 keys");
        assert_eq!(jwks(algorithm, &[with(jwk(algorithm), "use", json!("sig"))]), "1 keys");
        assert_eq!(jwks(algorithm, &[with(jwk(algorithm), "key_ops", json!(["verify"]))]), "1 keys");
        let none = format!("refused: none of the 1 keys of the set verifies {algorithm}");
        for (name, value) in [
            ("use", json!("enc")),
            ("use", json!(7)),
            ("alg", json!("HS256")),
            ("alg", json!("none")),
            ("alg", json!(null)),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!("verify")),
            ("kty", json!("oct")),
            ("kty", json!("new")),
            ("x", json!("AAAA")),
            ("n", json!("AAAA")),
        ] {
            let for_rsa = matches!(algorithm, Rs256 | Ps256);
            if (name == "n" && !for_rsa) || (name == "x" && for_rsa) {
                continue;
            }
            let key = with(jwk(algorithm), name, value);
            assert_eq!(jwks(algorithm, std::slice::from_ref(&key)), none, "{key}");
        }
    }
    assert!(jwks(Rs256, &[with(jwk(Rs256), "alg", json!("PS256"))]).starts_with("refused"));
    assert!(jwks(Es256, &[jwk(Es384)]).starts_with("refused"));
    assert!(jwks(Es256, &[with(jwk(Es256), "crv", json!("P-384"))]).starts_with("refused"));
}

#[test]
fn secrets_in_a_set_are_never_taken() {
    let secret = json!({"kty": "oct", "k": testing::base64url(testing::SECRET), "kid": "a"});
    assert_eq!(
        jwks(Algorithm::Rs256, std::slice::from_ref(&secret)),
        "refused: none of the 1 keys of the set verifies RS256"
    );
    assert!(jwks(Algorithm::Hs256, &[secret]).starts_with("refused"));
}

#[test]
fn unknown_and_broken_keys_are_skipped_and_the_rest_kept() {
    let keys = [
        json!({"kty": "new kind", "kid": "a"}),
        json!({"kid": 7}),
        json!("no key"),
        json!({"kty": "EC", "crv": "P-256", "x": "!", "y": "!"}),
        jwk_named(Algorithm::Es256, "good"),
        jwk_named(Algorithm::Es256, "good"),
        jwk_named(Algorithm::Es256, &"k".repeat(257)),
    ];
    assert_eq!(jwks(Algorithm::Es256, &keys), "1 keys");
}

#[test]
fn what_is_no_set_is_refused() {
    let check = |body: &str, want: &str| assert_eq!(load(Algorithm::Es256, KeySource::Jwks(body.into())), want);
    let none = "refused: neither a JSON Web Key Set nor an object of certificates";
    for body in ["", "null", "[]", "{}", r#"{"keys":{}}"#, r#"{"a":1}"#, "<html>"] {
        check(body, none);
    }
    check(r#"{"keys":[]}"#, "refused: none of the 0 keys of the set verifies ES256");
    check(r#"{"a":"b"}"#, "refused: none of the 1 keys of the set verifies ES256");
    check(&" ".repeat(KeySet::SET_BYTES_MAX + 1), "refused: the key set has 1048577 bytes, over the limit of 1048576");
    let many = vec![json!({}); 101];
    assert_eq!(jwks(Algorithm::Es256, &many), "refused: the key set has 101 keys, over the limit of 100");
}

#[test]
fn small_rsa_keys_are_refused() {
    let small = with(jwk(Algorithm::Rs256), "n", json!(testing::base64url(&[0xff; 128])));
    assert!(jwks(Algorithm::Rs256, &[small]).starts_with("refused"));
}

#[test]
fn sets_are_fetched_over_tls_or_from_this_machine() {
    let ok = ["https://a.test/keys", "http://127.0.0.1:9/keys", "http://localhost/k", "http://[::1]:9/k"];
    let bad = [
        "",
        "https://",
        "http://a.test/keys",
        "http://localhost.a.test/",
        "http://localhost@a.test/",
        "http://localhost:1@a.test/",
        "file:///etc/passwd",
        "https://a.test/ x",
        "ftp://localhost/",
    ];
    for url in ok {
        assert!(is_fetchable(url), "{url}");
    }
    for url in bad {
        assert_eq!(
            load(Algorithm::Es256, KeySource::JwksUrl(url.into())).as_str(),
            format!("refused: {}", KeyError::Url)
        );
    }
}

#[test]
fn a_token_without_a_key_id_fits_only_a_set_of_one() {
    let mut one = KeySet::new(Algorithm::Es256, &KeySource::Jwks(set(&[jwk_named(Algorithm::Es256, "a")]))).unwrap();
    assert!(matches!(one.find(None, NOW), Found::Key(_)));
    let two = set(&[jwk_named(Algorithm::Es256, "a"), jwk_named(Algorithm::Es256, "b")]);
    let mut two = KeySet::new(Algorithm::Es256, &KeySource::Jwks(two)).unwrap();
    assert!(matches!(two.find(None, NOW), Found::Unknown { may_arrive: false }));
    assert_eq!(look(&mut two, "b", NOW), "found");
}

#[test]
fn a_set_is_fetched_at_once_and_again_when_it_is_stale() {
    let mut keys = fetched();
    let body = set(&[jwk_named(Algorithm::Es256, "a")]);
    assert_eq!(look(&mut keys, "a", NOW), "not loaded");
    assert_eq!(keys.refresh_at(), Some(0));
    assert_eq!(keys.begin(NOW), Some("https://issuer.test/keys"));
    assert_eq!(keys.begin(NOW + 1), None, "one fetch at a time");
    keys.refreshed(NOW + 1, &body, Some(3_600)).unwrap();
    assert_eq!(look(&mut keys, "a", NOW + 1), "found");
    assert_eq!(keys.refresh_at(), Some(NOW + 3_601));
    assert_eq!(keys.begin(NOW + 3_600), None);
    assert!(keys.begin(NOW + 3_601).is_some());
    keys.refreshed(NOW + 3_602, &body, Some(1)).unwrap();
    assert_eq!(keys.refresh_at(), Some(NOW + 3_602 + 300), "never fresher than five minutes");
    keys.refreshed(NOW + 3_602, &body, Some(u64::MAX)).unwrap();
    assert_eq!(keys.refresh_at(), Some(NOW + 3_602 + 86_400), "nor longer than a day");
}

#[test]
fn an_unknown_id_causes_one_fetch_in_thirty_seconds_however_often_it_is_asked_for() {
    let mut keys = fetched();
    let body = set(&[jwk_named(Algorithm::Es256, "a")]);
    keys.begin(NOW);
    keys.refreshed(NOW, &body, None).unwrap();
    for n in 0..1_000 {
        assert_eq!(look(&mut keys, &format!("made up {n}"), NOW + 29), "unknown");
        assert_eq!(keys.begin(NOW + 29), None);
    }
    assert_eq!(look(&mut keys, "b", NOW + 30), "unknown, may arrive");
    assert_eq!(keys.refresh_at(), Some(NOW + 30));
    assert!(keys.begin(NOW + 30).is_some());
    assert_eq!(look(&mut keys, "b", NOW + 31), "unknown, may arrive");
    assert_eq!(keys.begin(NOW + 31), None);
    let rotated = set(&[jwk_named(Algorithm::Es256, "a"), jwk_named(Algorithm::Es256, "b")]);
    keys.refreshed(NOW + 32, &rotated, None).unwrap();
    assert_eq!(look(&mut keys, "b", NOW + 32), "found");
    assert_eq!(look(&mut keys, "a", NOW + 32), "found");
}

#[test]
fn an_id_that_a_fetch_did_not_bring_is_not_asked_for_again_for_five_minutes() {
    let mut keys = fetched();
    let body = set(&[jwk_named(Algorithm::Es256, "a")]);
    keys.begin(NOW);
    keys.refreshed(NOW, &body, None).unwrap();
    look(&mut keys, "b", NOW + 30);
    keys.begin(NOW + 30);
    keys.refreshed(NOW + 31, &body, None).unwrap();
    assert_eq!(look(&mut keys, "b", NOW + 100), "unknown");
    assert_eq!(keys.begin(NOW + 100), None);
    assert_eq!(look(&mut keys, "c", NOW + 100), "unknown, may arrive", "other ids are not held back by it");
    assert_eq!(look(&mut keys, "b", NOW + 331), "unknown, may arrive");
}

#[test]
fn a_fetch_that_fails_keeps_the_old_keys_and_waits_longer_each_time() {
    let mut keys = fetched();
    keys.begin(NOW);
    keys.refreshed(NOW, &set(&[jwk_named(Algorithm::Es256, "a")]), Some(300)).unwrap();
    let mut now = NOW + 300;
    for wait in [30, 60, 120, 240, 300, 300] {
        assert!(keys.begin(now).is_some());
        if wait == 60 {
            assert!(keys.refreshed(now, b"<html>", None).is_err());
        } else {
            keys.failed(now);
        }
        assert_eq!(look(&mut keys, "a", now), "found");
        assert_eq!(keys.refresh_at(), Some(now + wait));
        now += wait;
    }
    assert!(keys.begin(now).is_some());
    keys.refreshed(now, &set(&[jwk_named(Algorithm::Es256, "z")]), None).unwrap();
    assert_eq!(look(&mut keys, "a", now), "unknown", "a withdrawn key is gone");
    assert_eq!(keys.refresh_at(), Some(now + 3_600));
}

#[test]
fn a_fetch_that_never_ends_is_begun_again_after_a_minute() {
    let mut keys = fetched();
    assert!(keys.begin(NOW).is_some());
    assert_eq!(keys.refresh_at(), Some(NOW + 60));
    assert_eq!(keys.begin(NOW + 59), None);
    assert!(keys.begin(NOW + 60).is_some());
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_fetching() {
    let mut keys = fetched();
    keys.begin(NOW);
    keys.refreshed(NOW, &set(&[jwk_named(Algorithm::Es256, "a")]), None).unwrap();
    assert_eq!(look(&mut keys, "b", NOW - 10_000), "unknown, may arrive");
    assert!(keys.begin(NOW - 10_000).is_some());
}

#[test]
fn what_made_up_ids_leave_behind_is_bounded() {
    let mut keys = fetched();
    let body = set(&[jwk_named(Algorithm::Es256, "a")]);
    keys.begin(NOW);
    keys.refreshed(NOW, &body, None).unwrap();
    for round in 1..100 {
        let now = NOW + round * 30;
        for n in 0..200 {
            look(&mut keys, &format!("{round} {n}"), now);
        }
        keys.begin(now).unwrap();
        keys.refreshed(now, &body, None).unwrap();
    }
    let Origin::Url(fetching) = &keys.origin else { panic!("fetched") };
    assert!(fetching.wanted.len() <= KeySet::WANTED_MAX && fetching.missing.len() <= KeySet::MISSING_MAX);
}

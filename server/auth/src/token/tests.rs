//! See the module above: its promises, one test each.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::mint::Minter;
use crate::testing::{self, NOW, jwk_named, part, set, signed};

const HS: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const RS: &str = r#"{"alg":"RS256","typ":"JWT"}"#;

fn verifier(algorithm: Algorithm) -> Verifier {
    Verifier::new(vec![testing::issuer(algorithm)]).unwrap()
}

/// Good claims, with some replaced; null takes one away.
fn claims(changes: Json) -> String {
    let mut claims = json!({
        "iss": "https://issuer.test", "aud": "hearth", "sub": "ada", "iat": NOW - 10, "auth_time": NOW - 10,
        "exp": NOW + 3_600,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims.to_string()
}

fn outcome(verifier: &Verifier, token: &str, now: u64) -> String {
    match verifier.verify(token, now) {
        Ok(Caller::User(user)) => format!("user {}", user.uid),
        Ok(caller) => format!("{caller:?}"),
        Err(error) => format!("refused: {error}"),
    }
}

/// Checks what becomes of a token with these claims and a good HS256 signature.
fn check(changes: Json, want: &str) {
    let token = signed(Algorithm::Hs256, HS, &claims(changes.clone()));
    assert_eq!(outcome(&verifier(Algorithm::Hs256), &token, NOW), want, "{changes}");
}

/// Checks what becomes of a token with that header, good claims, and a good HS256 signature.
fn check_header(header: &str, want: &str) {
    let token = signed(Algorithm::Hs256, header, &claims(json!({})));
    assert_eq!(outcome(&verifier(Algorithm::Hs256), &token, NOW), want, "{header}");
}

// One test for each row of the table of pitfalls in protocols/auth.md §1.3, in its order.

#[test]
fn alg_none_is_refused_in_every_spelling() {
    for none in ["none", "None", "NONE", "nOnE"] {
        let token = format!("{}.{}.", part(&json!({"alg": none}).to_string()), part(&claims(json!({}))));
        assert_eq!(outcome(&verifier(Algorithm::Hs256), &token, NOW), "refused: unsigned token");
        assert_eq!(outcome(&verifier(Algorithm::Rs256), &token, NOW), "refused: unsigned token");
    }
    let stripped = format!("{}.{}.", part(HS), part(&claims(json!({}))));
    assert_eq!(outcome(&verifier(Algorithm::Hs256), &stripped, NOW), "refused: bad signature");
}

#[test]
fn a_public_key_is_never_a_secret() {
    // The classic confusion: HS256 over the PEM text that everybody can read.
    let secret = jsonwebtoken::EncodingKey::from_secret(testing::public_pem(Algorithm::Rs256).as_bytes());
    let message = format!("{}.{}", part(HS), part(&claims(json!({}))));
    crate::install_token_crypto();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, jsonwebtoken::Algorithm::HS256).unwrap();
    let token = format!("{message}.{signature}");
    assert_eq!(outcome(&verifier(Algorithm::Rs256), &token, NOW), "refused: wrong algorithm");
    let relabelled = format!("{}.{}.{signature}", part(RS), part(&claims(json!({}))));
    assert_eq!(outcome(&verifier(Algorithm::Rs256), &relabelled, NOW), "refused: bad signature");
}

#[test]
fn each_issuer_has_one_algorithm_and_no_other_is_tried() {
    for (configured, used) in [
        (Algorithm::Rs256, Algorithm::Ps256),
        (Algorithm::Ps256, Algorithm::Rs256),
        (Algorithm::Es256, Algorithm::Es384),
        (Algorithm::EdDsa, Algorithm::Es256),
    ] {
        let header = json!({"alg": used.name()}).to_string();
        let token = signed(used, &header, &claims(json!({})));
        assert_eq!(outcome(&verifier(configured), &token, NOW), "refused: wrong algorithm");
        let lie = json!({"alg": configured.name()}).to_string();
        let token = signed(used, &lie, &claims(json!({})));
        assert_eq!(outcome(&verifier(configured), &token, NOW), "refused: bad signature");
    }
    for alg in ["HS384", "HS512", "hs256", "HS256 ", "", "RS256", "ES512"] {
        check_header(&json!({"alg": alg}).to_string(), "refused: wrong algorithm");
    }
}

#[test]
fn a_missing_issuer_or_audience_is_refused() {
    check(json!({"iss": null}), "refused: the claim iss is missing or is not what it must be");
    check(json!({"aud": null}), "refused: wrong audience");
    check(json!({"aud": ""}), "refused: wrong audience");
    check(json!({"aud": []}), "refused: wrong audience");
}

#[test]
fn an_issuer_that_is_no_text_is_refused() {
    check(json!({"iss": 7}), "refused: the claim iss is missing or is not what it must be");
}

#[test]
fn an_issuer_in_a_list_is_refused() {
    check(json!({"iss": ["https://issuer.test"]}), "refused: the claim iss is missing or is not what it must be");
    check(json!({"iss": "https://issuer.test/"}), "refused: unknown issuer");
    check(json!({"iss": ""}), "refused: unknown issuer");
}

#[test]
fn an_audience_may_be_a_list_of_texts_and_nothing_stranger() {
    check(json!({"aud": "other"}), "user ada");
    check(json!({"aud": ["elsewhere", "hearth"]}), "user ada");
    check(json!({"aud": ["elsewhere"]}), "refused: wrong audience");
    check(json!({"aud": ["hearth", 7]}), "refused: wrong audience");
    check(json!({"aud": [["hearth"]]}), "refused: wrong audience");
    check(json!({"aud": {"hearth": true}}), "refused: wrong audience");
}

#[test]
fn firebase_tokens_have_one_audience_a_key_id_and_rs256() {
    let firebase = |algorithm| Issuer {
        issuer: "https://securetoken.google.com/demo".into(),
        audiences: vec!["demo".into()],
        algorithm,
        ..testing::issuer(algorithm)
    };
    let verifier = Verifier::new(vec![firebase(Algorithm::Rs256)]).unwrap();
    let outcome = |header: &str, aud: Json| {
        let claims = claims(json!({"iss": "https://securetoken.google.com/demo", "aud": aud}));
        outcome(&verifier, &signed(Algorithm::Rs256, header, &claims), NOW)
    };
    let header = r#"{"alg":"RS256","kid":"one"}"#;
    assert_eq!(outcome(header, json!("demo")), "user ada");
    assert_eq!(outcome(header, json!(["demo"])), "refused: wrong audience");
    assert_eq!(outcome(RS, json!("demo")), "refused: unknown key");
    let error = Verifier::new(vec![firebase(Algorithm::Es256)]).err().unwrap();
    assert!(matches!(error, ConfigError::Firebase { algorithm: Algorithm::Es256, .. }));
}

#[test]
fn a_token_that_a_firebase_certificate_signed_is_believed() {
    let certificate = include_str!("../../tests/fixtures/test-rsa-certificate.pem");
    let token = include_str!("../../tests/fixtures/test-rsa-token.txt").trim();
    let issuer = Issuer {
        issuer: "https://securetoken.google.com/demo".into(),
        audiences: vec!["demo".into()],
        keys: KeySource::Jwks(json!({"one": certificate}).to_string().into()),
        ..testing::issuer(Algorithm::Rs256)
    };
    assert_eq!(outcome(&Verifier::new(vec![issuer]).unwrap(), token, NOW), "user ada");
}

#[test]
fn an_audience_must_be_configured() {
    let without = |audiences| Verifier::new(vec![Issuer { audiences, ..testing::secret_issuer() }]).err();
    assert!(matches!(without(vec![]), Some(ConfigError::NoAudience { .. })));
    assert!(matches!(without(vec![String::new()]), Some(ConfigError::NoAudience { .. })));
}

#[test]
fn a_subject_has_1_to_128_characters() {
    check(json!({"sub": null}), "refused: no usable subject");
    check(json!({"sub": ""}), "refused: no usable subject");
    check(json!({"sub": 7}), "refused: no usable subject");
    check(json!({"sub": ["ada"]}), "refused: no usable subject");
    check(json!({"sub": "a\nb"}), "refused: no usable subject");
    check(json!({"sub": "ü".repeat(129)}), "refused: no usable subject");
    check(json!({"sub": "ü".repeat(128)}), &format!("user {}", "ü".repeat(128)));
}

#[test]
fn tokens_from_the_future_are_refused_beyond_the_leeway() {
    for claim in ["iat", "auth_time"] {
        check(json!({claim: NOW + 5}), "user ada");
        check(json!({claim: NOW + 6}), "refused: not valid yet");
        check(json!({claim: "yesterday"}), &format!("refused: the claim {claim} is missing or is not what it must be"));
        check(json!({claim: null}), "user ada");
    }
}

#[test]
fn nbf_is_checked() {
    check(json!({"nbf": NOW + 5}), "user ada");
    check(json!({"nbf": NOW + 6}), "refused: not valid yet");
    check(json!({"nbf": NOW as f64 + 5.5}), "refused: not valid yet");
    check(json!({"nbf": -1}), "refused: the claim nbf is missing or is not what it must be");
}

#[test]
fn the_leeway_is_five_seconds_unless_configured_and_never_over_sixty() {
    let expired_ago = |ago: u64, leeway_seconds: u64| {
        let verifier = Verifier::new(vec![Issuer { leeway_seconds, ..testing::secret_issuer() }]).unwrap();
        outcome(&verifier, &signed(Algorithm::Hs256, HS, &claims(json!({"exp": NOW - ago}))), NOW)
    };
    assert_eq!(expired_ago(4, Issuer::LEEWAY_SECONDS_DEFAULT), "user ada");
    assert_eq!(expired_ago(5, Issuer::LEEWAY_SECONDS_DEFAULT), "refused: expired");
    assert_eq!(expired_ago(30, Issuer::LEEWAY_SECONDS_DEFAULT), "refused: expired");
    assert_eq!(expired_ago(0, 0), "refused: expired");
    assert_eq!(expired_ago(59, 60), "user ada");
    let over = Verifier::new(vec![Issuer { leeway_seconds: 61, ..testing::secret_issuer() }]).err();
    assert!(matches!(over, Some(ConfigError::Leeway { seconds: 61, .. })));
}

#[test]
fn an_expiry_is_a_number_and_must_be_there() {
    let refused = "refused: the claim exp is missing or is not what it must be";
    for exp in [json!(null), json!("1900003600"), json!(true), json!([NOW + 60]), json!(-1), json!({})] {
        check(json!({"exp": exp}), refused);
    }
}

#[test]
fn an_expiry_may_have_a_fraction_which_does_not_prolong_it() {
    check(json!({"exp": NOW as f64 + 60.5}), "user ada");
    check(json!({"exp": NOW as f64 - 4.5}), "refused: expired");
}

#[test]
fn an_expiry_in_milliseconds_or_beyond_all_time_is_refused() {
    let refused = "refused: the claim exp is missing or is not what it must be";
    for exp in [json!(NOW * 1_000), json!(i64::MAX), json!(u64::MAX), json!(1e300)] {
        check(json!({"exp": exp}), refused);
    }
}

#[test]
fn keys_of_a_set_are_chosen_by_id_and_by_what_they_are_for() {
    // That `use`, `alg`, `key_ops`, `oct` and unknown kinds are minded is tested in `keys`.
    let body = set(&[
        json!({"kty": "oct", "k": testing::base64url(testing::SECRET), "kid": "secret"}),
        json!({"kty": "unheard of", "kid": "new"}),
        jwk_named(Algorithm::Es384, "curve"),
        jwk_named(Algorithm::Rs256, "one"),
    ]);
    let issuer = Issuer { keys: KeySource::Jwks(body), ..testing::issuer(Algorithm::Rs256) };
    let verifier = Verifier::new(vec![issuer]).unwrap();
    let outcome = |kid: &str| {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        outcome(&verifier, &signed(Algorithm::Rs256, &header, &claims(json!({}))), NOW)
    };
    assert_eq!(outcome("one"), "user ada");
    for kid in ["secret", "new", "curve", "two", "", "One"] {
        assert_eq!(outcome(kid), "refused: unknown key", "{kid}");
    }
}

#[test]
fn an_oct_key_does_not_make_a_secret_of_what_is_published() {
    let body = set(&[
        json!({"kty": "oct", "k": testing::base64url(testing::SECRET), "kid": "a", "alg": "HS256"}),
        jwk_named(Algorithm::Rs256, "one"),
    ]);
    let issuer = Issuer { keys: KeySource::Jwks(body), ..testing::issuer(Algorithm::Rs256) };
    let token = signed(Algorithm::Hs256, r#"{"alg":"HS256","kid":"a"}"#, &claims(json!({})));
    assert_eq!(outcome(&Verifier::new(vec![issuer]).unwrap(), &token, NOW), "refused: wrong algorithm");
}

#[test]
fn a_key_id_is_a_name_and_nothing_else() {
    let issuer = Issuer {
        keys: KeySource::Jwks(set(&[jwk_named(Algorithm::Rs256, "one")])),
        ..testing::issuer(Algorithm::Rs256)
    };
    let verifier = Verifier::new(vec![issuer]).unwrap();
    for kid in ["../../../../dev/null", "/etc/hostname", "https://evil.test/key", "' OR 1=1 --", "one\u{0}"] {
        let token = signed(Algorithm::Rs256, &json!({"alg": "RS256", "kid": kid}).to_string(), &claims(json!({})));
        assert_eq!(outcome(&verifier, &token, NOW), "refused: unknown key", "{kid}");
    }
    for kid in [json!("k".repeat(257)), json!(1), json!(null), json!(["one"])] {
        let token = signed(Algorithm::Rs256, &json!({"alg": "RS256", "kid": kid}).to_string(), &claims(json!({})));
        assert_eq!(outcome(&verifier, &token, NOW), "refused: malformed token", "{kid}");
    }
}

#[test]
fn a_key_that_a_token_brings_along_is_ignored() {
    let mine = testing::jwk(Algorithm::Rs256);
    let token_by_other = |header: Json| {
        let message = format!("{}.{}", part(&header.to_string()), part(&claims(json!({}))));
        let key = jsonwebtoken::EncodingKey::from_rsa_pem(testing::other_rsa_private_pem().as_bytes()).unwrap();
        crate::install_token_crypto();
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::RS256).unwrap();
        format!("{message}.{signature}")
    };
    for header in [
        json!({"alg": "RS256", "jwk": mine}),
        json!({"alg": "RS256", "jku": "https://evil.test/keys"}),
        json!({"alg": "RS256", "x5u": "https://evil.test/cert"}),
        json!({"alg": "RS256", "x5c": ["AAAA"]}),
    ] {
        let outcome = outcome(&verifier(Algorithm::Rs256), &token_by_other(header.clone()), NOW);
        assert_eq!(outcome, "refused: bad signature", "{header}");
    }
}

#[test]
fn a_token_over_8_kib_is_refused_before_it_is_decoded() {
    let over = "x".repeat(8 * 1024 + 1);
    let want = "refused: the token has 8193 bytes, over the limit of 8192";
    assert_eq!(outcome(&verifier(Algorithm::Hs256), &over, NOW), want);
    let long = signed(Algorithm::Hs256, HS, &claims(json!({"x": "x".repeat(5_500)})));
    assert!(long.len() > 7_000 && long.len() <= 8 * 1024);
    assert_eq!(outcome(&verifier(Algorithm::Hs256), &long, NOW), "user ada");
}

#[test]
fn unsupported_algorithms_are_refused() {
    for alg in ["ES512", "ES256K", "RS384", "RS512", "PS512", "Ed448", "dir", "A256GCM"] {
        check_header(&json!({"alg": alg}).to_string(), "refused: wrong algorithm");
    }
}

// Other forgeries.

#[test]
fn a_signature_covers_every_byte_of_header_and_claims() {
    for algorithm in Algorithm::ALL {
        let verifier = verifier(algorithm);
        let good = testing::minter(algorithm).mint(&testing::grant("ada"), NOW).unwrap();
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let other = format!("{header}.{}.{signature}", part(&claims(json!({"sub": "eve"}))));
        assert_eq!(outcome(&verifier, &other, NOW), "refused: bad signature", "{algorithm}");
        for cut in 0..signature.len() {
            let cut = format!("{message}.{}", &signature[..cut]);
            assert_eq!(outcome(&verifier, &cut, NOW), "refused: bad signature", "{algorithm}");
        }
        assert_eq!(outcome(&verifier, &format!("{good}A"), NOW), "refused: bad signature");
        assert_eq!(outcome(&verifier, &format!("{good}="), NOW), "refused: bad signature");
        let zeros = format!("{message}.{}", testing::base64url(&[0; 64]));
        assert_eq!(outcome(&verifier, &zeros, NOW), "refused: bad signature", "{algorithm}");
        assert_eq!(outcome(&verifier, &good, NOW), "user ada", "{algorithm}");
    }
}

#[test]
fn a_token_of_another_key_is_refused() {
    let other = Minter::pem(Algorithm::Rs256, testing::other_rsa_private_pem().as_bytes()).unwrap();
    let token = other.mint(&testing::grant("ada"), NOW).unwrap();
    assert_eq!(outcome(&verifier(Algorithm::Rs256), &token, NOW), "refused: bad signature");
    let other = Minter::secret(b"another secret that is long enough for it").unwrap();
    let token = other.mint(&testing::grant("ada"), NOW).unwrap();
    assert_eq!(outcome(&verifier(Algorithm::Hs256), &token, NOW), "refused: bad signature");
}

#[test]
fn one_issuers_key_does_not_sign_for_another() {
    let second = Issuer { issuer: "https://second.test".into(), ..testing::issuer(Algorithm::Es256) };
    let verifier = Verifier::new(vec![testing::secret_issuer(), second]).unwrap();
    let token = signed(Algorithm::Hs256, HS, &claims(json!({"iss": "https://second.test"})));
    assert_eq!(outcome(&verifier, &token, NOW), "refused: wrong algorithm");
    let token = signed(Algorithm::Hs256, r#"{"alg":"ES256"}"#, &claims(json!({"iss": "https://second.test"})));
    assert_eq!(outcome(&verifier, &token, NOW), "refused: bad signature");
}

#[test]
fn names_that_stand_twice_are_refused() {
    let doubled = claims(json!({})).replacen('{', r#"{"sub":"eve","#, 1);
    let token = signed(Algorithm::Hs256, HS, &doubled);
    assert_eq!(outcome(&verifier(Algorithm::Hs256), &token, NOW), "refused: malformed token");
    check_header(r#"{"alg":"HS256","alg":"none"}"#, "refused: malformed token");
}

#[test]
fn strange_headers_are_refused() {
    check_header(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, "refused: malformed token");
    check_header(r#"{"alg":["HS256"]}"#, "refused: malformed token");
    check_header(r#"{"typ":"JWT"}"#, "refused: malformed token");
    check_header("[]", "refused: malformed token");
    check_header(r#"{"alg":"HS256"} "#, "user ada");
}

#[test]
fn what_has_not_three_parts_of_base64url_is_malformed() {
    let good = signed(Algorithm::Hs256, HS, &claims(json!({})));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let verifier = verifier(Algorithm::Hs256);
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        message.into(),
        format!("{good}.{signature}"),
        format!("{good}."),
        format!(" {good}"),
        good.replacen('.', "=.", 1),
        good.replacen("eyJ", "ey+", 1),
        good.replacen("eyJ", "éyJ", 1),
        format!("{}.{}.{signature}", part("null"), part("null")),
    ] {
        assert_eq!(outcome(&verifier, &token, NOW), "refused: malformed token", "{token}");
    }
}

#[test]
fn deep_claims_are_refused() {
    let deep = claims(json!({})).replacen('{', &format!(r#"{{"a":{}1{},"#, "[".repeat(2_500), "]".repeat(2_500)), 1);
    let token = format!("{}.{}.", part(HS), part(&deep));
    assert_eq!(outcome(&verifier(Algorithm::Hs256), &token, NOW), "refused: malformed token");
}

// What else is promised.

#[test]
fn the_uid_may_come_from_another_claim() {
    let issuer = Issuer { uid_claim: Some("email".into()), ..testing::secret_issuer() };
    let verifier = Verifier::new(vec![issuer]).unwrap();
    let outcome = |changes: Json| outcome(&verifier, &signed(Algorithm::Hs256, HS, &claims(changes)), NOW);
    assert_eq!(outcome(json!({"email": "ada@example.com"})), "user ada@example.com");
    assert_eq!(outcome(json!({"email": "ada@example.com", "sub": null})), "user ada@example.com");
    assert_eq!(outcome(json!({"email": "ada@example.com", "sub": ""})), "refused: no usable subject");
    assert_eq!(outcome(json!({})), "refused: no usable subject");
    assert_eq!(outcome(json!({"email": 7})), "refused: no usable subject");
}

#[test]
fn claims_come_raw_and_expiry_counts_the_leeway() {
    let token = signed(Algorithm::Hs256, HS, &claims(json!({"level": 3, "rate": 3.0, "roles": ["a"], "none": {}})));
    let Ok(Caller::User(user)) = verifier(Algorithm::Hs256).verify(&token, NOW) else { panic!("no user") };
    assert_eq!(user.claims["level"], Value::Integer(3));
    assert_eq!(user.claims["rate"], Value::Double(3.0));
    assert_eq!(user.claims["roles"], Value::Array(vec![Value::text("a")]));
    assert_eq!(user.claims["exp"], Value::Integer(NOW as i64 + 3_600));
    assert_eq!(&*user.issuer, "https://issuer.test");
    assert_eq!(user.expires_seconds, Some(NOW + 3_605));
}

#[test]
fn a_token_verified_before_is_still_judged_by_the_clock() {
    let verifier = verifier(Algorithm::Hs256);
    let token = signed(Algorithm::Hs256, HS, &claims(json!({"nbf": NOW, "exp": NOW + 100})));
    assert_eq!(outcome(&verifier, &token, NOW), "user ada");
    assert_eq!(outcome(&verifier, &token, NOW + 104), "user ada");
    assert_eq!(outcome(&verifier, &token, NOW + 105), "refused: expired");
    assert_eq!(outcome(&verifier, &token, NOW - 100), "refused: not valid yet");
}

#[test]
fn a_verified_token_dies_with_its_key() {
    let verifier = verifier(Algorithm::Hs256);
    let token = signed(Algorithm::Hs256, HS, &claims(json!({})));
    assert_eq!(outcome(&verifier, &token, NOW), "user ada");
    assert!(verifier.replace_keys("https://issuer.test", b"short").is_err());
    assert_eq!(outcome(&verifier, &token, NOW), "user ada", "a bad file changes nothing");
    verifier.replace_keys("https://issuer.test", b"a new secret that is long enough for HS256").unwrap();
    assert_eq!(outcome(&verifier, &token, NOW), "refused: bad signature");
}

#[test]
fn fetched_keys_arrive_rotate_and_go() {
    let keys = KeySource::JwksUrl("https://issuer.test/keys".into());
    let verifier = Verifier::new(vec![Issuer { keys, ..testing::issuer(Algorithm::Es256) }]).unwrap();
    let token = |kid: &str| {
        testing::minter(Algorithm::Es256).with_key_id(kid).unwrap().mint(&testing::grant("ada"), NOW).unwrap()
    };
    let error = verifier.verify(&token("a"), NOW).unwrap_err();
    assert_eq!((error, error.is_temporary()), (TokenError::KeysNotLoaded, true));
    let want = Refresh { issuer: "https://issuer.test".into(), url: "https://issuer.test/keys".into() };
    assert_eq!(verifier.refreshes(NOW), std::slice::from_ref(&want));
    assert_eq!(verifier.refreshes(NOW), []);
    verifier.refreshed(&want.issuer, NOW, &set(&[jwk_named(Algorithm::Es256, "a")]), Some(600)).unwrap();
    assert_eq!(outcome(&verifier, &token("a"), NOW), "user ada");
    assert_eq!(verifier.refresh_at(), Some(NOW + 600));

    let error = verifier.verify(&token("b"), NOW + 40).unwrap_err();
    assert_eq!((error, error.is_temporary()), (TokenError::UnknownKey { may_arrive: true }, true));
    assert_eq!(verifier.refreshes(NOW + 40), std::slice::from_ref(&want));
    verifier.refreshed(&want.issuer, NOW + 41, &set(&[jwk_named(Algorithm::Es256, "b")]), Some(600)).unwrap();
    assert_eq!(outcome(&verifier, &token("b"), NOW + 41), "user ada");
    let error = verifier.verify(&token("a"), NOW + 41).unwrap_err();
    assert_eq!((error, error.is_temporary()), (TokenError::UnknownKey { may_arrive: false }, false));
    verifier.refresh_failed(&want.issuer, NOW + 42);
    assert_eq!(outcome(&verifier, &token("b"), NOW + 42), "user ada");
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let refused = |issuers| Verifier::new(issuers).err().unwrap().to_string();
    let base = testing::secret_issuer;
    assert_eq!(refused(vec![Issuer { issuer: String::new(), ..base() }]), "an issuer without a name");
    assert_eq!(refused(vec![base(), base()]), "the issuer https://issuer.test is configured twice");
    let empty = Issuer { uid_claim: Some(String::new()), ..base() };
    assert_eq!(refused(vec![empty]), "the issuer https://issuer.test has an empty uid claim");
    let short = Issuer { keys: KeySource::Secret(b"hunter2".into()), ..base() };
    let text = refused(vec![short.clone()]);
    assert!(text.contains("the secret has 7 bytes") && !text.contains("hunter2"));
    assert!(!format!("{short:?}").contains("hunter2") && !format!("{short:?}").contains("104"));
}

#[test]
fn without_issuers_everything_is_refused() {
    let token = signed(Algorithm::Hs256, HS, &claims(json!({})));
    assert_eq!(outcome(&Verifier::new(vec![]).unwrap(), &token, NOW), "refused: unknown issuer");
}

#[test]
fn no_error_repeats_what_was_sent() {
    let marker = "SECRETMARKER";
    let tokens = [
        marker.to_string(),
        signed(Algorithm::Hs256, HS, &claims(json!({"iss": marker}))),
        signed(Algorithm::Hs256, HS, &claims(json!({"aud": marker}))),
        signed(Algorithm::Hs256, HS, &claims(json!({"exp": marker}))),
        signed(Algorithm::Hs256, &json!({"alg": marker}).to_string(), &claims(json!({}))),
    ];
    for token in tokens {
        let error = verifier(Algorithm::Hs256).verify(&token, NOW).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(marker));
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
        Just(json!("https://issuer.test")),
        Just(json!("hearth")),
        Just(json!("HS256")),
        Just(json!(NOW + 60)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::hash_map("[a-z]{0,4}", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_verify_panic_or_believe(token in ".{0,300}|[A-Za-z0-9_.-]{0,300}") {
        prop_assert!(verifier(Algorithm::Hs256).verify(&token, NOW).is_err());
    }

    #[test]
    fn no_bytes_in_the_parts_make_verify_panic(
        header in prop::collection::vec(any::<u8>(), 0..60),
        payload in prop::collection::vec(any::<u8>(), 0..60),
        signature in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let part = testing::base64url;
        let token = format!("{}.{}.{}", part(&header), part(&payload), part(&signature));
        prop_assert!(verifier(Algorithm::Hs256).verify(&token, NOW).is_err());
        let token = format!("{}.{}.{}", part(HS.as_bytes()), part(&payload), part(&signature));
        prop_assert!(verifier(Algorithm::Hs256).verify(&token, NOW).is_err());
    }

    // Signed by the right key, so that every check behind the signature is reached; nothing may panic, and who is
    // believed has said all that is required.
    #[test]
    fn no_claims_make_verify_panic(
        iss in any_json(), aud in any_json(), sub in any_json(), exp in any_json(), iat in any_json(), nbf in any_json(),
        now in prop_oneof![any::<u64>(), Just(NOW)],
    ) {
        let text = json!({"iss": iss, "aud": aud, "sub": sub, "exp": exp, "iat": iat, "nbf": nbf}).to_string();
        let token = signed(Algorithm::Hs256, HS, &text);
        if let Ok(Caller::User(user)) = verifier(Algorithm::Hs256).verify(&token, now) {
            prop_assert!(!user.uid.is_empty() && now < user.expires_seconds.unwrap());
            prop_assert_eq!(user.claims.get("iss"), Some(&Value::text("https://issuer.test")));
        }
    }

    #[test]
    fn a_good_token_with_one_byte_changed_is_refused(place in 0usize..400, byte in any::<u8>()) {
        let good = signed(Algorithm::Hs256, HS, &claims(json!({})));
        let mut bytes = good.clone().into_bytes();
        let place = place % bytes.len();
        bytes[place] = byte;
        if let Ok(changed) = String::from_utf8(bytes) && changed != good {
            prop_assert!(verifier(Algorithm::Hs256).verify(&changed, NOW).is_err());
        }
    }
}

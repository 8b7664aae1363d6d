use super::*;

fn token(header: &str, claims: &str) -> String {
    format!(
        "{}.{}.AAAA",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    )
}

fn claims(text: &str) -> Claims {
    let text = token(r#"{"alg":"ES256"}"#, text);
    Unverified::parse(&text).unwrap().claims
}

fn check(text: &str, now: i64) -> Result<(), TokenFault> {
    let expected = Expected {
        issuer: "i",
        audiences: &["a".to_owned()],
    };
    claims(text).check(expected, UnixTime::from_secs(now))
}

#[test]
fn a_token_longer_than_the_limit_is_refused_unread() {
    let long = "A".repeat(MAX_TOKEN_BYTES + 1);
    let len = long.len();
    assert_eq!(
        Unverified::parse(&long).unwrap_err(),
        TokenFault::TooLarge { len }
    );
    let at_limit = Unverified::parse(&"A".repeat(MAX_TOKEN_BYTES)).unwrap_err();
    assert_eq!(at_limit, TokenFault::Malformed { part: "form" });
}

#[test]
fn times_are_exact_to_the_second_and_the_leeway() {
    let with = |times: &str| format!(r#"{{"iss":"i","aud":"a",{times}}}"#);
    let at = UnixTime::from_secs;
    assert_eq!(check(&with(r#""exp":100"#), 109), Ok(()));
    assert_eq!(
        check(&with(r#""exp":100"#), 110),
        Err(TokenFault::Expired { at: at(100) })
    );
    assert_eq!(
        check(&with(r#""exp":100.9"#), 110),
        Err(TokenFault::Expired { at: at(100) })
    );
    assert_eq!(check(&with(r#""exp":200,"nbf":110"#), 100), Ok(()));
    let early = Err(TokenFault::NotYetValid { at: at(111) });
    assert_eq!(check(&with(r#""exp":200,"nbf":111"#), 100), early);
    assert_eq!(check(&with(r#""exp":200,"iat":111"#), 100), early);
    for bad in [
        "-1",
        "1e17",
        "\"100\"",
        "null",
        "true",
        "[100]",
        "253402300800",
        "18446744073709551615",
    ] {
        let found = check(&with(&format!(r#""exp":{bad}"#)), 50);
        assert_eq!(found, Err(TokenFault::Malformed { part: "exp" }), "{bad}");
    }
    assert_eq!(check(&with(r#""x":1"#), 50), Err(TokenFault::NoExpiry));
}

#[test]
fn what_a_stranger_wrote_is_clipped_for_the_record() {
    let issuer = "x".repeat(5000);
    let found = check(&format!(r#"{{"iss":"{issuer}","aud":"a","exp":100}}"#), 50);
    assert_eq!(
        found,
        Err(TokenFault::Issuer {
            found: "x".repeat(128)
        })
    );
    let long = token(&format!(r#"{{"alg":"{issuer}"}}"#), "{}");
    let found = "x".repeat(32);
    assert_eq!(
        Unverified::parse(&long).unwrap_err(),
        TokenFault::Algorithm { found }
    );
}

#[test]
fn a_token_without_kid_is_good_only_where_there_is_no_choice() {
    let key = |kid: &str| {
        let point = URL_SAFE_NO_PAD.encode([7; 32]);
        format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{point}","y":"{point}"}}"#)
    };
    let set =
        |keys: &[String]| KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes());
    let text = token(r#"{"alg":"ES256"}"#, r#"{"iss":"i"}"#);
    let parsed = Unverified::parse(&text).unwrap();
    let fault = |keys: &[String]| parsed.verify(&set(keys).unwrap()).unwrap_err();
    assert_eq!(fault(&[key("a")]), TokenFault::Signature);
    assert_eq!(fault(&[key("a"), key("b")]), TokenFault::UnknownKey);
}

//! A bearer token, and the key set it is checked with: no panic, no forged signature, and what passes
//! the claims has an issuer, an expiry and the one identity of its account.
//!
//! Header and claims are written as they are, with a newline between them and before the key set; the
//! encoding around them is not worth the fuzzer's time. Without newlines the text is the token itself.

#![no_main]

use authority::proof::fuzzing;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let (header, claims, keys) = (parts.next(), parts.next(), parts.next());
    let (Some(header), Some(claims)) = (header, claims) else {
        if let Ok(text) = std::str::from_utf8(bytes) {
            fuzzing::token(text, b"");
        }
        return;
    };
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let token = format!("{}.{}.{}", encode(header), encode(claims), encode(&[7; 64]));
    fuzzing::token(&token, keys.unwrap_or_default());
});

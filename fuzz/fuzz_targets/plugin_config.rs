//! Plug-in configurations: read, written and read again, compiled, and asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::config::{PluginConfig, compile};
use policy::{Decision, Peer, PeerFault, Request};

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = PluginConfig::from_json(bytes) else {
        return;
    };
    let written = config.to_json().unwrap();
    assert_eq!(
        PluginConfig::from_json(written.as_bytes()).as_ref(),
        Ok(&config)
    );
    match compile(&config) {
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal has a reason");
            assert!(errors.iter().all(|error| !error.to_string().is_empty()));
        }
        Ok(compiled) => {
            assert!(!compiled.trust.is_empty(), "somebody is trusted");
            let fault = Peer::Unidentified(PeerFault::CertificateMissing);
            let decision = compiled.policies.decide(&Request::new(&fault));
            assert!(
                matches!(decision, Decision::Deny(_)),
                "who is nobody is denied"
            );
            let _some_decision = compiled.policies.decide(&Request::new(&Peer::Plaintext));
        }
    }
});

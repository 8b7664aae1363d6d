//! Text of SPIFFE IDs: parsing and display are inverse, principals and workloads agree.

#![no_main]

use identity::SpiffeId;
use identity::principal::{from_principal, principal};
use identity::workload::Workload;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(id) = SpiffeId::new(text) else { return };
    let written = id.to_string();
    assert!(written.eq_ignore_ascii_case(text));
    assert_eq!(SpiffeId::new(&written).as_ref(), Ok(&id));
    assert_eq!(from_principal(&principal(&id)).as_ref(), Ok(&id));
    if let Some(Workload {
        namespace,
        service_account,
    }) = Workload::of(&id)
    {
        assert_eq!(id.path(), format!("/ns/{namespace}/sa/{service_account}"));
    }
});

use super::*;

const HOP: &str = "spiffe://cluster.local/ns/edge/sa/gateway";

fn hop() -> SpiffeId {
    HOP.parse().unwrap()
}

const LOCAL: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

fn read(text: &str) -> Result<Element, &'static str> {
    let elements = if text.starts_with('[') {
        elements_of_json(text)
    } else {
        elements_of_text(text)
    };
    let own = Own {
        id: Some(LOCAL),
        peer: Some("0abc".to_owned()),
    };
    let element = elements.and_then(|elements| written_by(elements, &hop(), &own));
    element.map_err(|fault| fault.fault.code())
}

/// What this proxy's own HTTP connection manager appends under `APPEND_FORWARD`.
#[test]
fn an_element_of_this_proxy_is_passed_over_once_and_only_if_it_is_about_this_connection() {
    let hops = format!("By={HOP};Cert=c");
    let own = format!("By={LOCAL};Hash=0ABC;URI={HOP}");
    assert_eq!(
        certificate_of(&format!("{hops},{own}")).as_deref(),
        Some("c")
    );
    for text in [
        own.clone(),
        format!("{hops},{own},{own}"),
        format!("{hops},By={LOCAL};Hash=0abd"),
        format!("{hops},By={LOCAL}"),
        format!("{hops},By={HOP};Hash=0abc"),
        format!("{own},{hops},Hash=0abc"),
    ] {
        assert!(read(&text).is_err(), "{text}");
    }
}

fn certificate_of(text: &str) -> Option<String> {
    read(text).ok()?.certificate
}

#[test]
fn the_last_element_counts() {
    for text in [
        format!("By={HOP};Hash=ab;Cert=\"c\""),
        format!("By={HOP};Cert=\"c\";Subject=\"/CN=a,b;c=\\\"d\\\"\""),
        format!("By=spiffe://x/y;Cert=\"other\",By={HOP};Cert=\"c\""),
        format!("By=spiffe://x/y;Subject=\"O=x\\\\,CN=\\\",\";URI=a , By={HOP} ; Cert=c "),
        format!("by={HOP};cert=c"),
        format!("By=\"{HOP}\";Cert=\"c\""),
        format!("[{{\"by\":\"{HOP}\",\"cert\":\"c\"}}]"),
        format!(
            "[{{\"by\":\"x\",\"cert\":\"o\"}},{{\"by\":[\"{HOP}\"],\"uri\":[\"a\",\"b\"],\"cert\":\"c\"}}]"
        ),
    ] {
        assert_eq!(certificate_of(&text).as_deref(), Some("c"), "{text}");
    }
}

#[test]
fn an_element_that_the_hop_did_not_write_is_refused() {
    for text in [
        "",
        ",",
        "By=;Cert=c",
        "Cert=c",
        "By=spiffe://cluster.local/ns/edge/sa/gateway2;Cert=c",
        "By=spiffe://x/y;Cert=c",
        &format!("By={HOP};Cert=c,By=spiffe://x/y;Cert=d"),
        &format!("By={HOP};Cert=c,"),
        &format!("By={HOP};Cert=c,Cert=d"),
        "[]",
        "[{}]",
        &format!("[{{\"by\":\"{HOP}\",\"cert\":\"c\"}},{{\"cert\":\"d\"}}]"),
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

/// A client whose certificate has a name with separators in it: Envoy writes names without quotes.
#[test]
fn a_name_that_forges_an_element_is_refused() {
    let forged = format!("x,By={HOP};Hash=ab;Cert=\"somebody's\"");
    for field in ["URI", "DNS"] {
        let text = format!("By={HOP};Hash=cd;Cert=\"own\";{field}={forged}");
        assert_eq!(
            read(&text),
            Err("forwarded_certificate_malformed"),
            "{text}"
        );
        let text = format!("By={HOP};Hash=cd;Cert=\"own\";{field}=x;Cert=\"somebody's\"");
        assert_eq!(
            read(&text),
            Err("forwarded_certificate_malformed"),
            "{text}"
        );
    }
}

#[test]
fn malformed_text_is_refused() {
    for tail in [
        "Cert=\"c",
        "Cert=\"c\\\"",
        "Cert=c\"",
        "Cert=a\"b\"",
        "Cert=\"a\"b",
        "Cert=\"a\"\"b\"",
        "Cert",
        "Cert=a;Cert=b",
        "Cert=a;cert=b",
        "Cert=a;By=b",
        ";Cert=a",
        "Subject=\"a\\",
    ] {
        let text = format!("By={HOP};{tail}");
        assert_eq!(
            read(&text),
            Err("forwarded_certificate_malformed"),
            "{text}"
        );
    }
    for json in ["[", "[1]", "[[]]", "[{\"by\":1}]", "[{}] x"] {
        assert_eq!(read(json), Err("forwarded_certificate_malformed"), "{json}");
    }
    let twice = format!("[{{\"by\":\"{HOP}\",\"cert\":\"c\",\"Cert\":\"d\"}}]");
    assert_eq!(read(&twice), Err("forwarded_certificate_malformed"));
}

#[test]
fn too_much_is_refused() {
    let one = format!("By={HOP};Cert=c");
    let many = format!("{}{one}", "By=x,".repeat(MAX_ELEMENTS));
    assert!(read(&many).is_err());
    let most = format!("{}{one}", "By=x,".repeat(MAX_ELEMENTS - 1));
    assert!(read(&most).is_ok());
    let json = format!("[{}{{\"by\":\"{HOP}\"}}]", "{},".repeat(MAX_ELEMENTS));
    assert!(read(&json).is_err());
}

#[test]
fn every_cut_of_a_good_value_is_refused_or_has_the_same_certificate() {
    let whole =
        format!("By=spiffe://x/y;Cert=\"o\",By={HOP};Hash=ab;Cert=\"c\\\"d\";Subject=\"a\"");
    for end in 0..whole.len() {
        let cut = whole.get(..end).expect("ASCII");
        if let Ok(element) = read(cut) {
            // An empty one is refused as missing.
            let found = element.certificate.filter(|found| !found.is_empty());
            assert!(
                found.as_deref().is_none_or(|found| found == "c\"d"),
                "cut at {end}: {found:?}"
            );
        }
    }
}

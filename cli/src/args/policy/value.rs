//! Values of arguments that are more than a text.

use identity::TrustDomain;

/// `key=value`; the value may hold more of `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Who calls, in the words of a test file.
pub(super) fn peer(text: &str) -> Result<String, String> {
    if !matches!(text, "plaintext" | "certificate-missing") {
        let expected = "expected a SPIFFE ID, plaintext or certificate-missing";
        identity::SpiffeId::new(text).map_err(|error| format!("{error}; {expected}"))?;
    }
    Ok(text.to_owned())
}

pub(super) fn trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::new(text).map_err(|error| error.to_string())
}

/// `Service/shop/web`, `gateway.networking.k8s.io/Gateway/edge/public`.
pub(super) fn target(text: &str) -> Result<policy::Target, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let (group, kind, namespace, name) = match parts.as_slice() {
        [kind, namespace, name] => ("", *kind, *namespace, *name),
        [group, kind, namespace, name] => (*group, *kind, *namespace, *name),
        _ => return Err("expected KIND/NAMESPACE/NAME or GROUP/KIND/NAMESPACE/NAME".to_owned()),
    };
    if kind.is_empty() || name.is_empty() {
        return Err("has no kind or no name".to_owned());
    }
    Ok(policy::Target {
        group: group.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        for bad in ["a", "=b", ""] {
            assert!(pair(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn targets_have_three_or_four_parts() {
        let service = target("Service/shop/web").unwrap();
        assert_eq!(
            (service.group.as_str(), service.kind.as_str()),
            ("", "Service")
        );
        let gateway = target("gateway.networking.k8s.io/Gateway/edge/public").unwrap();
        assert_eq!(gateway.group, "gateway.networking.k8s.io");
        for bad in ["web", "Service/web", "a/b/c/d/e", "/a/b", "Service/shop/"] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
    }
}

//! Service account tokens of Kubernetes clusters.

/// Whether `text` is a name of a namespace, service account, pod or node: RFC 1123 subdomain, lower
/// case. Every such name is a path segment of a SPIFFE ID.
pub(crate) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(inner)
            && bytes.last().is_some_and(inner)
            && bytes.iter().all(|byte| inner(byte) || *byte == b'-')
    };
    (1..=253).contains(&text.len()) && text.split('.').all(label)
}

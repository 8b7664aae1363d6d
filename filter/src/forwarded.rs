//! A certificate that a proxy in front of this one forwarded, in `x-forwarded-client-cert`.
//!
//! The header is read only where the configuration names the proxy that wrote it (`hop`), and only on a
//! connection whose own certificate is exactly that proxy's. Then the *last* element counts, the one that
//! proxy appended, and of it only the certificate: it goes through every check that a certificate of the
//! connection goes through. What the header says besides (`URI`, `Hash`, `Subject`) is at most compared.
//!
//! An element of Envoy's text form begins with `By`, the SPIFFE ID of the proxy that wrote it. That is
//! demanded of the last element, and no element before it may have it: a name in a certificate that Envoy
//! writes without quotes (`URI`, `DNS`) could otherwise end the true element and begin a false one. Better still,
//! `hop` writes neither (`set_current_client_cert_details: {cert: true}`).
//!
//! Where this proxy appends an element itself (`APPEND_FORWARD`, as in Istio), that is the last one when the
//! filter sees the header. It is known by `By`, this proxy's own SPIFFE ID, and by `Hash`, the certificate of
//! the connection, and passed over. Where this proxy removes the header (`SANITIZE`), there is none to read.

use std::rc::Rc;

use identity::SpiffeId;
use identity::x509::X509Svid;
use policy::PeerFault;
use serde_json::Value;

use crate::headers::HeaderBlock;
use crate::host::Host;
use crate::link::Link;
use crate::peer::{self, Fault};
use crate::root::Root;
use crate::settings::Plugin;

/// The header's name.
pub const HEADER: &str = "x-forwarded-client-cert";
/// Longest value that is read, bytes; Envoy's own limit for all headers is 60 KiB.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most elements of one value.
pub const MAX_ELEMENTS: usize = 32;
/// Most forwarded certificates kept, at about 4 KB each.
pub const MAX_KEPT: usize = 128;

/// The certificate that `hop` forwarded with this request, checked but for its dates and the deny list.
///
/// # Errors
/// No such header, several, one that is malformed or has no certificate; or the certificate is refused.
pub fn certificate<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    hop: &SpiffeId,
    link: &Link,
    headers: &HeaderBlock,
) -> Result<Rc<X509Svid>, Fault> {
    let mut values = headers.values(HEADER);
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (None, _) => return Err(fault("forwarded_certificate_missing", "there is no header")),
        (Some(_), Some(_)) => {
            return Err(fault("forwarded_certificate_malformed", "several headers"));
        }
    };
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|text| text.len() <= MAX_BYTES)
        .ok_or_else(|| malformed("too long, or no text"))?;
    let elements = if text.starts_with('[') {
        elements_of_json(text)?
    } else {
        elements_of_text(text)?
    };
    let own = Own {
        id: link.local(root.host()),
        peer: link.digest().map(|digest| digest.to_string()),
    };
    let element = written_by(elements, hop, &own)?;
    let pem = element
        .certificate
        .filter(|pem| !pem.is_empty())
        .ok_or_else(|| fault("forwarded_certificate_missing", "its last element has none"))?;
    let svid = checked(root, plugin, pem.as_bytes())?;
    plugin.check_federation(svid.id())?;
    if let Some(hash) = element.hash
        && !hash.eq_ignore_ascii_case(&svid.sha256().to_string())
    {
        return Err(malformed("hash and certificate do not belong together"));
    }
    Ok(svid)
}

fn checked<H: Host>(root: &Root<H>, plugin: &Plugin, pem: &[u8]) -> Result<Rc<X509Svid>, Fault> {
    if let Some(known) = plugin.find_forwarded(pem) {
        return Ok(known?);
    }
    let known = peer::examine_by_proxy(root, plugin, None, pem)?;
    plugin.keep_forwarded(pem, known.clone());
    Ok(known?)
}

/// What counts of an element.
#[derive(Debug, Default, Eq, PartialEq)]
struct Element {
    by: Option<String>,
    hash: Option<String>,
    certificate: Option<String>,
}

impl Element {
    /// Takes a pair; the name is without regard to case, as Envoy's documentation has it.
    fn take(&mut self, key: &str, value: String) -> Result<(), Fault> {
        let slot = if key.eq_ignore_ascii_case("by") {
            &mut self.by
        } else if key.eq_ignore_ascii_case("hash") {
            &mut self.hash
        } else if key.eq_ignore_ascii_case("cert") {
            &mut self.certificate
        } else {
            return Ok(());
        };
        if slot.replace(value).is_some() {
            return Err(malformed("an element has a key twice"));
        }
        Ok(())
    }
}

/// What this proxy's own element would say.
#[derive(Debug, Default)]
struct Own<'a> {
    id: Option<&'a str>,
    peer: Option<String>,
}

impl Own<'_> {
    fn wrote(&self, element: &Element) -> bool {
        let by = element.by.as_deref();
        let hash = element.hash.as_deref().zip(self.peer.as_deref());
        by.is_some()
            && by == self.id
            && hash.is_some_and(|(hash, peer)| hash.eq_ignore_ascii_case(peer))
    }
}

/// The last element, if it and no other is `hop`'s. One that this proxy appended comes behind it.
fn written_by(mut elements: Vec<Element>, hop: &SpiffeId, own: &Own<'_>) -> Result<Element, Fault> {
    let hop = hop.to_string();
    let is_hops = |element: &Element| element.by.as_deref() == Some(hop.as_str());
    if elements.last().is_some_and(|last| own.wrote(last)) {
        elements.pop();
    }
    let last = elements.pop().ok_or_else(|| {
        fault(
            "forwarded_certificate_missing",
            "no element of another proxy",
        )
    })?;
    if !is_hops(&last) {
        return Err(malformed("its last element is another proxy's"));
    }
    if elements.iter().any(is_hops) {
        return Err(malformed("several elements are the proxy's"));
    }
    Ok(last)
}

fn elements_of_text(text: &str) -> Result<Vec<Element>, Fault> {
    let mut elements = Vec::new();
    for element in split(text, ',')? {
        if elements.len() == MAX_ELEMENTS {
            return Err(malformed("too many elements"));
        }
        let mut read = Element::default();
        for pair in split(element, ';')? {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| malformed("a pair without an equals sign"))?;
            read.take(key.trim(), unquoted(value)?)?;
        }
        elements.push(read);
    }
    Ok(elements)
}

/// Splits outside of quotes; within them a backslash takes the next character's meaning.
fn split(text: &str, separator: char) -> Result<Vec<&str>, Fault> {
    let mut parts = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    let mut rest = text;
    let mut begin = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                let len = at.saturating_sub(begin);
                let (part, after) = rest
                    .split_at_checked(len)
                    .ok_or_else(|| malformed("no text"))?;
                parts.push(part.trim());
                rest = after.get(separator.len_utf8()..).unwrap_or_default();
                begin = at.saturating_add(separator.len_utf8());
            }
            _ => {}
        }
    }
    if quoted {
        return Err(malformed("a quote that does not end"));
    }
    parts.push(rest.trim());
    Ok(parts)
}

/// The value of a pair. Quotes are around all of it or nowhere.
fn unquoted(value: &str) -> Result<String, Fault> {
    let value = value.trim();
    let Some(inner) = value.strip_prefix('"') else {
        return if value.contains('"') {
            Err(malformed("a quote within a value"))
        } else {
            Ok(value.to_owned())
        };
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.extend(characters.next()),
            '"' if characters.as_str().is_empty() => return Ok(text),
            '"' => return Err(malformed("text behind a quote")),
            _ => text.push(c),
        }
    }
    Err(malformed("a quote that does not end"))
}

/// Envoy's JSON form (1.38 and later): a list of objects.
fn elements_of_json(text: &str) -> Result<Vec<Element>, Fault> {
    let list: Vec<serde_json::Map<String, Value>> =
        // As bytes, like all other JSON here: a reader of strings is another eight kilobytes of module.
        serde_json::from_slice(text.as_bytes()).map_err(|_not_json| malformed("no JSON list of objects"))?;
    if list.len() > MAX_ELEMENTS {
        return Err(malformed("too many elements"));
    }
    let mut elements = Vec::with_capacity(list.len());
    for members in list {
        let mut element = Element::default();
        for (key, value) in members {
            // Lists (`uri`, `dns`) and other types are none of what counts.
            if let Some(text) = single(value) {
                element.take(&key, text)?;
            }
        }
        elements.push(element);
    }
    Ok(elements)
}

/// A text, or the one text of a list.
fn single(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(list) => match <[Value; 1]>::try_from(list) {
            Ok([Value::String(text)]) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn malformed(detail: &str) -> Fault {
    fault("forwarded_certificate_malformed", detail)
}

fn fault(code: &'static str, detail: &str) -> Fault {
    PeerFault::Svid {
        code,
        detail: format!("{HEADER}: {detail}"),
    }
    .into()
}

#[cfg(test)]
mod tests;

//! Header maps and their serialized form ("pairs").

/// Header fields in order, repeated names kept apart; pseudo-headers come first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Headers(Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    /// The fields, as given.
    #[must_use]
    pub fn new<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Self {
        Self(
            fields
                .iter()
                .map(|(name, value)| (name.as_ref().to_ascii_lowercase(), value.as_ref().to_vec()))
                .collect(),
        )
    }

    /// The first value of a field, by its lower-case name.
    #[must_use]
    pub fn first(&self, name: &[u8]) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The first value of a field as text, broken UTF-8 replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.first(name.as_bytes())
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields in order.
    #[must_use]
    pub fn fields(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.0
    }

    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        self.0.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
    }

    pub(super) fn replace(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }
}

/// Serializes header fields: count, then the length pairs, then the texts, each ended by a NUL.
///
/// No field at all is the empty byte string, as Envoy has it.
#[must_use]
pub fn encode_pairs(headers: &Headers) -> Vec<u8> {
    if headers.is_empty() {
        return Vec::new();
    }
    let mut bytes = length(headers.len()).to_vec();
    for (name, value) in headers.fields() {
        bytes.extend_from_slice(&length(name.len()));
        bytes.extend_from_slice(&length(value.len()));
    }
    for (name, value) in headers.fields() {
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}

/// Reads the serialized form; `None` if it is cut short or lies about its lengths.
#[must_use]
pub fn decode_pairs(bytes: &[u8]) -> Option<Headers> {
    if bytes.is_empty() {
        return Some(Headers::default());
    }
    let (count, mut rest) = take_length(bytes)?;
    let mut lengths = Vec::new();
    for _ in 0..count {
        let (name, after_name) = take_length(rest)?;
        let (value, after_value) = take_length(after_name)?;
        lengths.push((name, value));
        rest = after_value;
    }
    let mut headers = Headers::default();
    for (name_length, value_length) in lengths {
        let (name, after_name) = take_text(rest, name_length)?;
        let (value, after_value) = take_text(after_name, value_length)?;
        headers.0.push((name.to_vec(), value.to_vec()));
        rest = after_value;
    }
    Some(headers)
}

fn length(of: usize) -> [u8; 4] {
    u32::try_from(of).unwrap_or(u32::MAX).to_le_bytes()
}

fn take_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*head)).ok()?, rest))
}

fn take_text(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(length)?;
    let (end, rest) = rest.split_first()?;
    (*end == 0).then_some((text, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_the_bytes_the_abi_documents() {
        let headers = Headers::new(&[(":method", "GET"), ("a", "")]);
        let expected = [
            &[2, 0, 0, 0][..],
            &[7, 0, 0, 0, 3, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            b":method\0GET\0a\0\0",
        ]
        .concat();
        assert_eq!(encode_pairs(&headers), expected);
        assert_eq!(decode_pairs(&expected), Some(headers));
    }

    #[test]
    fn refuses_pairs_cut_short_anywhere() {
        let whole = encode_pairs(&Headers::new(&[("name", "value")]));
        for cut in 1..whole.len() {
            assert_eq!(decode_pairs(&whole[..cut]), None, "cut at {cut}");
        }
    }
}

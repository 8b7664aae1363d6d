//! `google.protobuf.Value` on the wire, base64: how a header carries a value into dynamic metadata.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

pub(crate) fn base64(json: &serde_json::Value) -> String {
    BASE64_STANDARD.encode(value(json).encode_to_vec())
}

fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().expect("a double")),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(list) => Kind::ListValue(ListValue {
            values: list.iter().map(value).collect(),
        }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields
                .iter()
                .map(|(name, field)| (name.clone(), value(field)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}

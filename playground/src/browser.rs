//! The face towards JavaScript: texts in, plain objects out.

use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::answer::Problem;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = include_str!("../page/types.d.ts");

/// An answer, or what keeps it from being given.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
enum Answer<T> {
    Answer { answer: T },
    Problems { problems: Vec<Problem> },
}

/// Which policies there are, and every problem of those that do not compile.
#[must_use]
#[wasm_bindgen(unchecked_return_type = "Checked")]
pub fn check(policies: &str) -> JsValue {
    object(&crate::check(policies))
}

/// What becomes of the request.
#[must_use]
#[wasm_bindgen(unchecked_return_type = "Answer<Decided>")]
pub fn decide(policies: &str, request: &str) -> JsValue {
    answer(crate::decide(policies, request))
}

/// What becomes of the request, and what each rule has to say.
#[must_use]
#[wasm_bindgen(unchecked_return_type = "Answer<Explained>")]
pub fn explain(policies: &str, request: &str) -> JsValue {
    answer(crate::explain(policies, request))
}

fn answer<T: Serialize>(answered: Result<T, Vec<Problem>>) -> JsValue {
    object(&match answered {
        Ok(answer) => Answer::Answer { answer },
        Err(problems) => Answer::Problems { problems },
    })
}

/// What cannot be written is undefined: structs of texts and numbers always can.
fn object(value: &impl Serialize) -> JsValue {
    serde_json::to_string(value)
        .ok()
        .and_then(|text| js_sys::JSON::parse(&text).ok())
        .unwrap_or(JsValue::UNDEFINED)
}

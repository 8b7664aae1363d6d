//! Istio policies decided and explained in a browser: the engine of the filter, with texts in and plain objects out.
//!
//! Three questions, each answered from two texts (YAML or JSON): policies, and a request with the workload it goes to.
//! [`check`] says which policies compile, [`decide`] what becomes of the request, [`explain`] also why. Nothing is
//! fetched, stored or sent.
#![forbid(unsafe_code)]

mod answer;
#[cfg(target_arch = "wasm32")]
pub mod browser;
mod question;

pub use crate::answer::{
    Checked, Condition, Decided, Explained, Place, Problem, Resource, Rule, Verdict,
};
use crate::question::Question;

/// Longest text that is looked at, in bytes: more would keep the page from answering.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// Which policies there are, and every problem of those that do not compile.
#[must_use]
pub fn check(policies: &str) -> Checked {
    question::check(policies)
}

/// What becomes of the request.
///
/// # Errors
/// Every problem of policies and request.
pub fn decide(policies: &str, request: &str) -> Result<Decided, Vec<Problem>> {
    let question = Question::read(policies, request)?;
    Ok(question.ask(|set, request| Decided::of(&set.decide(request))))
}

/// What becomes of the request, and what each rule has to say.
///
/// # Errors
/// Every problem of policies and request.
pub fn explain(policies: &str, request: &str) -> Result<Explained, Vec<Problem>> {
    let question = Question::read(policies, request)?;
    let explanation = question.ask(|set, request| set.explain(request));
    Ok(Explained::of(&explanation, question.sources()))
}

//! Cases through the engine.

use policy::corpus::{Case, ExpectedShadow};
use policy::{Decision, Outcome, Peer, PolicySet, Request};

use super::coverage::Coverage;
use super::expect::Found;
use super::read::{TestCase, TestFile};
use super::report::{CaseReport, FileReport, ShadowDifference};
use super::trace::RuleTrace;
use policy::yaml::Problem;

/// Runs every case of a file.
///
/// # Errors
/// The problems of its policies, none of which is run then.
pub fn run(test: &TestFile) -> Result<FileReport, Vec<Problem>> {
    let set = test.file().compile().map_err(|errors| {
        errors
            .iter()
            .map(|error| test.locate(error))
            .collect::<Vec<_>>()
    })?;
    let mut coverage = Coverage::of(test);
    let mut cases = Vec::new();
    for (case, own) in test.cases() {
        let explanation = with_request(case, own, |request| set.explain(request));
        for explained in &explanation.rules {
            if explained.outcome == Outcome::Matched {
                coverage.matched(explained);
            }
        }
        let found = Found::of(&explanation.decision);
        let traces = explanation.rules.iter();
        cases.push(CaseReport {
            file: test.name().to_owned(),
            line: own.line,
            name: case.name.clone(),
            expected: own.expect.clone(),
            found,
            detail: explanation.decision.to_string(),
            shadow: case.shadow.as_ref().and_then(|expected| {
                let found = ExpectedShadow::of(&explanation.shadow);
                (found != *expected).then(|| ShadowDifference::of(expected, &found))
            }),
            not_in_filter: test.file().native.clone().or_else(|| case.native.clone()),
            filter: None,
            rules: traces
                .map(|explained| RuleTrace::of(explained, test.policies()))
                .collect(),
        });
    }
    Ok(FileReport {
        file: test.name().to_owned(),
        about: test.file().about.clone(),
        cases,
        coverage,
    })
}

/// The request of a case, as the engine takes it.
pub(super) fn with_request<T>(
    case: &Case,
    own: &TestCase,
    ask: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let peer = peer(case, own);
    let mut request = case.request(&peer);
    if let Some(presented) = &own.certificate {
        request.certificate = presented.checked.as_ref().ok();
        request.now = Some(presented.at);
    }
    ask(&request)
}

/// What becomes of the request of a case.
pub fn decide(case: &Case, own: &TestCase, set: &PolicySet) -> Decision {
    with_request(case, own, |request| set.decide(request))
}

/// Who the peer of a case proves to be.
pub(super) fn peer(case: &Case, own: &TestCase) -> Peer {
    match own.certificate.as_ref().map(|presented| &presented.checked) {
        Some(Err(fault)) => Peer::Unidentified(fault.clone()),
        Some(Ok(_)) | None => case.peer.to_peer(),
    }
}

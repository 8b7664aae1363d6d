//! Policy tests: files of policies, requests and the verdicts expected of them, run without a cluster.
//!
//! The format is that of the policy corpus ([`policy::corpus`]), and every corpus file is a policy test. A test file
//! may say less (an expectation may leave out reason and rule) and more: [`TestFile`] names the differences. Cases
//! run in the engine that the filter is built from; with feature `host` also through the built filter itself.
//!
//! This module reads the files it is told to read, and looks at no clock: certificates are judged at the time the
//! test file names.

mod certificate;
mod coverage;
mod expect;
mod files;
#[cfg(feature = "host")]
mod filter;
mod junit;
mod native;
mod read;
mod report;
mod suite;
mod tap;
mod trace;

#[cfg(feature = "host")]
pub use self::filter::{Filter, FilterError};
pub use self::{
    certificate::{CertificateError, CertificateSpec, KeyKind, Mint, Presented},
    coverage::{Coverage, RuleCoverage},
    expect::{Expect, Found},
    files::{Folders, MAX_FILE_BYTES, add_file, expand, read_sources, read_text, text_of},
    native::{decide, run},
    read::{DEFAULT_TIME, OneRequest, TestCase, TestFile, read_value},
    report::{CaseReport, Difference, FileReport, Report},
    trace::{ConditionTrace, RuleTrace},
};
pub use self::{
    junit::{junit, junit_of},
    suite::{Failed, Suite, SuiteCase},
    tap::{tap, tap_of},
};
pub use policy::yaml::{
    KINDS, OtherKinds, Problem, ResourceName, Sources, WrittenResource as Written,
};

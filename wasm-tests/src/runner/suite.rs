//! Results of tests, whatever was tested, for the formats that other tools read.

/// The cases of one file.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    /// The file's name.
    pub file: String,
    /// Its cases, in its order.
    pub cases: Vec<SuiteCase>,
}

/// One case.
#[derive(Clone, Debug)]
pub struct SuiteCase {
    /// Its name.
    pub name: String,
    /// Its line in its file.
    pub line: Option<u64>,
    /// What is wrong; none for a case that passed.
    pub failure: Option<Failed>,
}

/// What is wrong with a case.
#[derive(Clone, Debug)]
pub struct Failed {
    /// In a line.
    pub message: String,
    /// In many.
    pub details: String,
    /// By field: what was expected and found.
    pub fields: Vec<(String, String)>,
}

impl Suite {
    pub(super) fn failures(&self) -> usize {
        let failed = |case: &&SuiteCase| case.failure.is_some();
        self.cases.iter().filter(failed).count()
    }
}

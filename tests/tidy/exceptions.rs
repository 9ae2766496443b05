//! The exceptions, each with its reason. Short is good; empty is best.

use crate::Finding;

/// One excused place, or all of a file.
pub(crate) struct Exception {
    pub(crate) check: &'static str,
    pub(crate) path: &'static str,
    /// What the finding's message contains; empty excuses all findings of the check in the file.
    pub(crate) about: &'static str,
    pub(crate) reason: &'static str,
}

/// Sorted by check, then path.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception { check: "absolute-path", path: "tests/tidy/documents.rs", about: "", reason: "the examples of this very check" },
    Exception {
        check: "first-line",
        path: "src/journal/proto.rs",
        about: "",
        reason: "generated from proto/; src/journal/mod.rs says its job",
    },
];

pub(crate) fn excused(finding: &Finding) -> bool {
    EXCEPTIONS.iter().any(|exception| excuses(exception, finding))
}

/// Exceptions of the check that excuse nothing: they would hide the next finding.
pub(crate) fn unused(check: &str, findings: &[Finding]) -> Vec<String> {
    EXCEPTIONS
        .iter()
        .filter(|exception| exception.check == check)
        .filter(|exception| !findings.iter().any(|finding| excuses(exception, finding)))
        .map(|exception| {
            format!("tests/tidy/exceptions.rs: the exception of {check} in {} excuses nothing; remove it", exception.path)
        })
        .collect()
}

fn excuses(exception: &Exception, finding: &Finding) -> bool {
    exception.check == finding.check && exception.path == finding.path && finding.message.contains(exception.about)
}

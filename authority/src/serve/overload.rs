//! How a shed request is answered.
//!
//! istio-agent tries `RESOURCE_EXHAUSTED` again; its retries never follow `DEADLINE_EXCEEDED` and
//! `CANCELLED`, whatever its configuration lists, so these are only for callers who have given up
//! themselves. The pause travels as `google.rpc.RetryInfo` in `grpc-status-details-bin`.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::limits::Overload;

pub(crate) fn status(overload: Overload) -> Status {
    match overload.retry_after() {
        Some(pause) => Status::with_error_details(
            Code::ResourceExhausted,
            format!("{overload}; try again in {} ms", pause.as_millis()),
            ErrorDetails::with_retry_info(Some(pause)),
        ),
        None => Status::deadline_exceeded(overload.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_pause_is_told_in_words_and_as_retry_info() {
        let retry_after = Duration::from_millis(250);
        let told = status(Overload::Waited { retry_after });
        assert_eq!(told.code(), Code::ResourceExhausted);
        assert!(told.message().ends_with("try again in 250 ms"), "{told}");
        let info = told.get_details_retry_info().unwrap();
        assert_eq!(info.retry_delay, Some(retry_after));
        assert_eq!(
            status(Overload::DeadlinePassed).code(),
            Code::DeadlineExceeded
        );
    }
}

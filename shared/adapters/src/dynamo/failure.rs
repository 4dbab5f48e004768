//! What a failed call to the store means for the caller: was it applied, and is it worth trying again.
//!
//! Must not: carry anything of an item. Operation names, the kinds of keys and error codes only.

use aws_sdk_dynamodb::{
    config::{ConfigBag, Intercept, RuntimeComponents},
    error::{BoxError, ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::client::{interceptors::context::FinalizerInterceptorContextRef, orchestrator::HttpResponse};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A call to the store that failed. `attempted` names the operation and the kinds of its keys, never an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was stored: a condition did not hold, or somebody else is writing the same row. Read again, decide again.
    #[error("{attempted}: somebody else was first")]
    Conflict {
        /// What was attempted.
        attempted: String,
    },
    /// Nothing was stored: the table asked for a pause.
    #[error("{attempted}: throttled")]
    Throttled {
        /// What was attempted.
        attempted: String,
    },
    /// A write got no answer (or a 5xx): it may have been applied. Read before doing it again.
    #[error("{attempted}: outcome unknown")]
    OutcomeUnknown {
        /// What was attempted.
        attempted: String,
    },
    /// A read got no answer (or a 5xx).
    #[error("{attempted}: no answer")]
    Transient {
        /// What was attempted.
        attempted: String,
    },
    /// The call or the stored item is not what it has to be; trying again does not help.
    #[error("{attempted}: {detail}")]
    Bug {
        /// What was attempted.
        attempted: String,
        /// The error code, or which attribute is wrong.
        detail: String,
    },
}

/// Reads and writes fail differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
}

/// Whether any try of one call went without a definite answer. The SDK repeats such a try, so the last answer alone
/// does not tell whether the call was applied.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubt(Arc<AtomicBool>);

impl Doubt {
    /// Whether there is one.
    pub(super) fn exists(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Intercept for Doubt {
    fn name(&self) -> &'static str {
        "Doubt"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let refused = context.response().is_some_and(|r| r.status().is_client_error());
        if matches!(context.output_or_error(), Some(Err(_))) && !refused {
            self.0.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// The meaning of a failed call by its last answer.
pub(super) fn classify<E: ProvideErrorMetadata>(call: Call, attempted: String, error: &SdkError<E, HttpResponse>) -> StoreError {
    let unknown = |attempted| match call {
        Call::Read => StoreError::Transient { attempted },
        Call::Write => StoreError::OutcomeUnknown { attempted },
    };
    match error {
        SdkError::ServiceError(answer) => {
            let code = answer.err().code().unwrap_or("no error code");
            match code {
                _ if is_conflict(code) => StoreError::Conflict { attempted },
                // The first try with this token is still at work.
                "TransactionInProgressException" => unknown(attempted),
                _ if is_throttling(code) => StoreError::Throttled { attempted },
                _ if code.starts_with("InternalServerError") || code.starts_with("RequestTimeout") => unknown(attempted),
                _ if answer.raw().status().is_server_error() => unknown(attempted),
                _ => StoreError::Bug { attempted, detail: code.to_owned() },
            }
        }
        SdkError::ConstructionFailure(_) => StoreError::Bug { attempted, detail: "request not built".to_owned() },
        _ => unknown(attempted),
    }
}

/// The codes of a request or of a cancellation reason that mean: nothing was stored, the rows are not as expected.
pub(super) fn is_conflict(code: &str) -> bool {
    matches!(
        code.trim_end_matches("Exception"),
        "ConditionalCheckFailed" | "TransactionConflict" | "ReplicatedWriteConflict" | "IdempotentParameterMismatch"
    )
}

/// The codes of a request or of a cancellation reason that mean: nothing was stored, come back later.
pub(super) fn is_throttling(code: &str) -> bool {
    matches!(
        code.trim_end_matches("Exception"),
        "ProvisionedThroughputExceeded" | "ThrottlingError" | "Throttling" | "RequestLimitExceeded" | "LimitExceeded"
    )
}

/// The last word on a write: with a try in doubt before it, "nothing was stored" is no longer known.
pub(super) fn in_doubt(error: StoreError) -> StoreError {
    match error {
        StoreError::Conflict { attempted } | StoreError::Throttled { attempted } | StoreError::Bug { attempted, .. } => {
            StoreError::OutcomeUnknown { attempted }
        }
        other => other,
    }
}

/// `put PAYMENT`; `transact ALLOCATION 2, CLIENT 1`: the operation and what stands before the first `#` of the keys.
pub(super) fn attempted<'a>(operation: &str, pks: impl Iterator<Item = &'a str>) -> String {
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    for pk in pks {
        let count = kinds.entry(kind_of_key(pk)).or_default();
        *count = count.saturating_add(1);
    }
    let mut kinds: Vec<_> =
        kinds.into_iter().map(|(kind, n)| if n == 1 { kind.to_owned() } else { format!("{kind} {n}") }).collect();
    kinds.insert(0, operation.to_owned());
    kinds.join(" ")
}

/// A key without `#` is a name of the code only if it looks like one; else it could be an id.
fn kind_of_key(pk: &str) -> &str {
    let head = pk.split_once('#').map_or(pk, |(head, _)| head);
    let is_name =
        !head.is_empty() && head.len() <= 24 && head.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'_' | b'-'));
    if is_name { head } else { "?" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_attempted_names_kinds_of_keys_and_never_ids() {
        let cases = [
            (vec!["PAYMENT#pi_1"], "put PAYMENT"),
            (vec!["PAYMENT#pi_1", "CLIENT#1", "PAYMENT#pi_2"], "put CLIENT PAYMENT 2"),
            (vec!["CONFIG"], "put CONFIG"),
            (vec!["jo@example.org"], "put ?"),
            (vec!["Jo Doe#1"], "put ?"),
            (vec![""], "put ?"),
        ];
        for (pks, expected) in cases {
            assert_eq!(attempted("put", pks.into_iter()), expected);
        }
    }

    #[test]
    fn codes_of_requests_and_of_cancellation_reasons_are_the_same_to_us() {
        for code in [
            "ConditionalCheckFailedException",
            "ConditionalCheckFailed",
            "TransactionConflict",
            "IdempotentParameterMismatchException",
        ] {
            assert!(is_conflict(code) && !is_throttling(code), "{code}");
        }
        for code in ["ProvisionedThroughputExceededException", "ThrottlingError", "RequestLimitExceeded", "ThrottlingException"] {
            assert!(is_throttling(code) && !is_conflict(code), "{code}");
        }
    }
}

//! The use cases as AWS Lambda functions, one small binary each: intake, reconcile, import, write-back, push-books, due, payouts,
//! review. A handler parses what the service sends, calls the use case, and says what became of each message.
//!
//! What the template gives in the environment: [`environment::Environment`]. Settings and secrets come from SSM:
//! [`ready::Ready`]. Must not: decide anything, or print anything but log lines.

pub mod environment;
pub mod gateway;
pub mod host;
pub mod messages;
pub mod ready;
pub mod run;
mod senders;
pub mod sign_in;

pub mod due;
pub mod import;
pub mod intake;
pub mod review;
pub mod workers;

//! The built functions as they run on AWS: each binary under a Lambda Runtime API of the tests, AWS and the three outside systems
//! as stand-ins on sockets, and nothing else.
//!
//! Must not: use anything of the product but its binaries, its wire formats and the store that the stand-in of DynamoDB is.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail where it stands")]

pub mod aws;
pub mod cloud;
pub mod cognito;
pub mod operator;
pub mod runtime;
pub mod tls;

//! The built functions as they run on AWS. Two hosts: each binary under a Lambda Runtime API of the tests, with AWS and the three
//! outside systems as stand-ins on sockets; and the whole template deployed to ministack.
//!
//! Must not: use anything of the product but its binaries, its wire formats and the store that the stand-in of DynamoDB is.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail where it stands")]

pub mod account;
pub mod aws;
pub mod calls;
pub mod cloud;
pub mod cognito;
pub mod deployed;
pub mod measured;
pub mod operator;
pub mod policy;
pub mod recorder;
pub mod runtime;
pub mod tls;

use std::path::{Path, PathBuf};

/// The folder of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A program of one of the environments that make prepares below `target/aws`.
#[must_use]
pub fn tool(environment: &str, program: &str) -> PathBuf {
    let path = root().join("target/aws").join(environment).join("bin").join(program);
    assert!(path.exists(), "{} is not there: run `make tools`, or the tests through `make test`", path.display());
    path
}

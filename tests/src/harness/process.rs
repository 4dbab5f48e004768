//! The real binary between stand-ins on real sockets.
//!
//! Must not: be needed by a test that can do without a process.

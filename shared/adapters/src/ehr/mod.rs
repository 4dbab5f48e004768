//! The EHR: a client of the vendor-neutral REST bridge of contracts/ehr-bridge.openapi.yaml, and the reading of its records.
//!
//! Must not: let the bridge's JSON be known anywhere but in [`wire`], or a name or e-mail address out in an error or a log.

pub mod bridge;
pub mod signature;
pub mod wire;

pub use bridge::{BridgeClient, Page};
pub use wire::{Capabilities, Change, NewPayment, NewReversal, ReversalReason, WriteMethod, change_from_json};

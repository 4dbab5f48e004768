//! Stripe: who may post an event, what an event says, and the few calls that Vesper makes.
//!
//! Only [`wire`] knows Stripe's JSON. Must not: let a name, an address or an e-mail leave this module.

pub mod client;
mod json;
pub mod signature;
pub mod wire;

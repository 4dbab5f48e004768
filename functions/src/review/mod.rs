//! The review page and what the buttons on it do (design.md section 8).
//!
//! Must not: decide anything; a person does.

pub mod answers;
mod declines;
mod failed;
mod hold;
mod items;
mod month;
pub mod page;
mod payouts;
pub mod session;
mod show;
#[cfg(test)]
mod tests;
mod words;

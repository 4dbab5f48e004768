//! What is stored: one struct per kind of item. Kinds carry a version; a change of shape is a new kind.
//!
//! Must not: name a key (`keys.rs` does), or do anything with what it holds.

mod books;
mod clients;
mod ehr;
mod payments;
mod payouts;
mod recovery;
mod reviews;
mod work;

pub use books::*;
pub use clients::*;
pub use ehr::*;
pub use payments::*;
pub use payouts::*;
pub use recovery::*;
pub use reviews::*;
pub use work::*;

use jiff::Timestamp;

/// An item of this kind, which stands under this key and on no list, and is never due.
macro_rules! stored {
    ($name:ident, $kind:literal, |$it:ident| $key:expr) => {
        impl Stored for $name {
            const KIND: &'static str = $kind;
            fn key(&self) -> Key {
                let $it = self;
                $key
            }
        }
    };
}

use stored;

/// Later than anything that is listed, in unix seconds: what is left until then sorts newest first.
const END_S: i64 = 99_999_999_999;

/// The place of something that happened at a moment, in a list that is read newest first.
#[must_use]
pub fn newest_first(at: Timestamp, id: &str) -> String {
    format!("{:011}#{id}", END_S.saturating_sub(at.as_second()))
}

//! The contract at the door: every signature vector is answered as it says.

use hmac::{Hmac, KeyInit, Mac};

/// `Stripe-Signature` of a body at a time (facts/stripe.md section 1).
pub fn header(secret: &str, t_s: i64, body: &[u8]) -> String {
    format!("t={t_s},v1={}", mac(secret.as_bytes(), t_s, body))
}

fn mac(key: &[u8], t_s: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(format!("{t_s}.").as_bytes());
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

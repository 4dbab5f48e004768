//! The contract at the door: every signature vector is answered as it says, at the time that it says.

use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use vesper_adapters::personal::Secret;
use vesper_core::effect::Lease;
use vesper_functions::app::Host;
use vesper_functions::intake::{self, Door};
use vesper_local::stack::host::LocalHost;
use vesper_tests::harness::{Bundle, Options};

/// `Stripe-Signature` of a body at a time (facts/stripe.md section 1).
pub fn header(secret: &str, t_s: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{t_s}.").as_bytes());
    mac.update(body);
    format!("t={t_s},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// A host whose real clock stands at the time of a vector.
struct At {
    host: Arc<LocalHost>,
    now_s: i64,
}

impl Host for At {
    fn now(&self) -> Timestamp {
        self.host.now()
    }
    fn real_unix_s(&self) -> i64 {
        self.now_s
    }
    fn random(&self) -> [u8; 16] {
        self.host.random()
    }
    fn hold(&self) -> String {
        self.host.hold()
    }
    fn release(&self, owner: &str) {
        self.host.release(owner);
    }
    fn alive(&self, lease: &Lease) -> bool {
        self.host.alive(lease)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_signature_vector_is_answered_as_it_says() {
    let text = include_str!("../../fixtures/stripe-signature-vectors.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    let b = Bundle::new(Options::default()).await;
    let (mut wrong, mut accepted) = (Vec::new(), 0);
    for vector in vectors["vectors"].as_array().unwrap() {
        let field = |name: &str| vector[name].as_str().unwrap_or_default();
        let body = base64::engine::general_purpose::STANDARD.decode(field("payload_base64")).unwrap();
        let secrets = [Secret::new(field("secret"))];
        let host = At { host: Arc::clone(&b.stack.host), now_s: vector["now"].as_i64().unwrap() };
        // The door of a practice with this secret, at this time.
        let door = Door { stripe_secrets: &secrets, host: &host, ..b.app().door() };
        let status = intake::stripe(door, vector["header"].as_str(), &body).await.status;
        let want = match field("request_expect") {
            "accept" => 200..300,
            "reject" => 400..500,
            _ => 200..500, // The contract leaves it open.
        };
        if !want.contains(&status) {
            wrong.push(format!("{}: {status}, expected {}", field("name"), field("request_expect")));
        }
        accepted += u32::from(field("request_expect") == "accept" && status == 200);
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(accepted > 10, "{accepted} were accepted");
}

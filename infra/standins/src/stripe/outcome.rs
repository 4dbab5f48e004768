//! What a confirm of a PaymentIntent comes to, and how a decline is told.
//!
//! Must not: decide anything by chance.

use crate::patch;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The outcome of one confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money is taken. What happens when the script is empty.
    Succeed,
    /// Not known yet: status `processing`. `complete` or `fail_again` ends it.
    Processing,
    /// The card is refused: HTTP 402.
    Decline(Decline),
}

impl Outcome {
    /// A decline with this decline code and the advice that usually comes with it.
    #[must_use]
    pub fn decline(decline_code: &str) -> Outcome {
        Outcome::Decline(Decline::of(decline_code))
    }
}

/// A decline as Stripe tells it (facts/stripe.md section 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decline {
    /// `card_declined`, or the reason itself where Stripe has a code for it (`expired_card`).
    pub code: String,
    /// Absent where the code says it.
    pub decline_code: Option<String>,
    /// `try_again_later`, `do_not_try_again`, `confirm_card_data`; often absent.
    pub advice_code: Option<String>,
    /// Two digits of Mastercard.
    pub network_advice_code: Option<String>,
    /// The issuer's own code.
    pub network_decline_code: Option<String>,
    /// Stripe's Radar refused it, not the issuer: the charge's `outcome.type` is `blocked`.
    pub blocked: bool,
}

impl Decline {
    /// A decline with this reason and the advice that usually comes with it.
    #[must_use]
    pub fn of(reason: &str) -> Decline {
        let code = match reason {
            "authentication_required" | "expired_card" | "processing_error" | "incorrect_cvc" | "incorrect_number" => reason,
            _ => "card_declined",
        };
        let advice = match reason {
            "insufficient_funds"
            | "generic_decline"
            | "do_not_honor"
            | "processing_error"
            | "try_again_later"
            | "issuer_not_available" => Some("try_again_later"),
            "expired_card" | "incorrect_cvc" | "incorrect_number" => Some("confirm_card_data"),
            "stolen_card" | "lost_card" | "pickup_card" | "fraudulent" => Some("do_not_try_again"),
            _ => None,
        };
        Decline {
            decline_code: (code == "card_declined" || code == "authentication_required").then(|| reason.to_owned()),
            code: code.to_owned(),
            advice_code: advice.map(str::to_owned),
            ..Decline::default()
        }
    }

    /// The same with this advice, or with none.
    #[must_use]
    pub fn advice(mut self, advice_code: Option<&str>) -> Decline {
        self.advice_code = advice_code.map(str::to_owned);
        self
    }

    /// The same with this network advice.
    #[must_use]
    pub fn network_advice(mut self, network_advice_code: &str) -> Decline {
        self.network_advice_code = Some(network_advice_code.to_owned());
        self
    }

    fn message(&self) -> &'static str {
        match self.decline_code.as_deref().unwrap_or(&self.code) {
            "insufficient_funds" => "Your card has insufficient funds.",
            "expired_card" => "Your card has expired.",
            "authentication_required" => "Your card was declined. This transaction requires authentication.",
            "processing_error" => "An error occurred while processing your card. Try again in a little bit.",
            _ => "Your card was declined.",
        }
    }

    fn codes(&self) -> [(&'static str, Option<&String>); 4] {
        [
            ("decline_code", self.decline_code.as_ref()),
            ("advice_code", self.advice_code.as_ref()),
            ("network_advice_code", self.network_advice_code.as_ref()),
            ("network_decline_code", self.network_decline_code.as_ref()),
        ]
    }

    /// `last_payment_error`, which is also the `error` of the 402. A code that is absent is no field at all.
    pub(crate) fn error(&self, template: &Value, charge: &str, payment_method: Value) -> Value {
        let mut error = template.clone();
        patch(
            &mut error,
            json!({"code": self.code, "charge": charge, "message": self.message(), "payment_method": payment_method}),
        );
        patch(&mut error, json!({"doc_url": format!("https://stripe.com/docs/error-codes/{}", self.code.replace('_', "-"))}));
        if let Some(fields) = error.as_object_mut() {
            for (name, code) in self.codes() {
                fields.remove(name);
                if let Some(code) = code {
                    fields.insert(name.to_owned(), json!(code));
                }
            }
        }
        error
    }

    /// What the failed charge says.
    pub(crate) fn charge_fields(&self) -> Value {
        let kind = if self.blocked { "blocked" } else { "issuer_declined" };
        json!({
            "failure_code": self.code, "failure_message": self.message(),
            "outcome": {
                "advice_code": self.advice_code, "network_advice_code": self.network_advice_code,
                "network_decline_code": self.network_decline_code,
                "network_status": if self.blocked { "not_sent_to_network" } else { "declined_by_network" },
                "reason": self.decline_code.as_ref().unwrap_or(&self.code), "risk_level": if self.blocked { "highest" } else { "normal" },
                "risk_score": if self.blocked { 92 } else { 20 }, "seller_message": "The bank did not accept the card.", "type": kind,
            },
        })
    }
}

/// One confirm that was really executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// The PaymentIntent.
    pub payment_intent: String,
    /// The Idempotency-Key.
    pub idempotency_key: Option<String>,
    /// The payment method that was charged.
    pub payment_method: String,
    /// What it came to.
    pub outcome: Outcome,
    /// The stand-in's time.
    pub at: Timestamp,
}

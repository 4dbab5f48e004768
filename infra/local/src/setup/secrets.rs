//! The secrets that a person gives in the environment: taken into the deployment's own place, unless something newer stands there.
//!
//! Must not: show one, or put an old refresh token or signing secret over a newer one.

use super::Work;
use super::report::Report;
use super::webhook::{SECRETS as WEBHOOK, split};
use crate::Failure;
use vesper_adapters::personal::Secret;
use vesper_adapters::quickbooks::oauth::TokenState;
use vesper_adapters::settings::{Books, EhrKind, Settings};

const AREA: &str = "secrets";
/// The refresh token.
pub(super) const REFRESH: &str = "QUICKBOOKS_REFRESH_TOKEN";

/// The secrets that these settings use; those of the second list setup gets by itself.
fn used(settings: &Settings) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut given, mut made) = (vec!["STRIPE_API_KEY"], vec![WEBHOOK]);
    if matches!(settings.ehr.kind, EhrKind::Bridge { .. }) {
        given.push("EHR_BRIDGE_SECRETS");
    }
    if matches!(settings.books, Books::QuickBooks(_)) {
        given.extend(["QUICKBOOKS_CLIENT_ID", "QUICKBOOKS_CLIENT_SECRET"]);
        made.push(REFRESH);
    }
    (given, made)
}

/// Takes what is given, and tells what is missing.
///
/// # Errors
/// When a secret cannot be stored.
pub(super) async fn bring(w: &mut Work<'_>, connection: Option<&TokenState>, report: &mut Report<'_>) -> Result<(), Failure> {
    let (given, made) = used(w.settings);
    for name in given.iter().chain(&made) {
        let stored = w.place.get(name);
        let from_person = (w.given)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(Secret::new);
        let taken = from_person.and_then(|new| to_store(name, new, stored.as_ref(), connection));
        match (taken, &stored) {
            (Some(new), _) => {
                if report.may(AREA, &format!("store {name} in {}", w.place.called())) {
                    w.place.put(name, &new).await?;
                    report.changed(AREA, format!("{name} is in {}", w.place.called()));
                }
            }
            (None, Some(_)) => report.unchanged(AREA, format!("{name} is there")),
            (None, None) if made.contains(name) => {}
            (None, None) => {
                report.problem(AREA, format!("{name} is missing: set it in the environment, and run vesper setup again"))
            }
        }
    }
    Ok(())
}

/// What is to be stored of a given secret; None when nothing is.
fn to_store(name: &str, given: Secret, stored: Option<&Secret>, connection: Option<&TokenState>) -> Option<Secret> {
    let Some(stored) = stored else { return Some(given) };
    if given == *stored {
        return None;
    }
    if name == REFRESH {
        // One that the connection already started with, or that a later consent replaced, is old.
        return (!connection.is_some_and(|c| c.knows(&given))).then_some(given);
    }
    if name == WEBHOOK {
        let mut all = split(stored);
        let known = all.len();
        all.extend(split(&given).into_iter().filter(|one| !split(stored).contains(one)));
        let joined = all.iter().map(Secret::expose).collect::<Vec<_>>().join(",");
        return (all.len() > known).then(|| Secret::new(joined));
    }
    Some(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use vesper_adapters::quickbooks::oauth::TokenPair;

    #[test]
    fn a_given_secret_is_stored_unless_what_is_stored_is_newer() {
        let secret = |s: &str| Secret::new(s);
        let pair =
            TokenPair { access: secret("AT"), refresh: secret("RT-2"), access_expires_in_s: 3600, refresh_expires_in_s: None };
        let first = TokenState::started_with(&secret("RT-1"));
        let connection = TokenState::consented(Some(&first), &pair, Timestamp::UNIX_EPOCH);
        for (name, given, stored, want) in [
            ("STRIPE_API_KEY", "k1", None, Some("k1")),
            ("STRIPE_API_KEY", "k1", Some("k1"), None),
            ("STRIPE_API_KEY", "k2", Some("k1"), Some("k2")),
            (WEBHOOK, "w1", Some("w2,w1"), None),
            (WEBHOOK, "w3,w1", Some("w2,w1"), Some("w2,w1,w3")),
            (REFRESH, "RT-1", Some("RT-2"), None),
            (REFRESH, "RT-3", Some("RT-2"), Some("RT-3")),
        ] {
            let got = to_store(name, secret(given), stored.map(secret).as_ref(), Some(&connection));
            assert_eq!(got.as_ref().map(Secret::expose), want, "{name} {given}");
        }
    }
}

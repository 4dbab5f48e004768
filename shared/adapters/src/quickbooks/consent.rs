//! The consent of the owner: the page where he gives it, and the exchange of the code that it answers with
//! (facts/quickbooks.md A1).
//!
//! Must not: store or show a code or a token, or read a clock.

use super::oauth::{RefreshError, TokenPair, ask, form};
use crate::error::CallError;
use crate::http::Transport;
use crate::personal::Secret;

/// Where tokens come from, at Intuit.
const INTUIT_TOKEN: &str = "https://oauth.platform.intuit.com/";
/// Where an owner consents, at Intuit.
const INTUIT_PAGE: &str = "https://appcenter.intuit.com/connect/oauth2";
/// The only scope of the accounting interface: read and write.
const SCOPE: &str = "com.intuit.quickbooks.accounting";
/// A code that no page ever gave: what the token endpoint says to it tells whether the client's keys are good.
const NO_CODE: &str = "vesper-doctor";

/// The page where the owner consents, with everything it needs. For a `token_url` that is not Intuit's (a stand-in, a proxy) the
/// page is `/connect/oauth2` of the same origin.
///
/// The answer comes to `redirect`, which has to be registered with the Intuit app: `http://localhost` for development keys only,
/// https otherwise.
#[must_use]
pub fn page(token_url: &str, client_id: &Secret, redirect: &str, state: &str) -> String {
    let page = if token_url.starts_with(INTUIT_TOKEN) {
        INTUIT_PAGE.to_owned()
    } else {
        format!("{}/connect/oauth2", origin_of(token_url))
    };
    let fields = [
        ("client_id", client_id.expose()),
        ("response_type", "code"),
        ("scope", SCOPE),
        ("redirect_uri", redirect),
        ("state", state),
    ];
    format!("{page}?{}", form(&fields))
}

fn origin_of(url: &str) -> &str {
    let host_at = url.find("://").map_or(0, |at| at.saturating_add(3));
    let end = url.get(host_at..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| at.saturating_add(host_at));
    url.get(..end).unwrap_or(url)
}

/// Exchanges the code of the consent for the first pair of tokens. A code works once.
///
/// # Errors
/// See [`RefreshError`]; `InvalidGrant`: the code is old, was used, or came to another redirect.
pub async fn exchange(
    transport: &dyn Transport,
    token_url: &str,
    client: [&Secret; 2],
    code: &Secret,
    redirect: &str,
) -> Result<TokenPair, RefreshError> {
    let fields = [("grant_type", "authorization_code"), ("code", code.expose()), ("redirect_uri", redirect)];
    ask(transport, "exchange the code of the consent", token_url, client, &form(&fields)).await
}

/// Whether Intuit knows the client's id and secret: asked with a code that does not exist, so that no token changes.
///
/// # Errors
/// When the token endpoint does not answer.
pub async fn client_is_known(transport: &dyn Transport, token_url: &str, client: [&Secret; 2]) -> Result<bool, CallError> {
    match exchange(transport, token_url, client, &Secret::new(NO_CODE), "http://localhost/").await {
        Err(RefreshError::InvalidClient) => Ok(false),
        Ok(_) | Err(RefreshError::InvalidGrant) => Ok(true),
        Err(RefreshError::Transient(e) | RefreshError::OutcomeUnknown(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_intuits_or_beside_another_token_endpoint_and_says_what_is_asked() {
        let id = Secret::new("AB 1");
        let tail = "?client_id=AB+1&response_type=code&scope=com.intuit.quickbooks.accounting\
                    &redirect_uri=http%3A%2F%2Flocalhost%3A8765%2Fcallback&state=s1";
        for (token_url, want) in [
            ("https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer", "https://appcenter.intuit.com/connect/oauth2"),
            ("http://127.0.0.1:9/oauth2/v1/tokens/bearer", "http://127.0.0.1:9/connect/oauth2"),
            ("https://proxy.example", "https://proxy.example/connect/oauth2"),
        ] {
            assert_eq!(page(token_url, &id, "http://localhost:8765/callback", "s1"), format!("{want}{tail}"));
        }
    }
}

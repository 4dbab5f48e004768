//! Cognito's token endpoint and keys, as far as a sign-in uses them: a code is redeemed once, by who has its verifier.
//!
//! Must not: let anybody in who has not the verifier of the challenge that he left with.

use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use vesper_adapters::http::{HttpRequest, HttpResponse, TransportError};
use vesper_standins::Handle;

/// The app client.
pub const CLIENT: &str = "client-1";
/// The person who signs in.
pub const SUB: &str = "4b1e5c00-0000-4000-8000-000000000001";

/// See the module.
#[derive(Clone, Default)]
pub struct CognitoStandin(Arc<Mutex<BTreeMap<String, Left>>>);

/// Who left for the hosted pages.
struct Left {
    challenge: String,
    nonce: String,
    redirect_uri: String,
    issuer: String,
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A key made for these tests; nothing else trusts it.
fn pair() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(include_bytes!("../../fixtures/rsa-test-key.pk8")).unwrap()
}

fn token(claims: &Value) -> String {
    let header = json!({"alg": "RS256", "kid": "k1"});
    let text = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
    let pair = pair();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", base64url(signature))
}

impl CognitoStandin {
    /// A person signs in on the hosted pages at this address: the path and query to which the browser comes back.
    #[must_use]
    pub fn sign_in(&self, url: &str, issuer: &str) -> String {
        let parsed = query_of(url);
        let value = |name: &str| parsed.get(name).cloned().unwrap_or_default();
        assert_eq!((value("client_id").as_str(), value("code_challenge_method").as_str()), (CLIENT, "S256"));
        let mut left = self.0.lock().unwrap();
        let code = format!("code-{}", left.len());
        let (challenge, nonce, redirect_uri) = (value("code_challenge"), value("nonce"), value("redirect_uri"));
        let back = redirect_uri.splitn(4, '/').nth(3).unwrap_or_default().to_owned();
        left.insert(code.clone(), Left { challenge, nonce, redirect_uri, issuer: issuer.to_owned() });
        format!("/{back}?code={code}&state={}", value("state"))
    }

    fn redeem(&self, body: &[u8]) -> (u16, Value) {
        let form: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
        let value = |name: &str| form.get(name).cloned().unwrap_or_default();
        let Some(left) = self.0.lock().unwrap().remove(&value("code")) else {
            return (400, json!({"error": "invalid_grant"}));
        };
        let challenge = base64url(Sha256::digest(value("code_verifier")));
        let fits = challenge == left.challenge && value("redirect_uri") == left.redirect_uri && value("client_id") == CLIENT;
        if !fits || value("grant_type") != "authorization_code" {
            return (400, json!({"error": "invalid_grant"}));
        }
        let now_s = jiff::Timestamp::now().as_second();
        let claims = json!({"iss": left.issuer, "aud": CLIENT, "sub": SUB, "token_use": "id", "nonce": left.nonce,
            "iat": now_s, "exp": now_s + 3600, "email": "zzyq.canary@example.org"});
        (200, json!({"id_token": token(&claims), "token_type": "Bearer", "expires_in": 3600}))
    }
}

fn query_of(url: &str) -> BTreeMap<String, String> {
    let query = url.split_once('?').map(|(_, q)| q).unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn keys() -> Value {
    let public: PublicKeyComponents<Vec<u8>> = pair().public_key().into();
    json!({"keys": [{"kid": "k1", "kty": "RSA", "alg": "RS256", "use": "sig", "n": base64url(public.n), "e": base64url(public.e)}]})
}

impl Handle for CognitoStandin {
    fn exchange(&self, request: &HttpRequest) -> Result<HttpResponse, TransportError> {
        let (status, body) = if request.url.ends_with("/oauth2/token") {
            self.redeem(&request.body)
        } else if request.url.ends_with("/pool/.well-known/jwks.json") {
            (200, keys())
        } else {
            (404, json!({}))
        };
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(HttpResponse { status, headers, body: Bytes::from(body.to_string()) })
    }
}

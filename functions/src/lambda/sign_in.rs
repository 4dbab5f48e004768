//! Signing in on Cognito's own pages: authorization code with PKCE (RFC 7636), and who came back (OpenID Connect Core 1.0,
//! sections 3.1.2 and 3.1.3.7). Nothing is stored: what is to be remembered between leaving and coming back follows from a
//! random seed that the browser keeps in a cookie, and from a key that only the function has.
//!
//! Must not: log a code, a token or a name, or call anything.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The cookie that is kept between leaving and coming back. The prefix binds it to this host and to TLS.
pub const LEAVING: &str = "__Host-vesper_leaving";
/// A sign-in may take so long, in seconds.
pub const LEAVING_S: i64 = 600;
/// Clocks may differ by so much, in seconds.
const SKEW_S: i64 = 60;
/// Where Cognito sends the browser back to.
pub const CALLBACK: &str = "/review/callback";

/// Why somebody who came back is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotIn {
    /// The cookie is missing, old, or belongs to another attempt.
    #[error("the sign-in was not started in this browser, or too long ago")]
    NotStarted,
    /// The ID token is not what OpenID Connect asks for.
    #[error("the ID token was refused: {0}")]
    Token(&'static str),
    /// The keys of the issuer do not have the one that signed.
    #[error("the ID token is signed with a key that is not known")]
    UnknownKey,
}

/// The stack's user pool.
#[derive(Clone, Debug)]
pub struct Cognito {
    /// Of the hosted pages, such as `https://x.auth.us-east-1.amazoncognito.com`.
    pub domain: String,
    /// The app client.
    pub client_id: String,
    /// Who issues the tokens: `https://cognito-idp.<region>.amazonaws.com/<pool>`.
    pub issuer: String,
    /// Where this API is, without a slash at its end.
    pub base_url: String,
}

/// One sign-in under way.
pub struct Attempt {
    seed: String,
    key: [u8; 32],
}

fn mac(key: &[u8; 32], purpose: &str, text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

impl Attempt {
    /// A new one, of sixteen random bytes at this moment.
    #[must_use]
    pub fn new(key: [u8; 32], random: [u8; 16], now_unix_s: i64) -> Attempt {
        Attempt { seed: format!("{now_unix_s}.{}", hex::encode(random)), key }
    }

    /// The one of a cookie's value, with the state that came back.
    ///
    /// # Errors
    /// When they do not belong together, or it took too long.
    pub fn of(key: [u8; 32], cookie: &str, state: &str, now_unix_s: i64) -> Result<Attempt, NotIn> {
        let since = cookie.split('.').next().and_then(|s| s.parse::<i64>().ok()).ok_or(NotIn::NotStarted)?;
        let age_s = now_unix_s.checked_sub(since).ok_or(NotIn::NotStarted)?;
        let attempt = Attempt { seed: cookie.to_owned(), key };
        let differ = attempt.state().bytes().zip(state.bytes()).fold(0, |d, (a, b)| d | (a ^ b));
        let same = attempt.state().len() == state.len() && differ == 0;
        if same && (-SKEW_S..LEAVING_S).contains(&age_s) { Ok(attempt) } else { Err(NotIn::NotStarted) }
    }

    fn derived(&self, purpose: &str) -> String {
        URL_SAFE_NO_PAD.encode(mac(&self.key, purpose, &self.seed))
    }

    /// The value of the cookie.
    #[must_use]
    pub fn cookie(&self) -> &str {
        &self.seed
    }

    fn state(&self) -> String {
        self.derived("state")
    }

    fn nonce(&self) -> String {
        self.derived("nonce")
    }

    fn verifier(&self) -> String {
        self.derived("verifier")
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

impl Cognito {
    fn callback(&self) -> String {
        format!("{}{CALLBACK}", self.base_url)
    }

    /// Where a person signs in.
    #[must_use]
    pub fn sign_in_url(&self, attempt: &Attempt) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(attempt.verifier().as_bytes()));
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.callback()),
            ("scope", "openid"),
            ("state", &attempt.state()),
            ("nonce", &attempt.nonce()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        format!("{}/oauth2/authorize?{query}", self.domain)
    }

    /// Where a person signs out of Cognito, too.
    #[must_use]
    pub fn sign_out_url(&self) -> String {
        let back = format!("{}/review", self.base_url);
        format!("{}/logout?{}", self.domain, form(&[("client_id", &self.client_id), ("logout_uri", &back)]))
    }

    /// Where the code is redeemed.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.domain)
    }

    /// What is posted there.
    #[must_use]
    pub fn redeem(&self, attempt: &Attempt, code: &str) -> String {
        form(&[
            ("grant_type", "authorization_code"),
            ("client_id", &self.client_id),
            ("code", code),
            ("redirect_uri", &self.callback()),
            ("code_verifier", &attempt.verifier()),
        ])
    }

    /// Where the keys of the issuer are.
    #[must_use]
    pub fn keys_url(&self) -> String {
        format!("{}/.well-known/jwks.json", self.issuer)
    }

    /// Who an ID token speaks of: its `sub`, a made-up id that says nothing of a person.
    ///
    /// # Errors
    /// When it is not signed by the issuer, not for this client and this attempt, or not valid now.
    pub fn who(&self, token: &str, keys: &Keys, attempt: &Attempt, now_unix_s: i64) -> Result<String, NotIn> {
        let mut parts = token.split('.');
        let (Some(head), Some(body), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(NotIn::Token("it has not three parts"));
        };
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| NotIn::Token("a part is no base64url"));
        let header: Header = serde_json::from_slice(&decode(head)?).map_err(|_| NotIn::Token("its header"))?;
        if header.alg != "RS256" {
            return Err(NotIn::Token("its algorithm is not RS256"));
        }
        let key = keys.keys.iter().find(|k| k.kid == header.kid && k.kty == "RSA").ok_or(NotIn::UnknownKey)?;
        let public = RsaPublicKeyComponents { n: decode(&key.n)?, e: decode(&key.e)? };
        let signed = token.len().saturating_sub(signature.len()).saturating_sub(1);
        let message = token.get(..signed).unwrap_or_default().as_bytes();
        let verified = public.verify(&RSA_PKCS1_2048_8192_SHA256, message, &decode(signature)?);
        verified.map_err(|_| NotIn::Token("its signature"))?;
        let claims: Claims = serde_json::from_slice(&decode(body)?).map_err(|_| NotIn::Token("its claims"))?;
        self.check(&claims, attempt, now_unix_s)?;
        Ok(claims.sub)
    }

    fn check(&self, claims: &Claims, attempt: &Attempt, now_unix_s: i64) -> Result<(), NotIn> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let wrong = [
            (claims.iss != self.issuer, "another issuer"),
            (claims.aud != self.client_id, "another audience"),
            (claims.token_use != "id", "it is no ID token"),
            (claims.nonce != attempt.nonce(), "another nonce"),
            (claims.exp <= now_unix_s.saturating_sub(SKEW_S), "it is over"),
            (claims.iat > now_unix_s.saturating_add(SKEW_S), "it is from the future"),
            (claims.sub.is_empty() || claims.sub.len() > 64 || !claims.sub.chars().all(plain), "its subject"),
        ];
        wrong.iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err(NotIn::Token(why)))
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    token_use: String,
    #[serde(default)]
    nonce: String,
    exp: i64,
    iat: i64,
}

/// The keys of the issuer (RFC 7517).
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Keys {
    keys: Vec<Key>,
}

#[derive(Debug, Clone, Deserialize)]
struct Key {
    kid: String,
    kty: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
    use serde_json::{Value, json};

    const NOW: i64 = 1_795_000_000;
    const KEY: [u8; 32] = [3; 32];

    fn cognito() -> Cognito {
        let text = |s: &str| s.to_owned();
        Cognito {
            domain: text("https://x.auth.us-east-1.amazoncognito.com"),
            client_id: text("client-1"),
            issuer: text("https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Pool"),
            base_url: text("https://api.example"),
        }
    }

    /// A key made for these tests; nothing else trusts it.
    fn pair() -> RsaKeyPair {
        RsaKeyPair::from_pkcs8(include_bytes!("../../../tests/fixtures/rsa-test-key.pk8")).unwrap()
    }

    fn keys() -> Keys {
        use ring::rsa::PublicKeyComponents;
        use ring::signature::KeyPair as _;
        let public: PublicKeyComponents<Vec<u8>> = pair().public_key().into();
        let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
        serde_json::from_value(json!({"keys": [{"kid": "k1", "kty": "RSA", "alg": "RS256", "n": n, "e": e}]})).unwrap()
    }

    fn token(header: &Value, claims: &Value) -> String {
        let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let pair = pair();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn attempt() -> Attempt {
        Attempt::new(KEY, [9; 16], NOW)
    }

    fn claims() -> Value {
        json!({"iss": cognito().issuer, "aud": "client-1", "sub": "4b1e-5c", "token_use": "id", "nonce": attempt().nonce(),
            "exp": NOW + 3600, "iat": NOW, "email": "a@b"})
    }

    #[test]
    fn a_token_of_the_issuer_for_this_attempt_says_who_it_is_and_any_other_is_refused() {
        let header = json!({"alg": "RS256", "kid": "k1"});
        let who = |token: &str| cognito().who(token, &keys(), &attempt(), NOW);
        assert_eq!(who(&token(&header, &claims())), Ok("4b1e-5c".to_owned()));
        let cases = [
            ("iss", json!("https://cognito-idp.us-east-1.amazonaws.com/another")),
            ("aud", json!("client-2")),
            ("token_use", json!("access")),
            ("nonce", json!("another")),
            ("nonce", json!("")),
            ("exp", json!(NOW - 61)),
            ("iat", json!(NOW + 61)),
            ("sub", json!("")),
            ("sub", json!("a.b")),
            ("sub", json!("ada@example.org")),
            ("aud", json!(["client-1"])),
        ];
        for (name, value) in cases {
            let mut claims = claims();
            claims[name] = value.clone();
            assert!(matches!(who(&token(&header, &claims)), Err(NotIn::Token(_))), "{name} {value}");
        }
        for alg in ["none", "HS256", "RS384", "rs256"] {
            assert!(matches!(who(&token(&json!({"alg": alg, "kid": "k1"}), &claims())), Err(NotIn::Token(_))), "{alg}");
        }
        assert_eq!(who(&token(&json!({"alg": "RS256", "kid": "k2"}), &claims())), Err(NotIn::UnknownKey));
        let good = token(&header, &claims());
        let (text, signature) = good.rsplit_once('.').unwrap();
        let other = token(&header, &json!({"sub": "x"}));
        let swapped = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
        for bad in ["", "a.b", "a.b.c", text, &format!("{good}.x"), &format!("{text}."), &format!("{text}.AAAA"), &swapped] {
            assert!(matches!(who(bad), Err(NotIn::Token(_))), "{bad}");
        }
    }

    #[test]
    fn who_comes_back_must_have_left_from_this_browser_a_moment_ago() {
        let left = attempt();
        let of = |cookie: &str, state: &str, now| Attempt::of(KEY, cookie, state, now).map(|a| a.verifier());
        assert_eq!(of(left.cookie(), &left.state(), NOW + 599), Ok(left.verifier()));
        let other = Attempt::new(KEY, [8; 16], NOW);
        let cases = [
            (left.cookie(), left.state(), NOW + 600),
            (left.cookie(), other.state(), NOW),
            (other.cookie(), left.state(), NOW),
            (left.cookie(), String::new(), NOW),
            ("", left.state(), NOW),
            ("x", left.state(), NOW),
            (left.cookie(), Attempt::new([4; 32], [9; 16], NOW).state(), NOW),
        ];
        for (cookie, state, now) in cases {
            assert_eq!(of(cookie, &state, now), Err(NotIn::NotStarted), "{cookie} {state}");
        }
    }

    #[test]
    fn the_challenge_is_the_hash_of_the_verifier_which_never_leaves() {
        let (cognito, left) = (cognito(), attempt());
        let url = cognito.sign_in_url(&left);
        let query: Vec<(String, String)> =
            form_urlencoded::parse(url.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
        let value = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap();
        assert_eq!(value("code_challenge"), URL_SAFE_NO_PAD.encode(Sha256::digest(left.verifier().as_bytes())));
        assert_eq!((value("code_challenge_method"), value("response_type")), ("S256".to_owned(), "code".to_owned()));
        assert_eq!(value("redirect_uri"), "https://api.example/review/callback");
        assert!(!url.contains(&left.verifier()) && !left.cookie().contains(&left.verifier()));
        assert!((43..=128).contains(&left.verifier().len()), "RFC 7636, 4.1");
        assert!(cognito.redeem(&left, "c").contains(&left.verifier()));
        let purposes = [left.state(), left.nonce(), left.verifier()];
        assert!(purposes[0] != purposes[1] && purposes[1] != purposes[2] && purposes[0] != purposes[2]);
    }
}

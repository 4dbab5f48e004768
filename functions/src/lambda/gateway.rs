//! What API Gateway sends and takes (HTTP API, payload format 2.0):
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>.

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpEvent {
    /// The path as it was sent, percent-encoded, with a stage that is not `$default` in front.
    #[serde(default)]
    pub raw_path: String,
    /// Without the question mark.
    #[serde(default)]
    pub raw_query_string: String,
    /// Lower-case names; several values of one name stand with commas between.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Cookies stand here, not among the headers.
    #[serde(default)]
    pub cookies: Vec<String>,
    /// Where the method is.
    #[serde(default)]
    pub request_context: RequestContext,
    /// A text, or base64 of any bytes.
    #[serde(default)]
    pub body: Option<String>,
    /// Which of the two.
    #[serde(default)]
    pub is_base64_encoded: bool,
}

/// The part of the context that is used.
#[derive(Debug, Default, Deserialize)]
pub struct RequestContext {
    /// The request line.
    #[serde(default)]
    pub http: HttpContext,
}

/// The request line.
#[derive(Debug, Default, Deserialize)]
pub struct HttpContext {
    /// `GET`, `POST`, ...
    #[serde(default)]
    pub method: String,
}

/// The body is no base64 although it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is no base64")]
pub struct BadBody;

impl HttpEvent {
    /// A header by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The bytes that were sent.
    ///
    /// # Errors
    /// When it says base64 and is not.
    pub fn bytes(&self) -> Result<Vec<u8>, BadBody> {
        let text = self.body.as_deref().unwrap_or_default();
        if self.is_base64_encoded {
            return base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| BadBody);
        }
        Ok(text.as_bytes().to_vec())
    }

    /// Path and query as they stand in the request line.
    #[must_use]
    pub fn path_and_query(&self) -> String {
        if self.raw_query_string.is_empty() {
            return self.raw_path.clone();
        }
        format!("{}?{}", self.raw_path, self.raw_query_string)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAnswer {
    /// The HTTP status.
    pub status_code: u16,
    /// Lower-case names.
    pub headers: BTreeMap<&'static str, String>,
    /// One per cookie.
    pub cookies: Vec<String>,
    /// A text.
    pub body: String,
    /// Never.
    pub is_base64_encoded: bool,
}

impl HttpAnswer {
    /// An answer of any type; `set-cookie` goes where the service wants it.
    #[must_use]
    pub fn new(status_code: u16, headers: Vec<(&'static str, String)>, body: String) -> HttpAnswer {
        let (cookies, headers): (Vec<_>, Vec<_>) = headers.into_iter().partition(|(name, _)| *name == "set-cookie");
        HttpAnswer {
            status_code,
            headers: headers.into_iter().collect(),
            cookies: cookies.into_iter().map(|(_, value)| value).collect(),
            body,
            is_base64_encoded: false,
        }
    }

    /// A JSON answer.
    #[must_use]
    pub fn json(status_code: u16, body: impl Into<String>) -> HttpAnswer {
        HttpAnswer::new(status_code, vec![("content-type", "application/json".to_owned())], body.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_text_or_base64_and_a_request_may_lack_almost_everything() {
        let event: HttpEvent = serde_json::from_str(r#"{"body":"eyJhIjoxfQ==","isBase64Encoded":true}"#).unwrap();
        assert_eq!(event.bytes().unwrap(), br#"{"a":1}"#);
        let event: HttpEvent = serde_json::from_str(r#"{"body":"{\"a\":1}","rawPath":"/x","rawQueryString":"y=1"}"#).unwrap();
        assert_eq!(event.bytes().unwrap(), br#"{"a":1}"#);
        assert_eq!(event.path_and_query(), "/x?y=1");
        let event: HttpEvent = serde_json::from_str(r#"{"body":"%%","isBase64Encoded":true}"#).unwrap();
        assert_eq!(event.bytes(), Err(BadBody));
        assert_eq!(serde_json::from_str::<HttpEvent>("{}").unwrap().bytes().unwrap(), b"");
    }
}

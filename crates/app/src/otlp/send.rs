//! Sending to a collector: to the right path, with the owner's headers, again where that helps, and saying once when it does not.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderName, StatusCode};
use llm_router::error::Result;
use llm_router::provider::http::{HttpClient, HttpRequest, Limits, parse_url};
use serde_json::Value;

use super::unusable;

/// Waits before a batch is sent again; after the last one it is lost.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// What bounds one exchange: a collector is near, or of no use.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    head: Some(Duration::from_secs(5)),
    idle: Some(Duration::from_secs(5)),
    body: 64 << 10,
};

/// Sends to one collector.
pub(super) struct Sender {
    http: HttpClient,
    endpoint: String,
    headers: Vec<(HeaderName, String)>,
    resource: Value,
    trouble: bool,
}

impl Sender {
    /// A sender to this endpoint, with headers as `OTEL_EXPORTER_OTLP_HEADERS` has them.
    ///
    /// # Errors
    /// `caller_invalid_request` for headers that cannot be sent; their values are not repeated.
    pub(super) fn new(http: HttpClient, endpoint: &str, headers: &str, resource: Value) -> Result<Self> {
        parse_url(endpoint)?;
        let mut sent = Vec::new();
        for (name, value) in pairs(headers, "telemetry.otlp_headers")? {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| unusable("telemetry.otlp_headers", "a name is no header's"))?;
            sent.push((name, value));
        }
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let sender = Self { http, endpoint, headers: sent, resource, trouble: false };
        // Said now, not when the first data is lost.
        sender.request("v1/traces", Bytes::new())?;
        Ok(sender)
    }

    fn request(&self, path: &str, body: Bytes) -> Result<HttpRequest> {
        let mut request = HttpRequest::post_json(&format!("{}/{path}", self.endpoint), body)?.with_limits(LIMITS);
        for (name, value) in &self.headers {
            request = request.with_secret(name.clone(), value)?;
        }
        Ok(request)
    }

    /// Sends what `make` makes for this resource, again and again where somebody may be patient. Says whether it arrived.
    pub(super) async fn send(&mut self, path: &str, make: impl FnOnce(&Value) -> Value, patient: bool) -> bool {
        let body = Bytes::from(make(&self.resource).to_string());
        let mut waits = AGAIN.iter();
        loop {
            let failed = match self.once(path, body.clone()).await {
                Ok(()) => {
                    self.trouble = false;
                    return true;
                }
                Err(failed) => failed,
            };
            let wait = waits.next().filter(|_| patient && failed.again);
            // Once, until it works again: what is lost meanwhile is counted.
            if !std::mem::replace(&mut self.trouble, true) {
                let endpoint = &self.endpoint;
                tracing::warn!("OpenTelemetry data does not reach {endpoint}: {}", failed.why);
            }
            match wait {
                Some(wait) => tokio::time::sleep(failed.after.unwrap_or(*wait).min(Duration::from_secs(10))).await,
                None => return false,
            }
        }
    }

    async fn once(&self, path: &str, body: Bytes) -> Result<(), Failed> {
        let lost = |error: llm_router::Error| Failed { again: true, after: None, why: error.message().to_owned() };
        let request = self.request(path, body).map_err(lost)?;
        let mut answer = self.http.send(request).await.map_err(lost)?;
        let status = answer.status;
        if status.is_success() {
            // Read to its end, so that the connection can be used again; what it says of single spans helps nobody here.
            while answer.body.next().await.is_some_and(|piece| piece.is_ok()) {}
            return Ok(());
        }
        let again = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        let after = answer.headers.get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
        Err(Failed { again, after: after.map(Duration::from_secs), why: format!("it answers {status}") })
    }
}

/// Why a batch did not arrive.
struct Failed {
    /// Whether it may arrive another time.
    again: bool,
    after: Option<Duration>,
    why: String,
}

/// Reads `name=value,name=value`, with signs as `%XX`, as OpenTelemetry's variables have it.
///
/// # Errors
/// `caller_invalid_request` naming the setting; no value is repeated.
pub(super) fn pairs(text: &str, setting: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| unusable(setting, "a part of it has no `=`"))?;
        let value = plain(value.trim()).ok_or_else(|| unusable(setting, "a value is not percent-encoded text"))?;
        if name.trim().is_empty() {
            return Err(unusable(setting, "a name is empty"));
        }
        pairs.push((name.trim().to_owned(), value));
    }
    Ok(pairs)
}

fn plain(value: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pairs_are_read_or_refused_without_their_values() {
        let read = |text| pairs(text, "telemetry.otlp_headers");
        assert_eq!(read(" a=b%20c , d=e=f ").unwrap(), [("a".into(), "b c".into()), ("d".into(), "e=f".into())]);
        assert!(read("").unwrap().is_empty());
        for text in ["secret", "=secret", "a=secret%", "a=secret%zz", "a=secret%ff"] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains("otlp_headers") && !error.to_string().contains("secret"), "{error}");
        }
    }
}

//! How providers say that something is used up, as whole answers: headers and bodies as they come, and what is read in them.
//!
//! A rate limit passes, a quota has its reset, a spend limit and an unpaid bill want somebody's hand: what follows each is the router's business.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use llm_router::ErrorKind;
use llm_router::dialect::{Dialect, codec};

struct Row {
    what: &'static str,
    dialect: Dialect,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    kind: ErrorKind,
    /// Seconds until it may be asked again, where the answer says so.
    wait: Option<f64>,
}

const DATE: (&str, &str) = ("date", "Sun, 22 Nov 2026 10:00:00 GMT");

use Dialect::{Anthropic, Gemini, OpenaiChat, OpenaiResponses};
use ErrorKind::{ProviderBilling, ProviderOverloaded, ProviderQuotaExhausted, ProviderRateLimited};

const ROWS: &[Row] = &[
    Row {
        what: "OpenAI: requests of a minute",
        dialect: OpenaiChat,
        status: 429,
        headers: &[
            DATE,
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6m0s"),
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-tokens", "29910"),
            ("x-ratelimit-reset-tokens", "180ms"),
        ],
        body: r#"{"error":{"message":"Rate limit reached for gpt-4o in organization org-x on requests per min (RPM): Limit 500, Used 500, Requested 1.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
        kind: ProviderRateLimited,
        wait: Some(360.0),
    },
    Row {
        what: "OpenAI: tokens of a minute, the wait in words and milliseconds",
        dialect: OpenaiResponses,
        status: 429,
        headers: &[DATE, ("retry-after-ms", "7660"), ("retry-after", "8"), ("x-ratelimit-remaining-tokens", "0")],
        body: r#"{"error":{"message":"Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 4830. Please try again in 7.66s. Visit https://platform.openai.com/account/rate-limits to learn more.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
        kind: ProviderRateLimited,
        wait: Some(7.66),
    },
    Row {
        what: "OpenAI: the account's money",
        dialect: OpenaiChat,
        status: 429,
        headers: &[DATE],
        body: r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        kind: ProviderQuotaExhausted,
        wait: None,
    },
    Row {
        what: "OpenAI: the account's own limit of spending",
        dialect: OpenaiChat,
        status: 400,
        headers: &[DATE],
        body: r#"{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","param":null,"code":"billing_hard_limit_reached"}}"#,
        kind: ProviderBilling,
        wait: None,
    },
    Row {
        what: "Groq: tokens of a day",
        dialect: OpenaiChat,
        status: 429,
        headers: &[DATE, ("retry-after", "1523"), ("x-ratelimit-remaining-requests", "14370")],
        body: r#"{"error":{"message":"Rate limit reached for model `llama` on tokens per day (TPD): Limit 100000, Used 99000, Requested 2000. Please try again in 25m23s.","type":"tokens","code":"rate_limit_exceeded"}}"#,
        kind: ProviderQuotaExhausted,
        wait: Some(1523.0),
    },
    Row {
        what: "OpenRouter: free requests of a day, the moment in milliseconds",
        dialect: OpenaiChat,
        status: 429,
        headers: &[
            DATE,
            ("x-ratelimit-limit", "50"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1795392000000"),
        ],
        body: r#"{"error":{"message":"Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day","code":429,"metadata":{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1795392000000"},"provider_name":null}},"user_id":"u"}"#,
        kind: ProviderQuotaExhausted,
        wait: Some(50_400.0),
    },
    Row {
        what: "OpenRouter: no credit",
        dialect: OpenaiChat,
        status: 402,
        headers: &[DATE],
        body: r#"{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 1200.","code":402}}"#,
        kind: ProviderBilling,
        wait: None,
    },
    Row {
        what: "DeepSeek: no balance",
        dialect: OpenaiChat,
        status: 402,
        headers: &[DATE],
        body: r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
        kind: ProviderBilling,
        wait: None,
    },
    Row {
        what: "a proxy: a date, and nothing of an API",
        dialect: OpenaiChat,
        status: 429,
        headers: &[DATE, ("retry-after", "Sun, 22 Nov 2026 10:01:30 GMT"), ("content-type", "text/plain")],
        body: "Too Many Requests",
        kind: ProviderRateLimited,
        wait: Some(90.0),
    },
    Row {
        what: "Anthropic: tokens of a minute, moments of RFC 3339",
        dialect: Anthropic,
        status: 429,
        headers: &[
            DATE,
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-11-22T10:00:01Z"),
            ("anthropic-ratelimit-input-tokens-limit", "30000"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-22T10:00:45Z"),
        ],
        body: r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 30,000 input tokens per minute."},"request_id":"req_1"}"#,
        kind: ProviderRateLimited,
        wait: Some(45.0),
    },
    Row {
        what: "Anthropic: seconds beside the moments",
        dialect: Anthropic,
        status: 429,
        headers: &[
            DATE,
            ("retry-after", "17"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-22T10:05:00Z"),
        ],
        body: r#"{"type":"error","error":{"type":"rate_limit_error","message":"Number of request tokens has exceeded your per-minute rate limit."}}"#,
        kind: ProviderRateLimited,
        wait: Some(17.0),
    },
    Row {
        what: "Anthropic: a limit of spending is no rate limit",
        dialect: Anthropic,
        status: 400,
        headers: &[DATE],
        body: r#"{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}"#,
        kind: ProviderQuotaExhausted,
        wait: None,
    },
    Row {
        what: "Anthropic: no credit",
        dialect: Anthropic,
        status: 400,
        headers: &[DATE],
        body: r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."}}"#,
        kind: ProviderBilling,
        wait: None,
    },
    Row {
        what: "Anthropic: overloaded",
        dialect: Anthropic,
        status: 529,
        headers: &[DATE, ("x-should-retry", "true")],
        body: r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        kind: ProviderOverloaded,
        wait: None,
    },
    Row {
        what: "Google: a minute's quota, with RetryInfo",
        dialect: Gemini,
        status: 429,
        headers: &[DATE],
        body: r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details. Please retry in 19.5s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"generativelanguage.googleapis.com/generate_content_free_tier_requests","quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier","quotaValue":"15"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"19s"}]}}"#,
        kind: ProviderRateLimited,
        wait: Some(19.0),
    },
    Row {
        what: "Google: a day's quota, whose RetryInfo is a minute's",
        dialect: Gemini,
        status: 429,
        headers: &[DATE],
        body: r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaValue":"50"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"41.5s"}]}}"#,
        kind: ProviderQuotaExhausted,
        wait: Some(41.5),
    },
    Row {
        what: "ChatGPT's backend, behind Codex",
        dialect: OpenaiResponses,
        status: 429,
        headers: &[DATE],
        body: r#"{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached. Try again in 3 days 4 hours 12 minutes.","plan_type":"plus"}}"#,
        kind: ProviderQuotaExhausted,
        wait: Some(274_320.0),
    },
    Row {
        what: "a provider that forbids a retry",
        dialect: OpenaiChat,
        status: 429,
        headers: &[DATE, ("x-should-retry", "false")],
        body: r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#,
        kind: ProviderQuotaExhausted,
        wait: None,
    },
    Row {
        what: "vLLM: nothing but a status",
        dialect: OpenaiChat,
        status: 503,
        headers: &[DATE, ("retry-after", "5")],
        body: "",
        kind: ProviderOverloaded,
        wait: Some(5.0),
    },
];

#[test]
fn every_providers_way_of_saying_it_is_understood() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let headers =
            row.headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.collect();
        let status = StatusCode::from_u16(row.status).unwrap();
        let error = codec(row.dialect).decode_error(status, &headers, &Bytes::from_static(row.body.as_bytes()));
        let wait = error.retry_after().map(|wait| (wait.as_secs_f64() * 1000.0).round() / 1000.0);
        if (error.kind(), wait) != (row.kind, row.wait) {
            wrong.push(format!("{}: {} after {wait:?}, not {} after {:?}", row.what, error.kind(), row.kind, row.wait));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

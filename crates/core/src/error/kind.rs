//! The closed table of what can go wrong: for each kind whose fault it is, whether the same target may be asked again, whether the next one may, and its HTTP status.
//!
//! Nothing is decided here but the table; `router/retry.rs` obeys it. The error that carries a kind is `error.rs`.

use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// Whose error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The request itself cannot be served as it stands.
    Caller,
    /// A rule of this router forbids it: keys, limits, budgets.
    Policy,
    /// The upstream failed.
    Provider,
    /// The router failed, or has too much to do.
    Router,
}

/// Whether the target that failed may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SameTarget {
    /// Asking again cannot help.
    Never,
    /// Yes, after a backoff.
    Retry,
    /// Yes, after the delay that the upstream named ([`Error::retry_after`](crate::error::Error::retry_after)).
    AfterDelay,
    /// Not before the reset time that the upstream named.
    AfterReset,
    /// Only with another credential of the same provider.
    NextCredential,
}

/// Whether the plan may go on to its next target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NextTarget {
    /// The error reaches the caller at once.
    No,
    /// Any next target.
    Yes,
    /// Only a target with a larger context window.
    LargerWindow,
    /// Only a target of the route's content-filter chain.
    ContentFilterChain,
}

/// One row of the error table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The stable name, as it appears in JSON, metrics and logs.
    pub name: &'static str,
    /// Whose error.
    pub fault: Fault,
    /// May the same target be asked again?
    pub same: SameTarget,
    /// May the next target be asked?
    pub next: NextTarget,
    /// The HTTP status the server answers with.
    pub status: u16,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $fault:ident, $same:ident, $next:ident, $status:literal;)*) => {
        /// What went wrong: a closed list, used in JSON, metrics and the retry rules alike.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl ErrorKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$variant,)*];

            /// This kind's row of the table.
            pub const fn row(self) -> Row {
                match self {
                    $(ErrorKind::$variant => Row {
                        name: $name, fault: Fault::$fault, same: SameTarget::$same, next: NextTarget::$next, status: $status,
                    },)*
                }
            }
        }
    };
}

kinds! {
    /// The request is malformed.
    CallerInvalidRequest = "caller_invalid_request", Caller, Never, No, 400;
    /// The request's body, or a part of it, is over a limit.
    CallerTooLarge = "caller_too_large", Caller, Never, No, 413;
    /// The caller went away.
    CallerCancelled = "caller_cancelled", Caller, Never, No, 499;
    /// The target cannot express something the request needs.
    CallerUnsupported = "caller_unsupported", Caller, Never, Yes, 400;
    /// No target serves the model that was asked for.
    CallerModelUnknown = "caller_model_unknown", Caller, Never, Yes, 404;
    /// The prompt does not fit the model's context window.
    CallerContextLength = "caller_context_length", Caller, Never, LargerWindow, 400;
    /// The upstream's content filter refused the prompt.
    CallerContentFilter = "caller_content_filter", Caller, Never, ContentFilterChain, 400;
    /// No key, or an unknown one, was shown to this router.
    PolicyUnauthenticated = "policy_unauthenticated", Policy, Never, No, 401;
    /// The key shown to this router may not do this.
    PolicyForbidden = "policy_forbidden", Policy, Never, No, 403;
    /// A rate limit of this router.
    PolicyRateLimited = "policy_rate_limited", Policy, Never, No, 429;
    /// A budget of this router does not allow what an attempt may cost; one at a cheaper target may cost less.
    PolicyBudgetExceeded = "policy_budget_exceeded", Policy, Never, Yes, 429;
    /// The upstream does not accept our credential.
    ProviderAuth = "provider_auth", Provider, NextCredential, Yes, 502;
    /// The upstream wants to be paid.
    ProviderBilling = "provider_billing", Provider, NextCredential, Yes, 502;
    /// The upstream answered 400 to a body that this router translated or extended.
    ProviderRejected = "provider_rejected", Provider, Never, Yes, 502;
    /// The upstream limits our rate.
    ProviderRateLimited = "provider_rate_limited", Provider, AfterDelay, Yes, 429;
    /// Our quota at the upstream is used up until its reset.
    ProviderQuotaExhausted = "provider_quota_exhausted", Provider, AfterReset, Yes, 429;
    /// The upstream says it has too much to do.
    ProviderOverloaded = "provider_overloaded", Provider, Retry, Yes, 503;
    /// The upstream is not there: not installed, not running, no model, breaker open.
    ProviderUnavailable = "provider_unavailable", Provider, Never, Yes, 503;
    /// The upstream failed inside.
    ProviderServerError = "provider_server_error", Provider, Retry, Yes, 502;
    /// The connection failed before or during the answer.
    ProviderConnection = "provider_connection", Provider, Retry, Yes, 502;
    /// The upstream broke its protocol: an answer that does not parse, or that ends without its terminal event.
    ProviderProtocol = "provider_protocol", Provider, Retry, Yes, 502;
    /// A deadline passed.
    ProviderTimeout = "provider_timeout", Provider, Never, Yes, 504;
    /// This router has too much to do.
    RouterOverloaded = "router_overloaded", Router, Never, No, 503;
    /// This router cannot serve now: nothing configured, draining, store closed.
    RouterUnavailable = "router_unavailable", Router, Never, No, 503;
    /// A defect of this router.
    RouterInternal = "router_internal", Router, Never, No, 500;
}

impl ErrorKind {
    /// The stable name, `provider_timeout` for example.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Whose error.
    pub const fn fault(self) -> Fault {
        self.row().fault
    }

    /// The HTTP status that the server answers with. 499 has no name in the registry of status codes but is what proxies log.
    pub fn http_status(self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_the_serde_names_and_carry_their_fault() {
        for &kind in ErrorKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            let fault = serde_json::to_value(kind.fault()).unwrap();
            assert!(kind.name().starts_with(fault.as_str().unwrap()), "{kind}");
        }
    }

    #[test]
    fn only_provider_errors_are_asked_again() {
        for &kind in ErrorKind::ALL {
            if kind.row().same != SameTarget::Never {
                assert_eq!(kind.fault(), Fault::Provider, "{kind}");
            }
        }
    }
}

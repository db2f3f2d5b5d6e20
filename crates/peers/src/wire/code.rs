//! Why a peer says no: the few words of the wire, and what each means in the router's table of errors, both ways.
//!
//! Neither the texts of a peer's own providers nor its own leave it: an error goes out as its kind and a sentence from the table here.

use llm_router::ErrorKind::{self, *};
use serde::{Deserialize, Serialize};

/// Why a peer says no. A word that is not known is read as [`Code::Internal`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Code {
    /// It has too much to do now.
    Busy,
    /// It does not serve this model, or not what the request needs of it.
    NoModel,
    /// The conversation does not fit the model.
    Ctx,
    /// It does not answer this peer, or not this.
    Denied,
    /// What this peer may use is used up.
    Budget,
    /// The time given was too short.
    Deadline,
    /// The request is larger than it takes.
    TooBig,
    /// The request is none.
    Invalid,
    /// Anything else that went wrong there.
    #[default]
    #[serde(other)]
    Internal,
}

impl Code {
    /// The word for an error of this kind.
    #[must_use]
    pub fn of(kind: ErrorKind) -> Self {
        match kind {
            CallerInvalidRequest => Self::Invalid,
            CallerTooLarge => Self::TooBig,
            CallerUnsupported | CallerModelUnknown => Self::NoModel,
            CallerContextLength => Self::Ctx,
            CallerContentFilter | PolicyUnauthenticated | PolicyForbidden => Self::Denied,
            PolicyBudgetExceeded => Self::Budget,
            PolicyRateLimited
            | ProviderOverloaded
            | ProviderRateLimited
            | ProviderQuotaExhausted
            | RouterOverloaded => Self::Busy,
            CallerCancelled | ProviderTimeout => Self::Deadline,
            _ => Self::Internal,
        }
    }

    /// The kind for the router that asked, to which the peer is a provider: where nothing more is said than the word.
    #[must_use]
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::Busy => ProviderOverloaded,
            Self::NoModel => CallerModelUnknown,
            Self::Ctx => CallerContextLength,
            Self::Denied => ProviderAuth,
            Self::Budget => ProviderQuotaExhausted,
            Self::Deadline => ProviderTimeout,
            // Another target may take more, or read it otherwise.
            Self::TooBig | Self::Invalid => ProviderRejected,
            Self::Internal => ProviderServerError,
        }
    }
}

/// What an error of a peer is to the router that asked it: the peer's rules and its own troubles are a provider's.
#[must_use]
pub fn seen_from_here(there: ErrorKind) -> ErrorKind {
    match there {
        PolicyUnauthenticated | PolicyForbidden => ProviderAuth,
        PolicyRateLimited => ProviderRateLimited,
        PolicyBudgetExceeded => ProviderQuotaExhausted,
        // Its own keys and bills are not ours to exchange.
        ProviderAuth | ProviderBilling | RouterUnavailable => ProviderUnavailable,
        RouterOverloaded => ProviderOverloaded,
        RouterInternal => ProviderServerError,
        // We sent it, whole: what went away lies between.
        CallerCancelled => ProviderConnection,
        CallerInvalidRequest | CallerTooLarge => ProviderRejected,
        other => other,
    }
}

/// What a peer says of an error of this kind. Nothing of the error's own text is in it.
#[must_use]
pub fn sentence(kind: ErrorKind) -> &'static str {
    match kind {
        CallerInvalidRequest => "the request is not one that can be served",
        CallerTooLarge => "the request is larger than this peer takes",
        CallerCancelled => "the request was cancelled",
        CallerUnsupported => "no model here can do what the request needs",
        CallerModelUnknown => "this peer does not serve this model",
        CallerContextLength => "the conversation does not fit the model's context",
        CallerContentFilter => "the model's content filter refused the request",
        PolicyUnauthenticated | PolicyForbidden => "this peer does not answer you, or not this",
        PolicyRateLimited => "your requests or tokens of this minute are used up at this peer",
        PolicyBudgetExceeded => "what you may spend at this peer is used up",
        ProviderRateLimited | ProviderQuotaExhausted | ProviderOverloaded | RouterOverloaded => {
            "this peer has too much to do"
        }
        ProviderAuth | ProviderBilling | ProviderUnavailable | RouterUnavailable => {
            "this peer cannot reach the model now"
        }
        ProviderTimeout => "the model did not answer in time at this peer",
        ProviderConnection | ProviderProtocol => "the model's answer broke off at this peer",
        _ => "this peer failed",
    }
}

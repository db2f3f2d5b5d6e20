//! What goes wrong with one peer: what it says of the peer, whether another one is asked, and what the router hears.

use std::time::Duration;

use llm_router::Error;
use llm_router::ErrorKind::{self, *};

use crate::caps::ASK;
use crate::table;
use crate::wire::{self, Breach, Code, Reject};

/// For how long a peer is left alone whose budget for us is used up.
const BUDGET: Duration = Duration::from_secs(30);

/// Why a peer did not answer.
#[derive(Debug)]
pub(super) enum Missed {
    /// It could not be reached, cut off, or is silent.
    Way(Error),
    /// It said no.
    Refused(Reject),
    /// It failed, and says how.
    Failed(wire::Failure),
    /// What it says is no answer.
    Nonsense(Error),
}

impl From<Breach> for Missed {
    fn from(breach: Breach) -> Self {
        Self::Nonsense(breach.into())
    }
}

impl Missed {
    fn code(&self) -> Option<(Code, Option<u64>)> {
        match self {
            Self::Refused(reject) => Some((reject.code, reject.retry_after_ms)),
            Self::Failed(failure) => Some((failure.code, failure.retry_after_ms)),
            Self::Way(_) | Self::Nonsense(_) => None,
        }
    }

    /// What the table learns.
    pub(super) fn lesson(&self) -> table::Failure {
        use table::Failure::{Busy, Denied, Error, NoModel, Request, Unreachable};
        let Some((code, after)) = self.code() else {
            return if matches!(self, Self::Way(_)) { Unreachable } else { Error };
        };
        if matches!(self.said(), Some(CallerContentFilter | CallerUnsupported)) {
            return Request;
        }
        match code {
            Code::Busy => Busy(after.map(Duration::from_millis)),
            Code::Budget => Busy(Some(BUDGET)),
            Code::NoModel => NoModel,
            Code::Denied => Denied,
            Code::Ctx | Code::TooBig | Code::Invalid | Code::Deadline => Request,
            Code::Internal => Error,
        }
    }

    /// What it says is the matter, where that is more than one of the few words.
    fn said(&self) -> Option<ErrorKind> {
        match self {
            Self::Failed(failure) => Some(failure.error().kind()),
            _ => None,
        }
    }

    /// Whether another peer may do better.
    pub(super) fn passes(&self) -> bool {
        let ours = matches!(self.code(), Some((Code::Ctx | Code::TooBig | Code::Invalid, _)));
        !ours && self.said() != Some(CallerContentFilter)
    }

    /// As the router hears it. How peers are is the table's business: one that is gone, talks nonsense or does not want us must not keep the router from asking the others, nor have it ask
    /// all of them again.
    pub(super) fn error(self) -> Error {
        let denied = matches!(self.code(), Some((Code::Denied, _))) && self.said() != Some(CallerContentFilter);
        let error = match self {
            Self::Way(error) | Self::Nonsense(error) => error,
            Self::Refused(reject) => reject.error(),
            Self::Failed(failure) => failure.error(),
        };
        let error = if denied { error.with_hint(ASK) } else { error };
        match error.kind() {
            ProviderConnection | ProviderProtocol | ProviderAuth | ProviderBilling => {
                error.with_kind(ProviderUnavailable)
            }
            ProviderRateLimited | ProviderQuotaExhausted => error.with_kind(ProviderOverloaded),
            _ => error,
        }
    }
}

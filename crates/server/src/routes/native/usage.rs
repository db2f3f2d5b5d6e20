//! `/api/v0/ai/llm/usage`: what was used and what it cost, as the books say (`llm_router::books`). Administration sees everybody's, a client its own key's.

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use llm_router::books::{Query, Report, means};
use llm_router::error::{Error, ErrorKind, Result};

use crate::app::{Inner, Server};
use crate::body::json_of;
use crate::door::Caller;
use crate::error;

/// `GET /api/v0/ai/llm/usage`: `?by=key,model&since=2026-11-01&until=2026-11-23&of=KEY`. Not `key`, which is where Google's clients put theirs.
pub(crate) async fn report(State(server): State<Server>, request: Request) -> Response {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    match read(&server.0, &caller, request.uri().query().unwrap_or_default()).await {
        Ok(report) => json_of(StatusCode::OK, &report),
        Err(error) => error::native(&error, None),
    }
}

async fn read(server: &Inner, caller: &Caller, query: &str) -> Result<Report> {
    let books = server.router.deps().books.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::RouterUnavailable, "this server has no state store, and so keeps no usage")
            .with_hint("set HOME or XDG_DATA_HOME, so that there is a place for it")
    })?;
    let (mut by, mut since, mut until, mut key) = (None, None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "by" => &mut by,
            "since" => &mut since,
            "until" => &mut until,
            "of" => &mut key,
            _ => {
                let message = format!("usage: {:?} is not asked for here", name.chars().take(64).collect::<String>());
                return Err(Error::invalid(message).with_hint("give by, since, until or of"));
            }
        };
        *place = Some(plain(value)?);
    }
    let query = Query::parse(books.today(), by.as_deref(), since.as_deref(), until.as_deref())?;
    let query = match whose(caller, key.as_deref())? {
        // By its whole name: others may have had the same.
        Whose::Own(name) => query.of_key(Some(name)),
        Whose::Any(said) => query.of_keys(said),
    };
    books.report(&query).await
}

/// Of whose key usage is told.
enum Whose<'a> {
    /// The key that asks.
    Own(&'a str),
    /// Those that are meant, or all.
    Any(Option<&'a str>),
}

/// Of whose key usage is told: any for administration and where nobody needs a key, else the caller's own.
fn whose<'a>(caller: &'a Caller, asked: Option<&'a str>) -> Result<Whose<'a>> {
    let Some(name) = caller.name.as_deref().filter(|_| !caller.admin) else { return Ok(Whose::Any(asked)) };
    if caller.holder.as_ref().is_some_and(|holder| holder.is_derived()) {
        return Err(Error::new(
            ErrorKind::PolicyForbidden,
            "a derived key's usage is counted with the key it comes from",
        )
        .with_hint("ask with that key"));
    }
    match asked {
        Some(asked) if !means(asked, name) => {
            Err(Error::new(ErrorKind::PolicyForbidden, "only administration sees what others used")
                .with_hint("show a key with `admin = true` or of the role admin"))
        }
        _ => Ok(Whose::Own(name)),
    }
}

/// A value of a query: `%2C` and the like as the signs that they stand for.
fn plain(value: &str) -> Result<String> {
    let broken = || Error::invalid("usage: the query is not percent-encoded text");
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(broken);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).map_err(|_| broken())?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_decoded_or_refused() {
        assert_eq!(plain("key%2Cmodel+x").unwrap(), "key,model x");
        for value in ["%", "%2", "%zz", "%ff"] {
            assert!(plain(value).is_err(), "{value}");
        }
    }
}

//! HTTP/1.1 and HTTP/2, in the clear and over TLS from files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use llm_router::testing::scripted::Scripted;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Serving, Setting, chat, soon};

fn one() -> Setting {
    Setting::new().provider(Scripted::text("s", "hello"))
}

fn request(scheme: &str, stream: bool) -> Request<Full<Bytes>> {
    Request::post(format!("{scheme}://localhost/v1/chat/completions"))
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::from(chat("s/x", stream).to_string()))
        .unwrap()
}

async fn over_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, scheme: &str) {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    // Several at once on one connection.
    let answers = [false, true, false, true].map(|streamed| sender.send_request(request(scheme, streamed)));
    for answer in answers {
        let answer = soon(answer).await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
        assert!(answer.headers().contains_key("x-request-id"));
        let body = soon(answer.into_body().collect()).await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("hello"));
    }
    // Too large, and the rest of it is not wanted.
    let large = Request::post(format!("{scheme}://localhost/v1/chat/completions"))
        .header("content-type", "application/json")
        .body(Full::from(vec![b'x'; 33 << 20]))
        .unwrap();
    let answer = soon(sender.send_request(large)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // The host of HTTP/2 stands in the URI.
    let foreign = Request::get(format!("{scheme}://evil.example/healthz")).body(Full::default()).unwrap();
    assert_eq!(soon(sender.send_request(foreign)).await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn http2_in_the_clear_for_whoever_begins_with_it() {
    let serving = one().start();
    over_http2(TcpStream::connect(serving.address).await.unwrap(), "http").await;
}

/// Writes a certificate and gives what trusts it.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

async fn connect(
    serving: &Serving,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(serving.address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn tls_from_files_with_either_version_and_a_renewal() {
    let folder = tempfile::tempdir().unwrap();
    let first = certificate(folder.path());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let serving = one()
        .set(|settings| (settings.server.tls_cert, settings.server.tls_key) = (Some(cert), Some(key)))
        .options(|options| options.reread = Duration::from_millis(20))
        .start();

    let stream = connect(&serving, &first, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    over_http2(stream, "https").await;

    let stream = connect(&serving, &first, &["http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let _connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let mut asked = request("https", false);
    *asked.uri_mut() = "/v1/chat/completions".parse().unwrap();
    assert_eq!(soon(sender.send_request(asked)).await.unwrap().status(), StatusCode::OK);

    let second = certificate(folder.path());
    soon(async { while connect(&serving, &second, &[]).await.is_err() {} }).await;
    assert!(connect(&serving, &first, &[]).await.is_err());
    // Half a renewal leaves the certificate in place.
    std::fs::write(folder.path().join("cert.pem"), "not a certificate").unwrap();
    assert!(connect(&serving, &second, &[]).await.is_ok());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = "127.0.0.1:0".parse().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let bind = |tls: (Option<_>, Option<_>)| {
        let setting = one().set(|settings| (settings.server.tls_cert, settings.server.tls_key) = tls);
        setting.server().bind(here).map(drop).map_err(|error| error.to_string())
    };
    assert!(bind((Some(cert.clone()), Some(key.clone()))).unwrap_err().contains("cert.pem"));
    certificate(folder.path());
    assert!(bind((Some(cert.clone()), None)).unwrap_err().contains("tls_key"));
    bind((Some(cert.clone()), Some(key.clone()))).unwrap();
    std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    let error = bind((Some(cert), Some(key))).unwrap_err();
    assert!(error.contains("key.pem"), "{error}");
}

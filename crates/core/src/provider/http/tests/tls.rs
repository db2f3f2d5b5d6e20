//! TLS, ALPN and HTTP/2 against a server with a certificate of its own.

use std::{io::Write, net::SocketAddr};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// A certificate for `localhost`, as the server wants it and as a CA file.
fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>, NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(made.cert.pem().as_bytes()).unwrap();
    (made.cert.der().clone(), PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()), file)
}

#[derive(Clone, Debug, Default)]
struct Seen {
    connections: usize,
    requests: usize,
    resets: usize,
}

/// Speaks HTTP/2 with so many streams a connection; answers once the gate has a permit, then sends nothing more for `/hang`.
struct H2Server {
    address: SocketAddr,
    seen: watch::Receiver<Seen>,
    ca: NamedTempFile,
    _task: AbortOnDropHandle<()>,
}

impl H2Server {
    async fn serve(streams: u32, gate: Arc<Semaphore>) -> Self {
        let (cert, key, ca) = certificate();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (report, seen) = watch::channel(Seen::default());
        let report = Arc::new(report);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, gate, report) = (acceptor.clone(), gate.clone(), report.clone());
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(socket).await else { return };
                    report.send_modify(|seen| seen.connections += 1);
                    let mut builder = h2::server::Builder::new();
                    builder.max_concurrent_streams(streams);
                    let mut connection = builder.handshake::<_, Bytes>(tls).await.unwrap();
                    let mut answers = JoinSet::new();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        report.send_modify(|seen| seen.requests += 1);
                        answers.spawn(answer(request, respond, gate.clone(), report.clone()));
                    }
                });
            }
        });
        Self { address, seen, ca, _task: AbortOnDropHandle::new(task) }
    }

    fn client(&self) -> HttpClient {
        let options = HttpOptions { ca_file: Some(self.ca.path().into()), ..HttpOptions::default() };
        HttpClient::with_options(&options).unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    async fn until(&self, expected: impl FnMut(&Seen) -> bool) {
        self.seen.clone().wait_for(expected).await.unwrap();
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    gate: Arc<Semaphore>,
    report: Arc<watch::Sender<Seen>>,
) {
    gate.acquire().await.unwrap().forget();
    let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
    if request.uri().path() == "/hang" {
        stream.send_data("first".into(), false).unwrap();
        std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
        report.send_modify(|seen| seen.resets += 1);
    } else {
        stream.send_data("hello".into(), true).unwrap();
    }
}

#[tokio::test]
async fn a_certificate_of_ones_own_needs_its_ca_file() {
    let server = H2Server::serve(10, Arc::new(Semaphore::new(10))).await;
    let error = HttpClient::new().send(get(&server.url("/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderConnection);
    assert!(error.message().starts_with("TLS with localhost:"), "{error}");
    assert!(error.hint().unwrap().contains("CA file"));
    assert_eq!(text(&server.client(), get(&server.url("/"))).await.unwrap(), "hello");
}

#[tokio::test]
async fn tls_with_a_plain_server_says_so() {
    let upstream = Upstream::serve([Answer::json(200, "{}")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let plain = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket
    });
    let error = HttpClient::new().send(get(&url)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderConnection);
    assert!(error.message().starts_with("TLS with 127.0.0.1:"), "{error}");
    drop((plain.await.unwrap(), upstream));
}

#[tokio::test]
async fn one_connection_serves_many_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let server = H2Server::serve(100, gate.clone()).await;
    let client = server.client();
    gate.add_permits(1);
    text(&client, get(&server.url("/"))).await.unwrap();
    let all = futures_util::future::join_all((0..50).map(|_| text(&client, get(&server.url("/")))));
    let opened = async {
        server.until(|seen| seen.requests == 51).await;
        gate.add_permits(50);
    };
    let (texts, ()) = tokio::join!(all, opened);
    assert!(texts.into_iter().all(|text| text.unwrap() == "hello"));
    assert_eq!(server.seen.borrow().connections, 1);
}

#[tokio::test]
async fn another_connection_opens_when_the_streams_are_used_up() {
    let gate = Arc::new(Semaphore::new(0));
    let server = H2Server::serve(2, gate.clone()).await;
    let client = server.client();
    let all = futures_util::future::join_all((0..5).map(|_| text(&client, get(&server.url("/")))));
    let opened = async {
        // All five are at the server before the first is answered: none waits for another's stream.
        server.until(|seen| seen.requests == 5).await;
        gate.add_permits(100);
    };
    let (texts, ()) = tokio::join!(all, opened);
    assert!(texts.into_iter().all(|text| text.unwrap() == "hello"));
    let connections = server.seen.borrow().connections;
    // One stream is assumed until a server says more, so a burst may open more than the three it needs.
    assert!((3..=5).contains(&connections), "{connections}");
    for _ in 0..5 {
        text(&client, get(&server.url("/"))).await.unwrap();
    }
    assert_eq!(server.seen.borrow().connections, connections);
}

#[tokio::test]
async fn dropping_an_answer_resets_its_stream_and_keeps_the_connection() {
    let server = H2Server::serve(1, Arc::new(Semaphore::new(10))).await;
    let client = server.client();
    let mut body = client.send(get(&server.url("/hang"))).await.unwrap().body;
    assert_eq!(body.next().await.unwrap().unwrap(), "first");
    drop(body);
    server.until(|seen| seen.resets == 1).await;
    assert_eq!(text(&client, get(&server.url("/"))).await.unwrap(), "hello");
    assert_eq!(server.seen.borrow().connections, 1);
}

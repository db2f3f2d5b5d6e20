//! `server.fetch_urls`: which URLs are fetched, and which are refused however they are written.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use llm_router::testing::upstream::Upstream;
use llm_router_server::Net;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Ask, Serving, Setting, answer};

const PUBLIC: &str = "93.184.216.34";

/// A network of one web server: names resolve as scripted, and every connection ends at that server, after it was noted where it was to go.
struct Web {
    names: HashMap<&'static str, Mutex<Vec<Vec<&'static str>>>>,
    dialled: Mutex<Vec<SocketAddr>>,
    resolved: Mutex<Vec<String>>,
    server: SocketAddr,
    roots: rustls::RootCertStore,
    _task: AbortOnDropHandle<()>,
}

impl Web {
    /// With these names; each look-up takes the next list of addresses, the last one again and again.
    async fn new(
        names: &[(&'static str, &[&[&'static str]])],
        pages: &'static [(&'static str, &'static str)],
    ) -> Arc<Self> {
        let hosts: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).chain([PUBLIC.to_owned()]).collect();
        let made = rcgen::generate_simple_self_signed(hosts).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(socket).await {
                    let mut request = Vec::new();
                    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            break;
                        }
                    }
                    let request = String::from_utf8_lossy(&request).into_owned();
                    assert!(!request.to_lowercase().contains("authorization"), "{request}");
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    let page = pages
                        .iter()
                        .find(|(name, _)| *name == path)
                        .map_or("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", |(_, page)| *page);
                    let _ = stream.write_all(page.as_bytes()).await;
                    if path == "/endless.png" {
                        while stream.write_all(&[0; 64 << 10]).await.is_ok() {}
                    }
                    let _ = stream.shutdown().await;
                }
            }
        });
        let names = names
            .iter()
            .map(|(name, answers)| (*name, Mutex::new(answers.iter().rev().map(|list| list.to_vec()).collect())))
            .collect();
        let (dialled, resolved) = (Mutex::default(), Mutex::default());
        Arc::new(Self { names, dialled, resolved, server, roots, _task: AbortOnDropHandle::new(task) })
    }

    fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().iter().map(|address| address.ip().to_string()).collect()
    }
}

impl Net for Web {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.resolved.lock().unwrap().push(host.to_owned());
        let answers = self.names.get(host).map(|answers| {
            let mut answers = answers.lock().unwrap();
            if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() }
        });
        let found = answers.map(|list| list.iter().map(|address| address.parse().unwrap()).collect());
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.dialled.lock().unwrap().push(address);
        Box::pin(TcpStream::connect(self.server))
    }

    fn roots(&self) -> rustls::RootCertStore {
        self.roots.clone()
    }
}

const PAGES: &[(&str, &str)] = &[
    ("/cat.png", "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 4\r\n\r\nmeow"),
    ("/endless.png", "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n"),
    ("/page", "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi"),
    ("/moved", "HTTP/1.1 302 Found\r\nlocation: /cat.png\r\ncontent-length: 0\r\n\r\n"),
    (
        "/inside",
        "HTTP/1.1 302 Found\r\nlocation: https://169.254.169.254/latest/meta-data\r\ncontent-length: 0\r\n\r\n",
    ),
    ("/named-inside", "HTTP/1.1 302 Found\r\nlocation: https://inside.example/\r\ncontent-length: 0\r\n\r\n"),
    ("/plain", "HTTP/1.1 302 Found\r\nlocation: http://cats.example/cat.png\r\ncontent-length: 0\r\n\r\n"),
    ("/circle", "HTTP/1.1 302 Found\r\nlocation: /circle\r\ncontent-length: 0\r\n\r\n"),
];

fn serve(upstream: &Upstream, web: &Arc<Web>) -> Serving {
    let setting = Setting::new().lab(upstream.url("/v1")).set(|settings| settings.server.fetch_urls = true);
    Serving::of(&setting.server().fetching_through(web.clone()).unwrap())
}

fn picture(url: &str) -> Ask {
    let content = json!([{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]);
    let body = json!({"model": "lab/m", "messages": [{"role": "user", "content": content}]});
    Ask::post("/v1/chat/completions", body.to_string())
}

#[tokio::test]
async fn without_the_setting_a_url_goes_to_the_upstream_as_it_is() {
    let upstream = Upstream::serve([answer("a cat")]).await;
    let serving = Setting::new().lab(upstream.url("/v1")).start();
    for url in ["https://cats.example/cat.png", "http://169.254.169.254/latest"] {
        assert_eq!(serving.send(picture(url)).await.status, 200);
        assert_eq!(upstream.last().json()["messages"][0]["content"][1]["image_url"]["url"], url);
    }
}

#[tokio::test]
async fn with_it_the_bytes_go_instead() {
    let upstream = Upstream::serve([answer("a cat")]).await;
    let web = Web::new(&[("cats.example", &[&[PUBLIC]])], PAGES).await;
    let serving = serve(&upstream, &web);
    for path in ["/cat.png", "/moved"] {
        let reply = serving.send(picture(&format!("https://cats.example{path}"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let sent = upstream.last().json()["messages"][0]["content"][1]["image_url"]["url"].clone();
        assert_eq!(sent, "data:image/png;base64,bWVvdw==");
    }
    assert!(web.dialled().iter().all(|address| address == PUBLIC));
    let calls = upstream.seen().requests.len();
    for (path, why) in
        [("/page", "neither"), ("/gone", "404"), ("/circle", "too often"), ("/plain", "https"), ("/endless.png", "MiB")]
    {
        let reply = serving.send(picture(&format!("https://cats.example{path}"))).await;
        assert!(matches!(reply.status, 400 | 413) && reply.text().contains(why), "{path} {}", reply.text());
    }
    assert_eq!(upstream.seen().requests.len(), calls);
}

#[tokio::test]
async fn addresses_of_this_network_are_refused_however_they_are_written() {
    let upstream = Upstream::serve([answer("a cat")]).await;
    let names: &[(&str, &[&[&str]])] = &[
        // What a system's resolver makes of other spellings.
        ("2130706433", &[&["127.0.0.1"]]),
        ("0x7f.1", &[&["127.0.0.1"]]),
        ("localhost", &[&["127.0.0.1", "::1"]]),
        ("inside.example", &[&["10.0.0.5"]]),
        ("half.example", &[&[PUBLIC, "192.168.0.7"]]),
        ("mapped.example", &[&["::ffff:10.0.0.5"]]),
        ("cats.example", &[&[PUBLIC]]),
    ];
    let web = Web::new(names, PAGES).await;
    let serving = serve(&upstream, &web);
    for host in [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fd00::1]",
        "[fe80::1]",
        "[64:ff9b::a9fe:a9fe]",
        "2130706433",
        "0x7f.1",
        "localhost",
        "inside.example",
        "half.example",
        "mapped.example",
        "user@cats.example",
    ] {
        let reply = serving.send(picture(&format!("https://{host}/cat.png"))).await;
        assert_eq!(reply.status, 400, "{host} {}", reply.text());
        assert!(reply.text().contains("refused"), "{host} {}", reply.text());
    }
    assert_eq!(web.dialled(), Vec::<String>::new());
    for url in ["http://cats.example/cat.png", "https://"] {
        assert_eq!(serving.send(picture(url)).await.status, 400, "{url}");
    }
    // Redirects are judged like the first URL.
    for path in ["/inside", "/named-inside"] {
        assert_eq!(serving.send(picture(&format!("https://cats.example{path}"))).await.status, 400, "{path}");
    }
    assert!(web.dialled().iter().all(|address| address == PUBLIC), "{:?}", web.dialled());
    assert_eq!(upstream.seen().requests.len(), 0);
}

#[tokio::test]
async fn a_name_that_flips_is_looked_up_once() {
    let upstream = Upstream::serve([answer("a cat")]).await;
    let web = Web::new(&[("flips.example", &[&[PUBLIC], &["127.0.0.1"]])], PAGES).await;
    let serving = serve(&upstream, &web);
    assert_eq!(serving.send(picture("https://flips.example/cat.png")).await.status, 200);
    assert_eq!((web.dialled(), web.resolved.lock().unwrap().len()), (vec![PUBLIC.to_owned()], 1));
    // The next request looks again, and is refused.
    assert_eq!(serving.send(picture("https://flips.example/cat.png")).await.status, 400);
    assert_eq!(web.dialled().len(), 1);
}

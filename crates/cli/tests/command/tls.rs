//! HTTPS with a certificate of one's own, directly and through proxies that the environment names.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::Home;

/// What stands between the socket and HTTP, from the outside in.
#[derive(Clone, Copy)]
enum Layer {
    Tls,
    /// A proxy that is asked for a tunnel, and whose other end is here too.
    Tunnel,
}

trait Pipe: Read + Write {}
impl<T: Read + Write> Pipe for T {}

/// A server whose certificate a CA made for this test has signed. It answers each request with `secure`, and remembers the heads that it read.
struct Server {
    ca: String,
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(layers: &'static [Layer]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "lab.example"].map(str::to_owned);
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, over) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)));
        let (seen, ended) = (heads.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // Whoever does not trust the certificate hangs up, which concerns nobody else.
                let _ = serve(socket, layers, &config, &seen);
            }
        });
        Self { ca: ca.pem(), address, heads, over, thread: Some(thread) }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(
    socket: TcpStream,
    layers: &[Layer],
    config: &Arc<ServerConfig>,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut pipe: Box<dyn Pipe> = Box::new(socket);
    for layer in layers {
        match layer {
            Layer::Tls => pipe = Box::new(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), pipe)),
            Layer::Tunnel => {
                let asked = head(&mut pipe)?;
                heads.lock().unwrap().push(asked);
                pipe.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            }
        }
    }
    let asked = head(&mut pipe)?;
    let length = asked.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    pipe.read_exact(&mut vec![0; length.unwrap_or(0)])?;
    heads.lock().unwrap().push(asked);
    let body = r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"secure"},"finish_reason":"stop"}]}"#;
    write!(
        pipe,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    pipe.flush()
}

fn head(pipe: &mut dyn Pipe) -> std::io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 << 10 {
        pipe.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn ask<'a>(home: &'a Home) -> crate::support::Run<'a> {
    home.run(["generate", "hi", "-m", "lab/m", "--no-stream"]).env("LAB_KEY", "k-123456")
}

/// A home whose provider `lab` is at this address; with the CA under `[http]`, under the provider, or nowhere.
fn home(server: &Server, url: &str, under: Option<&str>) -> Home {
    let home = Home::new();
    home.file("ca.pem", &server.ca);
    let line = |section| if under == Some(section) { "ca_file = \"../../ca.pem\"\n" } else { "" };
    let (all, own) = (line("http"), line("lab"));
    let config = format!(
        "[http]\n{all}[providers.lab]\nbase_url = \"{url}\"\ndialect = \"openai_chat\"\napi_key_env = \"LAB_KEY\"\n{own}"
    );
    home.file("config/ipfs-llm-router/config.toml", config);
    home
}

#[test]
fn a_certificate_of_ones_own_is_trusted_where_its_ca_is_named() {
    let server = Server::start(&[Layer::Tls]);
    let url = format!("https://localhost:{}/v1", server.address.port());
    let said = ask(&home(&server, &url, None)).fails(1);
    assert!(said.starts_with("error: ") && said.contains("TLS with localhost:"), "{said}");
    assert!(said.contains("\nhint: ") && said.contains("ca_file under [http]"), "{said}");
    assert!(server.heads().is_empty(), "nothing was sent to a server that is not trusted");
    ask(&home(&server, &url, Some("http"))).answers("secure\n");
    ask(&home(&server, &url, Some("lab"))).answers("secure\n");
    // Another provider's certificates are not this one's.
    let other = home(&server, &url, None);
    let config = std::fs::read_to_string(other.path("config/ipfs-llm-router/config.toml")).unwrap();
    let config = format!("{config}[providers.other]\nbase_url = \"{url}\"\nca_file = \"../../ca.pem\"\n");
    other.file("config/ipfs-llm-router/config.toml", config);
    assert!(ask(&other).fails(1).contains("TLS with localhost:"));
    other.run(["generate", "hi", "-m", "other/m", "--no-stream"]).env("LAB_KEY", "k-123456").answers("secure\n");
}

#[test]
fn a_file_that_holds_no_certificate_is_named() {
    let server = Server::start(&[Layer::Tls]);
    for under in ["http", "lab"] {
        let home = home(&server, "https://localhost:1/v1", Some(under));
        home.file("ca.pem", "no certificate");
        let said = ask(&home).fails(2);
        assert!(said.contains("ca.pem cannot be used") && said.contains("hint: ca_file must name"), "{said}");
    }
    let agent = Home::with("[providers.my_agent]\ncommand = \"cat\"\nca_file = \"ca.pem\"\n");
    assert!(agent.run(["providers"]).fails(2).contains("a program brings its own certificates"));
}

#[test]
fn a_proxy_of_the_environment_opens_a_tunnel_and_sees_no_more() {
    for (layers, scheme) in
        [(&[Layer::Tunnel, Layer::Tls][..], "http"), (&[Layer::Tls, Layer::Tunnel, Layer::Tls], "https")]
    {
        let server = Server::start(layers);
        let home = home(&server, "https://lab.example/v1", Some("http"));
        let proxy = format!("{scheme}://user:pass@localhost:{}", server.address.port());
        ask(&home).env("HTTPS_PROXY", &proxy).answers("secure\n");
        let heads = server.heads();
        let [tunnel, request] = heads.as_slice() else { panic!("{heads:?}") };
        assert!(tunnel.starts_with("CONNECT lab.example:443 HTTP/1.1\r\n"), "{tunnel}");
        assert!(tunnel.contains("proxy-authorization: Basic ") && !tunnel.contains("k-123456"), "{tunnel}");
        assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("Bearer k-123456") && !request.contains("proxy-authorization"), "{request}");
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_said_and_not_passed_by() {
    let home = Home::new();
    let said = home.run(["generate", "hi", "--provider", "echo"]).env("ALL_PROXY", "socks5://user:canary@h:1").fails(2);
    assert!(said.contains("ALL_PROXY") && said.contains("http://host:port") && !said.contains("canary"), "{said}");
}

//! Nodes find, reach and refuse each other: real handshakes, in memory and over loopback.
#![allow(clippy::unwrap_used)]

use libp2p::StreamProtocol;
use libp2p::futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;

use super::*;

const ECHO: StreamProtocol = StreamProtocol::new("/test/echo/1.0.0");

fn node(network: Network, listen: Option<&str>) -> Node {
    let config = NodeConfig::listening(listen.map(|address| address.parse().unwrap()));
    Node::start(&Keypair::generate_ed25519(), network, &config).unwrap()
}

async fn a_stream_echoes(here: &Node, there: &Node) {
    let (asking, serving) = (here.handle(), there.handle());
    let mut incoming = serving.accept(ECHO).unwrap();
    asking.connect(serving.id(), serving.listening().await.unwrap()).await.unwrap();
    let serve = async {
        let (peer, mut stream) = incoming.next().await.unwrap();
        assert_eq!(peer, asking.id());
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        stream.write_all(&heard).await.unwrap();
        stream.flush().await.unwrap();
        stream
    };
    let ask = async {
        let mut stream = asking.open(serving.id(), ECHO).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        heard
    };
    let (_held, heard) = tokio::join!(serve, ask);
    assert_eq!(&heard, b"hello");
    let linked = asking.linked().await.unwrap();
    assert!(linked.iter().any(|linked| linked.peer == serving.id() && !linked.relayed), "{linked:?}");
}

#[tokio::test]
async fn a_stream_crosses_memory() {
    let (here, there) = (node(Network::Memory, None), node(Network::Memory, Some("/memory/0")));
    a_stream_echoes(&here, &there).await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn a_stream_crosses_tcp() {
    let address = "/ip4/127.0.0.1/tcp/0";
    a_stream_echoes(&node(Network::Internet, None), &node(Network::Internet, Some(address))).await;
}

#[tokio::test]
async fn whoever_is_not_there_is_an_error_that_sent_nothing() {
    let (here, there) = (node(Network::Memory, None), node(Network::Memory, None));
    let error = here.handle().connect(there.handle().id(), Vec::new()).await.unwrap_err();
    assert!(error.is_unsent(), "{error}");
    assert_eq!(error.kind(), llm_router::ErrorKind::ProviderConnection);
}

#[tokio::test]
async fn a_blocked_peer_cannot_come_back() {
    let (here, there) = (node(Network::Memory, None), node(Network::Memory, Some("/memory/0")));
    let addresses = there.handle().listening().await.unwrap();
    there.handle().block(here.handle().id()).await.unwrap();
    let mut events = here.handle().events();
    // The dialling side may be connected for a moment; the other one closes at once.
    if here.handle().connect(there.handle().id(), addresses).await.is_ok() {
        while events.recv().await.unwrap() != Event::Gone(there.handle().id()) {}
    }
    assert!(there.handle().linked().await.unwrap().is_empty());
}

#[test]
fn the_ports_of_kubo_are_left_to_it() {
    let config = NodeConfig::listening(["/ip4/0.0.0.0/tcp/4001".parse().unwrap()]);
    assert!(config.check().unwrap_err().to_string().contains("Kubo"));
}

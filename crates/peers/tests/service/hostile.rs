//! A hostile peer on raw streams: it is bounded, blocked in the end, and nobody else notices.

use std::time::SystemTime;

use futures_util::future::join_all;
use libp2p::futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};
use llm_router::testing::scripted::Turn;
use llm_router_peers::Known;
use llm_router_peers::node::{Network, Node, NodeConfig, NodeHandle};
use llm_router_peers::record::{Model, Record};
use llm_router_peers::wire::{
    self, Accepted, Caps, CapsFrame, ClientFrame, Data, Done, Open, PROTOCOL, Reject, ServerFrame, VERSION,
};

use super::stage::{Client, MODEL, Server, request};

const INFER: StreamProtocol = StreamProtocol::new(PROTOCOL);

async fn hostile(server: &Server) -> Node {
    let node = Node::start(&Keypair::generate_ed25519(), Network::Memory, &NodeConfig::default()).unwrap();
    node.handle().connect(server.peers.id(), server.addresses.clone()).await.unwrap();
    node
}

/// Says these bytes, and reads until the other side lets go.
async fn says(node: &NodeHandle, server: PeerId, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream: Stream = node.open(server, INFER).await.ok()?;
    stream.write_all(bytes).await.ok()?;
    stream.flush().await.ok()?;
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    Some(heard)
}

fn open() -> Open {
    let mut open = Open::default();
    (open.v, open.endpoint, open.model, open.body_len) = (VERSION, "generate".into(), Some(MODEL.into()), 4);
    open.rid = bytes::Bytes::from_static(&[1; 16]);
    open
}

fn framed(frames: &[ClientFrame]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut out).unwrap());
    out.to_vec()
}

/// Whether the server lets nobody of this id in any more.
async fn is_blocked(server: &Server, node: &Node) {
    let id = node.handle().id();
    while server.peers.node().linked().await.unwrap().iter().any(|linked| linked.peer == id) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn each_breach_ends_its_stream_and_three_end_the_peer() {
    let server = Server::start([Turn::Text("hello".into())]).await;
    let client = Client::of(Network::Memory, &[&server]).await;
    let body = |bytes: &'static [u8]| ClientFrame::Body(bytes::Bytes::from_static(bytes));
    let opened = ClientFrame::Open(Box::new(open()));
    let cases: &[(&str, Vec<u8>)] = &[
        ("garbage", b"GET / HTTP/1.1\r\n\r\n".repeat(8)),
        ("a length of 2^63", b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec()),
        ("deep nesting", [&[0x20][..], &[0x81; 32]].concat()),
        ("a body first", framed(&[body(b"{}")])),
        ("more body than was said", framed(&[opened.clone(), body(b"12345")])),
        ("less body than was said", framed(&[opened.clone(), body(b"123"), ClientFrame::End])),
        ("two opens", framed(&[opened.clone(), opened.clone()])),
    ];
    for (name, bytes) in cases {
        let node = hostile(&server).await;
        server.book.allow(Known::new(node.handle().id())).unwrap();
        for _ in 0..3 {
            if let Some(heard) = says(&node.handle(), server.peers.id(), bytes).await {
                assert!(heard.is_empty(), "{name} was answered with {heard:?}");
            }
        }
        is_blocked(&server, &node).await;
        assert_eq!(client.ask(request("hi")).await.unwrap().text(), "hello", "beside {name}");
    }
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_in_words_and_a_stranger_before_its_body() {
    let server = Server::start([Turn::Text("hello".into())]).await;
    let node = hostile(&server).await;
    let opened = ClientFrame::Open(Box::new(open()));
    let heard = says(&node.handle(), server.peers.id(), &framed(std::slice::from_ref(&opened))).await.unwrap();
    assert!(String::from_utf8_lossy(&heard).contains("DENIED"), "{heard:?}");
    server.book.allow(Known::new(node.handle().id())).unwrap();
    let none = framed(&[opened, ClientFrame::Body(bytes::Bytes::from_static(b"null")), ClientFrame::End]);
    let heard = says(&node.handle(), server.peers.id(), &none).await.unwrap();
    assert!(String::from_utf8_lossy(&heard).contains("INVALID"), "{heard:?}");
    assert!(server.provider.calls().is_empty());
}

#[tokio::test]
async fn ten_thousand_streams_are_no_ones_trouble_but_their_own() {
    let server = Server::start([Turn::Text("hello".into())]).await;
    let client = Client::of(Network::Memory, &[&server]).await;
    let node = hostile(&server).await;
    let (handle, to) = (node.handle(), server.peers.id());
    let flood = async {
        // Held open and silent, each; those that are refused are gone at once.
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(join_all((0..100).map(|_| handle.open(to, INFER))).await);
            if handle.linked().await.unwrap().is_empty() {
                break;
            }
        }
        held
    };
    let others = async {
        for _ in 0..20 {
            assert_eq!(client.ask(request("hi")).await.unwrap().text(), "hello");
        }
    };
    let (_held, ()) = tokio::join!(flood, others);
    is_blocked(&server, &node).await;
    assert_eq!(client.ask(request("hi")).await.unwrap().text(), "hello");
}

#[tokio::test]
async fn whoever_does_not_say_what_it_began_is_let_go_and_blocked_in_the_end() {
    let server = Server::start([Turn::Text("hello".into())]).await;
    let client = Client::of(Network::Memory, &[&server]).await;
    let node = hostile(&server).await;
    let (handle, to) = (node.handle(), server.peers.id());
    // A byte of a frame and no more, on each of ten streams.
    let dripping = join_all((0..10).map(|_| says(&handle, to, &[0x40])));
    let others = async {
        for _ in 0..20 {
            assert_eq!(client.ask(request("hi")).await.unwrap().text(), "hello");
        }
    };
    let (heard, ()) = tokio::join!(dripping, others);
    assert!(heard.into_iter().flatten().all(|heard| heard.is_empty()));
    is_blocked(&server, &node).await;
}

/// A peer that says it serves the model for nothing and at once, and answers with these bytes.
async fn lying(answer: Vec<u8>, silent: bool) -> (Node, Known) {
    let key = Keypair::generate_ed25519();
    let node = Node::start(&key, Network::Memory, &NodeConfig::listening(["/memory/0".parse().unwrap()])).unwrap();
    let mut meeting = node.handle().accept(StreamProtocol::new(wire::caps::PROTOCOL)).unwrap();
    let mut asked = node.handle().accept(INFER).unwrap();
    let addresses = node.handle().listening().await.unwrap();
    tokio::spawn(async move {
        while let Some((_, mut stream)) = meeting.next().await {
            let mut record = Record::new(key.public().to_peer_id(), 1, fastrand::u64(..), SystemTime::now());
            let mut model = Model::new(MODEL, 1 << 20, 999);
            (model.price_in, model.price_out, model.first_token_ms) = (Some(0), Some(0), Some(1));
            record.models = vec![model];
            let record = bytes::Bytes::from(record.seal(&key).unwrap());
            let mut out = bytes::BytesMut::new();
            CapsFrame::Caps(Caps { v: VERSION, record: Some(record), ..Caps::default() }).encode(&mut out).unwrap();
            let _ = stream.write_all(&out).await;
            let _ = stream.close().await;
        }
    });
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some((_, mut stream)) = asked.next().await {
            let _ = stream.write_all(&answer).await;
            let _ = stream.flush().await;
            if silent {
                held.push(stream);
            }
        }
    });
    let known = Known::new(node.handle().id()).at(addresses);
    (node, known)
}

fn answered(frames: &[ServerFrame]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut out).unwrap());
    out.to_vec()
}

#[tokio::test]
async fn a_peer_that_lies_cuts_off_or_talks_nonsense_is_passed_over() {
    let accepted = ServerFrame::Accepted(Accepted::default());
    let data = |seq, text: &'static str| {
        ServerFrame::Data(Data { seq, bytes: bytes::Bytes::from_static(text.as_bytes()), ..Data::default() })
    };
    let cases: Vec<(&str, Vec<u8>, bool)> = vec![
        ("nothing, and cuts off", Vec::new(), false),
        ("nothing", Vec::new(), true),
        ("garbage", vec![0xff; 64], false),
        ("an acceptance alone", answered(std::slice::from_ref(&accepted)), false),
        ("an end without a beginning", answered(&[ServerFrame::Done(Done::default())]), false),
        ("no answer", answered(&[accepted.clone(), ServerFrame::Done(Done::default())]), true),
        ("a wrong place", answered(&[accepted.clone(), data(7, r#"{"v":1,"deltas":[]}"#)]), true),
        ("no line", answered(&[accepted.clone(), data(0, "hello")]), true),
        ("an end before a start", answered(&[accepted.clone(), data(0, r#"{"v":1,"deltas":[{"type":"end"}]}"#)]), true),
        (
            "that it has no model",
            answered(&[ServerFrame::Reject(Reject::of(llm_router::ErrorKind::CallerModelUnknown))]),
            false,
        ),
    ];
    for (name, bytes, silent) in cases {
        let sound = Server::start([Turn::Text("here".into())]).await;
        let (node, known) = lying(bytes, silent).await;
        let client = Client::knowing(Network::Memory, [known, sound.known()]);
        sound.book.allow(Known::new(client.peers.id())).unwrap();
        client.has_met(node.handle().id()).await;
        client.has_met(sound.peers.id()).await;
        for _ in 0..4 {
            let answer = client.ask(request("hi")).await;
            assert_eq!(answer.unwrap_or_else(|error| panic!("{name}: {error}")).text(), "here", "{name}");
        }
    }
}

//! Who may ask: tickets, grants bound to who came first, strangers, circles.

use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::Keypair;
use llm_router::ErrorKind;
use llm_router::limits::Limits;
use llm_router::testing::scripted::Turn;
use llm_router_peers::node::Network;
use llm_router_peers::ticket::Ticket;
use llm_router_peers::{Book, Options, Peers};

use super::stage::{Client, Server, request};

const HOUR: Duration = Duration::from_secs(3600);

fn hello() -> [Turn; 1] {
    [Turn::Text("hello".into())]
}

#[tokio::test]
async fn a_ticket_lets_whoever_joins_ask_and_nobody_after() {
    let server = Server::start(hello()).await;
    let ticket: Ticket = server.peers.invite(Limits::default(), HOUR).await.unwrap().to_string().parse().unwrap();
    let guest = Client::knowing(Network::Memory, []);
    let refused = guest.ask(request("hi")).await.unwrap_err();
    assert_eq!(refused.hint(), Some("ask for: llm-router peers invite"), "{refused}");
    let joined = guest.peers.join(&ticket).await.unwrap();
    assert_eq!((joined.peer, joined.models), (server.peers.id(), vec!["m".to_owned()]));
    assert_eq!(guest.ask(request("hi")).await.unwrap().text(), "hello");

    let thief = Client::knowing(Network::Memory, []);
    let error = thief.peers.join(&ticket).await.unwrap_err();
    assert_eq!(error.hint(), Some("ask for: llm-router peers invite"), "{error}");
    assert!(server.book.find(&thief.peers.id()).is_none());
    assert_eq!(server.provider.calls().len(), 1);
}

#[tokio::test]
async fn a_grant_for_other_models_lets_nobody_ask_this_one() {
    let server = Server::start(hello()).await;
    let mut limits = Limits::default();
    limits.models = vec!["other*".to_owned()];
    let ticket = server.peers.invite(limits, HOUR).await.unwrap();
    let guest = Client::knowing(Network::Memory, []);
    assert!(guest.peers.join(&ticket).await.unwrap().models.is_empty());
    assert_eq!(guest.ask(request("hi")).await.unwrap_err().kind(), ErrorKind::CallerModelUnknown);
    assert!(server.provider.calls().is_empty());
}

#[tokio::test]
async fn a_stranger_is_refused_and_told_what_to_do() {
    let server = Server::start(hello()).await;
    let stranger = Client::knowing(Network::Memory, [server.known()]);
    let error = stranger.ask(request("hi")).await.unwrap_err();
    assert!(error.hint().unwrap().contains("ask for: llm-router peers invite"), "{error}");
    assert!(server.provider.calls().is_empty());
}

#[tokio::test]
async fn a_request_does_not_go_in_circles() {
    let server = Server::start(hello()).await;
    let client = Client::of(Network::Memory, &[&server]).await;
    for hops in [vec![server.peers.id().to_string()], ["a", "b", "c"].map(str::to_owned).to_vec()] {
        let mut asked = request("hi");
        asked.riders.hops = hops;
        assert!(client.ask(asked).await.is_err());
    }
    assert!(server.provider.calls().is_empty());
    client.ask(request("hi")).await.unwrap();
    assert_eq!(server.provider.calls()[0].request.riders.hops, [client.peers.id().to_string()]);
}

#[tokio::test]
async fn without_anybody_trusted_the_backend_says_so() {
    let peers = Peers::start(
        Options::new(Keypair::generate_ed25519()).network(Network::Memory).book(Arc::new(Book::in_memory())),
    );
    let error = peers.unwrap().backend().ready().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable);
}

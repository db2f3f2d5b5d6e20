//! Peers: any router answers through any other, over libp2p.

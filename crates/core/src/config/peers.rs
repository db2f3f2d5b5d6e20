//! Settings of the peer network as values. What peers and addresses are is known in the crate that speaks to them; what can be seen of them as text is checked in `validate/peers.rs`.

use std::path::PathBuf;

use super::KeyLimits;

/// Other routers on the libp2p network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeersSettings {
    /// Whether `serve` answers peers too.
    pub serve: bool,
    /// Who may ask: `private`, `lan` or `public`.
    pub profile: String,
    /// Addresses to listen on; none are the default ones.
    pub listen: Vec<String>,
    /// Addresses under which others reach this peer where it cannot know them.
    pub announce: Vec<String>,
    /// Peers to find others through, each with its id.
    pub bootstrap: Vec<String>,
    /// Ids of the peers that may see prompts and may ask.
    pub trusted: Vec<String>,
    /// Ids of the peers whose answers may call tools.
    pub tools: Vec<String>,
    /// The network's pre-shared key.
    pub swarm_key: Option<PathBuf>,
    /// Whether peers are found on the local network.
    pub mdns: bool,
    /// What is shared.
    pub share: ShareSettings,
    /// What one peer may use.
    pub limits: KeyLimits,
}

/// What peers may use of this router.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareSettings {
    /// The ids of the providers.
    pub providers: Vec<String>,
    /// The models among theirs; none is all.
    pub models: Vec<String>,
    /// Requests that are answered at once, past which no peer's begins.
    pub places: u32,
    /// How many of those are kept for this router's own users.
    pub reserve: u32,
}

impl Default for PeersSettings {
    fn default() -> Self {
        Self {
            serve: false,
            profile: "private".into(),
            listen: Vec::new(),
            announce: Vec::new(),
            bootstrap: Vec::new(),
            trusted: Vec::new(),
            tools: Vec::new(),
            swarm_key: None,
            mdns: true,
            share: ShareSettings::default(),
            limits: KeyLimits { concurrency: Some(2), ..KeyLimits::default() },
        }
    }
}

impl Default for ShareSettings {
    fn default() -> Self {
        Self { providers: vec!["local".into()], models: Vec::new(), places: 8, reserve: 2 }
    }
}

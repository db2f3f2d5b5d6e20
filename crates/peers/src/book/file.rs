//! The file of the book: JSON that a person can read, private to its owner, written whole, changed under a lock. What it means is `../book.rs`.

use std::fs::{self, File};
use std::io::{ErrorKind as Io, Write};
use std::path::Path;
use std::time::SystemTime;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use llm_router::error::{Error, ErrorKind, Result};
use multibase::Base;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::{Known, MOST_ADDRESSES};
use crate::grant::{Claim, Grant};

/// Its name in the folder.
const NAME: &str = "book.json";
const LOCK: &str = "book.lock";
const VERSION: u32 = 1;
/// No book is larger: it would be read whole.
const LARGEST: u64 = 16 << 20;

/// What the file holds.
#[derive(Default)]
pub(super) struct Store {
    pub(super) peers: Vec<Known>,
    pub(super) claims: Vec<Claim>,
}

/// By what a changed file is known from the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Option<(SystemTime, u64, u64)>);

#[derive(Serialize, Deserialize)]
struct Shape {
    v: u32,
    #[serde(default)]
    peers: Vec<Peer>,
    /// Whose grants for a bearer are; without a peer, what was taken back.
    #[serde(default)]
    claims: Vec<Claimed>,
}

#[derive(Serialize, Deserialize)]
struct Peer {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    /// The grant that it gave us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ours: Option<String>,
    /// The grant that we gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    theirs: Option<String>,
    #[serde(default)]
    may_ask: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    tools: bool,
}

#[derive(Serialize, Deserialize)]
struct Claimed {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    expires: u64,
}

/// What is written in the folder's file; nothing where there is none.
pub(super) fn read(folder: &Path) -> Result<(Store, Stamp)> {
    let path = folder.join(NAME);
    // Before it is read: what is written in between is seen the next time.
    let stamp = stamp(folder);
    if stamp.0.is_some_and(|(_, bytes, _)| bytes > LARGEST) {
        return Err(damaged(&path, "it is too large"));
    }
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == Io::NotFound => return Ok((Store::default(), Stamp::default())),
        Err(error) => return Err(unusable(&path, &error)),
    };
    let shape: Shape = serde_json::from_slice(&text).map_err(|error| damaged(&path, &error.to_string()))?;
    if shape.v > VERSION {
        let message = format!("{}: it has version {}", path.display(), shape.v);
        return Err(
            Error::new(ErrorKind::RouterUnavailable, message).with_hint("use the version of llm-router that wrote it")
        );
    }
    let store = shape.store().map_err(|why| damaged(&path, &why))?;
    Ok((store, stamp))
}

/// Writes the file whole, readable by its owner only.
pub(super) fn write(folder: &Path, store: &Store) -> Result<Stamp> {
    let path = folder.join(NAME);
    let text = serde_json::to_vec_pretty(&Shape::of(store)?).map_err(|error| Error::internal(error.to_string()))?;
    let failed = |error: std::io::Error| unusable(&path, &error);
    // A temporary file is born with mode 0600.
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    temporary.write_all(&text).and_then(|()| temporary.as_file().sync_all()).map_err(failed)?;
    temporary.persist(&path).map_err(|error| failed(error.error))?;
    Ok(stamp(folder))
}

/// Keeps other processes from changing the file until it is dropped. It makes the folder where there is none.
pub(super) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let locked = || -> std::io::Result<File> {
        private_folder(folder)?;
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        file.lock()?;
        Ok(file)
    };
    locked().map_err(|error| unusable(&path, &error))
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

pub(super) fn stamp(folder: &Path) -> Stamp {
    #[cfg(unix)]
    let number = |metadata: &fs::Metadata| std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let number = |_: &fs::Metadata| 0;
    let metadata = fs::metadata(folder.join(NAME)).ok();
    Stamp(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len(), number(&metadata)))))
}

impl Shape {
    fn of(store: &Store) -> Result<Self> {
        let peers = store.peers.iter().map(Peer::of).collect::<Result<_>>()?;
        let claims = store.claims.iter().map(|claim| Claimed {
            id: hex(&claim.id.into_array()),
            by: claim.by.map(|peer| peer.to_base58()),
            expires: claim.expires,
        });
        Ok(Self { v: VERSION, peers, claims: claims.collect() })
    }

    fn store(self) -> Result<Store, String> {
        let peers = self.peers.into_iter().map(Peer::known).collect::<Result<_, _>>()?;
        let claims = self.claims.into_iter().map(|claim| {
            let by = claim.by.as_deref().map(peer_id).transpose()?;
            Ok::<_, String>(Claim { id: ByteArray::new(unhex(&claim.id)?), by, expires: claim.expires })
        });
        Ok(Store { peers, claims: claims.collect::<Result<_, _>>()? })
    }
}

impl Peer {
    fn of(known: &Known) -> Result<Self> {
        let word = |grant: &Grant| Ok::<_, Error>(multibase::encode(Base::Base32Lower, grant.to_bytes()?));
        Ok(Self {
            id: known.peer.to_base58(),
            name: known.name.clone(),
            addresses: known.addresses.iter().map(Multiaddr::to_string).collect(),
            ours: known.ours.as_ref().map(word).transpose()?,
            theirs: known.theirs.as_ref().map(word).transpose()?,
            may_ask: known.may_ask,
            tools: known.tools,
        })
    }

    fn known(self) -> Result<Known, String> {
        let Self { id, name, addresses, ours, theirs, may_ask, tools } = self;
        let peer = peer_id(&id)?;
        let grant = |text: Option<String>| {
            let read = |text: String| Grant::from_bytes(&multibase::decode(text).ok()?.1).ok();
            text.map(|text| read(text).ok_or_else(|| format!("a grant of {id} cannot be read"))).transpose()
        };
        let address = |text: String| text.parse::<Multiaddr>().map_err(|_| format!("{text:?} of {id} is no address"));
        let addresses = addresses.into_iter().take(MOST_ADDRESSES).map(address).collect::<Result<_, _>>()?;
        let (ours, theirs) = (grant(ours)?, grant(theirs)?);
        Ok(Known { name, addresses, ours, theirs, may_ask, tools, ..Known::new(peer) })
    }
}

fn peer_id(text: &str) -> Result<PeerId, String> {
    text.parse().map_err(|_| format!("{text:?} is no peer id"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<[u8; 16], String> {
    let wrong = || format!("{text:?} is no grant's number");
    let bytes = Base::Base16Lower.decode(text).map_err(|_| wrong())?;
    bytes.try_into().map_err(|_| wrong())
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::RouterUnavailable, format!("{} is damaged: {why}", path.display()))
        .with_hint("mend it or move it away, and join your peers again")
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::RouterUnavailable, format!("cannot use {}: {error}", path.display()))
        .with_hint("the folder of trusted peers must be writable")
        .with_source(std::io::Error::new(error.kind(), error.to_string()))
}

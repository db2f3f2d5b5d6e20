//! What may be typed behind `peers`. What these commands do is in `commands/peers.rs`; the other commands' words are in `../args.rs`.

use clap::{Args, Subcommand};

use super::KeyLimits;

#[derive(Debug, Subcommand)]
pub(crate) enum Peers {
    /// Print this router's peer id
    Id,
    /// Make a ticket: whoever shows it first may ask this router
    Invite(PeerInvite),
    /// Take a ticket: from then on both routers may ask each other
    Join {
        /// The word that `peers invite` printed on the other machine
        ticket: String,
    },
    /// List the peers, their models, and why one would be asked
    Ls,
    /// Take a peer out: it is a stranger from now on
    Forget {
        /// Its id or its name
        peer: String,
    },
    /// Check a receipt; nobody is asked
    Verify {
        /// The word that came with an answer
        receipt: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PeerInvite {
    /// For the peer with this id alone
    #[arg(long, value_name = "ID")]
    pub to: Option<String>,

    #[command(flatten)]
    pub limits: KeyLimits,
}

//! Peers from the outside: routers in one process that ask and answer each other over real libp2p nodes, with scripted providers behind them.
#![allow(clippy::unwrap_used)]

mod service {
    pub(crate) mod features;
    pub(crate) mod flow;
    pub(crate) mod hostile;
    pub(crate) mod stage;
    pub(crate) mod trust;
    pub(crate) mod vanish;
}

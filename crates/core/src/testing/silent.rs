//! An address where nothing answers and nothing refuses: what a network that drops packets looks like from here.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The most connections that the kernel is given to fill its queue.
const MOST: usize = 64;

/// A loopback listener that takes no connection and whose queue is full: a further one meets silence for as long as this lives.
#[derive(Debug)]
pub struct Silent {
    port: u16,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Silent {
    /// Listens, and fills its own queue.
    ///
    /// # Errors
    /// What the system says; or that it takes connections without end.
    pub async fn listen() -> io::Result<Self> {
        // As long as a connection over loopback that is not answered at once never is.
        const PATIENCE: Duration = Duration::from_millis(300);
        let socket = TcpSocket::new_v4()?;
        socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let mut queued = Vec::new();
        while queued.len() < MOST {
            match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(stream) => queued.push(stream?),
                Err(_) => return Ok(Self { port: address.port(), _listener: listener, _queued: queued }),
            }
        }
        Err(io::Error::other(format!("{address} takes connections without end")))
    }

    /// The URL of a path there.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

//! Requests as they are written, and answers taken apart.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::program::Edge;

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// By lower-case name; several of one name are joined by commas.
    pub fields: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// A field's value; empty where there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn read(octets: &[u8]) -> Self {
        let head = octets.windows(4).position(|four| four == b"\r\n\r\n").expect("a header");
        let text = String::from_utf8_lossy(&octets[..head]).into_owned();
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let mut fields = BTreeMap::<String, String>::new();
        for line in lines {
            let (name, value) = line.split_once(':').expect("a field");
            let kept = fields.entry(name.to_ascii_lowercase()).or_default();
            if !kept.is_empty() {
                kept.push_str(", ");
            }
            kept.push_str(value.trim());
        }
        Self { status, fields, body: octets[head + 4..].to_vec() }
    }
}

/// What is asked, as it is written.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub fields: Vec<(String, String)>,
}

impl<'a> Ask<'a> {
    pub fn get(target: &'a str) -> Self {
        Self { method: "GET", target, fields: Vec::new() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    async fn on(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> Answer {
        let mut request =
            format!("{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The server may close without close_notify; what came before counts.
        let _closed = stream.read_to_end(&mut answer).await;
        Answer::read(&answer)
    }

    /// Over plain TCP.
    pub async fn plain(&self, address: SocketAddr, host: &str) -> Answer {
        self.on(TcpStream::connect(address).await.unwrap(), host).await
    }

    /// Of the edge, over TLS.
    pub async fn of(&self, edge: &Edge, host: &str) -> Answer {
        let served =
            edge.handshake(host).await.unwrap_or_else(|refused| panic!("{refused:?}: {}", edge.log()));
        self.on(served.stream, host).await
    }
}

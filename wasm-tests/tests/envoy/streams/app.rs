//! An application behind an Envoy whose answers do not end.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An application that upgrades, streams without end, or echoes bytes.
pub(super) struct App {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl App {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("bound");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Self { address, task }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let Ok(len @ 1..) = stream.read(&mut piece).await else {
            return;
        };
        head.extend_from_slice(&piece[..len]);
        let is_http = head.starts_with(b"GET ") || head.starts_with(b"POST ");
        if !is_http || head.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if text.contains("/silent") {
        tokio::time::sleep(Duration::from_secs(60)).await;
    } else if text.contains("upgrade: websocket") {
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        if stream.write_all(switch).await.is_ok() {
            echo(stream).await;
        }
    } else if text.starts_with("get ") || text.starts_with("post ") {
        let begin = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut sent = stream.write_all(begin).await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            sent = stream.write_all(b"4\r\ntick\r\n").await;
        }
    } else if stream.write_all(&head).await.is_ok() {
        echo(stream).await;
    }
}

async fn echo(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    // However it ends, it has ended.
    tokio::io::copy(&mut read, &mut write).await.ok();
}

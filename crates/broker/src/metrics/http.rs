//! The HTTP port that Prometheus asks: `GET /metrics`, and nothing else.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ottla_host::Host;
use ottla_host::net::{Listener, Stream};

use super::exposition::CONTENT_TYPE;

/// The longest request that is read.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// How long a client may take to ask, or to take its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers until dropped. `render` makes the page, where the disk may be waited for.
pub async fn serve(host: Host, listener: Listener, render: Arc<dyn Fn() -> String + Send + Sync>) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let (client, render) = (host.clone(), render.clone());
                host.spawn(async move {
                    let answered = answer(&client, stream, render);
                    if !matches!(client.timeout(PATIENCE, answered).await, Ok(Ok(()))) {
                        tracing::debug!("a client of the metrics went away or was too slow");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the metrics listener cannot accept a connection");
                host.sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(
    host: &Host,
    mut stream: Stream,
    render: Arc<dyn Fn() -> String + Send + Sync>,
) -> std::io::Result<()> {
    let mut head = BytesMut::with_capacity(1024);
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        if head.len() > MAX_HEAD_BYTES || stream.read(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = head.as_ref().split(|it| *it == b'\r').next().unwrap_or_default();
    let mut words = line.split(|it| *it == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|it| *it == b'?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/metrics") => ("200 OK", host.blocking(move || render()).await),
        (b"GET" | b"HEAD", _) => ("404 Not Found", "The metrics are at /metrics.\n".to_owned()),
        _ => ("405 Method Not Allowed", "Only GET is answered.\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let body = if method == b"HEAD" { &[][..] } else { body.as_bytes() };
    stream.write_all_vectored(&mut [IoSlice::new(head.as_bytes()), IoSlice::new(body)]).await
}

//! One stand-in over real HTTP/1.1 on loopback, for end-to-end tests of the binary.
//!
//! Where the script says that no answer comes, the connection is cut.
//! Must not: listen anywhere but on 127.0.0.1.

use crate::Handle;
use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use vesper_adapters::http::HttpRequest;

/// The largest request body that is read, in bytes.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// A stand-in that listens. Dropping it closes the port.
pub struct Served {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Served {
    /// Where it is reached, such as `http://127.0.0.1:41235`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Serves a stand-in on a free port of 127.0.0.1 until the result is dropped. Needs a tokio runtime.
///
/// # Errors
/// When no port can be opened.
pub async fn serve<H: Handle>(standin: H) -> io::Result<Served> {
    let listener = Cutting(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?);
    let address = listener.0.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let app = Router::new().fallback(answer::<H>).with_state(standin);
    let server = axum::serve(listener, app.into_make_service_with_connect_info::<Cut>()).with_graceful_shutdown(async move {
        let _ = stopped.await;
    });
    tokio::spawn(server.into_future());
    Ok(Served { address, _stop: stop })
}

async fn answer<H: Handle>(State(standin): State<H>, ConnectInfo(cut): ConnectInfo<Cut>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_MAX).await else {
        return status_only(413);
    };
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let request = HttpRequest {
        method: parts.method,
        url: format!("http://standin.invalid{target}"),
        headers: parts.headers.iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect(),
        body,
    };
    let Ok(reply) = standin.exchange(&request) else {
        cut.0.store(true, Ordering::SeqCst);
        return status_only(504);
    };
    let mut response = http::Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response.body(axum::body::Body::from(reply.body)).unwrap_or_else(|_| status_only(500))
}

fn status_only(status: u16) -> Response {
    let mut response = Response::default();
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

/// Whether a connection was cut: nothing is written to it any more.
#[derive(Clone)]
struct Cut(Arc<AtomicBool>);

impl Connected<IncomingStream<'_, Cutting>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Cutting>) -> Self {
        stream.io().cut.clone()
    }
}

/// A listener whose connections can be cut from inside a handler.
struct Cutting(TcpListener);

impl Listener for Cutting {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        let _ = stream.set_nodelay(true);
        (Connection { stream, cut: Cut(Arc::new(AtomicBool::new(false))) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

struct Connection {
    stream: TcpStream,
    cut: Cut,
}

impl Connection {
    fn checked(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        if self.cut.0.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Pin::new(&mut self.get_mut().stream))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.checked() {
            Ok(stream) => stream.poll_read(cx, buf),
            Err(e) => Poll::Ready(Err(e)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.checked() {
            Ok(stream) => stream.poll_write(cx, buf),
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.checked() {
            Ok(stream) => stream.poll_flush(cx),
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EhrStandin, Fault, FaultKind};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// The whole answer as it came, empty when the connection was cut.
    async fn get(origin: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(origin.trim_start_matches("http://")).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_served_standin_answers_and_cuts_the_connection_where_the_script_says() {
        let ehr = EhrStandin::default();
        let served = serve(ehr.clone()).await.unwrap();
        assert!(get(&served.origin(), "/v1/capabilities").await.starts_with("HTTP/1.1 401"));
        ehr.fault(Fault::new("GET /v1/changes", FaultKind::LostAfter));
        assert_eq!(get(&served.origin(), "/v1/changes?limit=2").await, "");
        let seen = ehr.seen("GET /v1/changes");
        assert_eq!((seen[0].applied, seen[0].status, seen[0].param("limit")), (true, None, Some("2")));
        assert!(get(&served.origin(), "/v1/changes").await.starts_with("HTTP/1.1 401"));
    }
}

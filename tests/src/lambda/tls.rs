//! TLS in front of a stand-in, with a chain as long as that of an endpoint of AWS: RSA of 2,048 bits, an intermediate, a root.
//! The keys are made for these tests; nothing else trusts them.
//!
//! Must not: listen anywhere but on 127.0.0.1.

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// The root that a client of [`TlsFront`] must trust, as PEM.
#[must_use]
pub fn root() -> PathBuf {
    fixture("root.pem")
}

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", "tls", name].iter().collect()
}

/// A port that speaks TLS and hands on what it hears. Dropping it closes the port.
pub struct TlsFront {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl TlsFront {
    /// In front of the server of this origin (`http://127.0.0.1:<port>`).
    pub async fn start(of: &str) -> TlsFront {
        let behind: SocketAddr = of.trim_start_matches("http://").parse().unwrap();
        let chain = CertificateDer::pem_file_iter(fixture("server.pem")).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, mut stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            loop {
                let outside = tokio::select! { _ = &mut stopped => return, accepted = listener.accept() => accepted };
                let Ok((outside, _)) = outside else { return };
                let _ = outside.set_nodelay(true);
                tokio::spawn(hand_on(acceptor.clone(), outside, behind));
            }
        });
        TlsFront { address, _stop: stop }
    }

    /// Where it is reached.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// A client that does not trust us, or leaves, ends its own connection and no other.
async fn hand_on(acceptor: TlsAcceptor, outside: TcpStream, behind: SocketAddr) {
    let Ok(mut outside) = acceptor.accept(outside).await else { return };
    let Ok(mut inside) = TcpStream::connect(behind).await else { return };
    let _ = inside.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
}

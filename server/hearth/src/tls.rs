//! TLS: certificate and key from files, taken anew when these change.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::settings::TlsFiles;

/// The certificate in force. Clones share it.
#[derive(Clone)]
pub(crate) struct Tls {
    files: Arc<TlsFiles>,
    // Held to look at it or to replace it.
    current: Arc<Mutex<Current>>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// What the files held: certificate, key.
    read: [Vec<u8>; 2],
}

impl Tls {
    /// Reads certificate and key. Blocks.
    pub(crate) fn open(files: TlsFiles) -> Result<Self, String> {
        let current = Current::read(&files)?;
        Ok(Self { files: Arc::new(files), current: Arc::new(Mutex::new(current)) })
    }

    /// What takes connections under the certificate in force.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }

    /// Looks whether the files have changed and takes them if they are good. Says whether it did. Blocks.
    pub(crate) fn reload(&self) -> Result<bool, String> {
        let read = self.files.read()?;
        if read == self.current.lock().unwrap_or_else(PoisonError::into_inner).read {
            return Ok(false);
        }
        let current = Current::of(read, &self.files)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(true)
    }
}

impl TlsFiles {
    fn read(&self) -> Result<[Vec<u8>; 2], String> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        Ok([read(&self.cert)?, read(&self.key)?])
    }
}

impl Current {
    fn read(files: &TlsFiles) -> Result<Self, String> {
        Self::of(files.read()?, files)
    }

    fn of(read: [Vec<u8>; 2], files: &TlsFiles) -> Result<Self, String> {
        let (cert, key) = (files.cert.display(), files.key.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read[0]).collect();
        let chain = chain.map_err(|error| format!("{cert}: {error}"))?;
        if chain.is_empty() {
            return Err(format!("{cert}: there is no certificate in it"));
        }
        let private = PrivateKeyDer::from_pem_slice(&read[1]);
        let private = private.map_err(|_| format!("{key}: there is no private key in PEM form in it"))?;
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private);
        let mut config = config.map_err(|error| format!("{cert} and {key}: {error}"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), read })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{self, Url};

    fn write(files: &TlsFiles) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(&files.cert, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    }

    #[tokio::test]
    async fn a_changed_certificate_is_served_and_a_broken_one_is_not_taken() {
        hearth_auth::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles { cert: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let first = write(&files);
        let tls = Tls::open(files.clone()).unwrap();
        assert_eq!(tls.reload(), Ok(false));

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seats = crate::connections::Seats::new(crate::connections::ConnectionLimits::of_a_test());
        let router = axum::Router::new().route("/", axum::routing::get(|| async { "secure" }));
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        tokio::spawn(crate::connections::accept(listener, Some(tls.clone()), router, seats, stopped));
        let get = async |trusted: &[u8]| {
            let url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
            let answer = fetch::get(&url, &fetch::trusting(trusted), 100).await;
            answer.map(|answer| answer.body).map_err(|error| error.to_string())
        };
        assert_eq!(get(&first).await.unwrap(), b"secure");

        std::fs::write(&files.cert, "broken").unwrap();
        assert!(tls.reload().unwrap_err().contains("no certificate"));
        assert_eq!(get(&first).await.unwrap(), b"secure");
        let second = write(&files);
        assert_eq!(tls.reload(), Ok(true));
        assert_eq!(get(&second).await.unwrap(), b"secure");
        assert!(get(&first).await.is_err(), "the old certificate is gone");
    }
}

//! An authority, and certificates of a server and of a client, made by the program `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::BrokerError;

/// What Debian's own configuration says of extensions is not asked.
const CONFIGURATION: &str = "\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
";

/// Files of an authority, and of a server and a client that it vouches for, in PEM, valid for two days. The server's name is
/// `127.0.0.1` and no other: a client that connects to `localhost` must notice.
#[derive(Clone, Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them in this folder, which must be there.
    ///
    /// # Errors
    /// When `openssl` is not on the machine, or fails.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self, BrokerError> {
        let made = Self::at(folder);
        let configuration = made.file("openssl.cnf");
        fs::write(&configuration, CONFIGURATION).map_err(BrokerError::path("write", &configuration))?;
        let configuration = shown(&configuration);
        let key = |name: &str| {
            let file = shown(&made.file(name));
            made.run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &file])
        };
        let (authority, authority_key) = (shown(&made.authority()), shown(&made.file("authority.key")));
        key("authority.key")?;
        key("server.key")?;
        key("client.key")?;
        made.run(&[
            "req",
            "-x509",
            "-new",
            "-config",
            &configuration,
            "-extensions",
            "authority",
            "-key",
            &authority_key,
            "-subj",
            "/CN=pubsub test authority",
            "-days",
            "2",
            "-out",
            &authority,
        ])?;
        let vouch = |role: &str, serial: &str| {
            let file = |ending: &str| shown(&made.file(&format!("{role}.{ending}")));
            let (key, request, certificate) = (file("key"), file("csr"), file("pem"));
            let name = format!("/CN=pubsub test {role}");
            made.run(&["req", "-new", "-config", &configuration, "-key", &key, "-subj", &name, "-out", &request])?;
            made.run(&[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                &authority,
                "-CAkey",
                &authority_key,
                "-set_serial",
                serial,
                "-extfile",
                &configuration,
                "-extensions",
                role,
                "-days",
                "2",
                "-out",
                &certificate,
            ])
        };
        vouch("server", "2")?;
        vouch("client", "3")?;
        let text = |file: &Path| fs::read_to_string(file).map_err(BrokerError::path("read", file));
        let both = text(&made.server_key())? + &text(&made.server())?;
        fs::write(made.server_with_key(), both).map_err(BrokerError::path("write", made.server_with_key()))?;
        Ok(made)
    }

    pub(super) fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The authority's certificate: what a client trusts.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("authority.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn server(&self) -> PathBuf {
        self.file("server.pem")
    }

    /// The server's private key.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.file("server.key")
    }

    /// A client's certificate.
    #[must_use]
    pub fn client(&self) -> PathBuf {
        self.file("client.pem")
    }

    /// The client's private key.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.file("client.key")
    }

    /// The server's private key and certificate in one file, as Kafka reads them.
    #[must_use]
    pub fn server_with_key(&self) -> PathBuf {
        self.file("server-with-key.pem")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn run(&self, arguments: &[&str]) -> Result<(), BrokerError> {
        let mut command = Command::new("openssl");
        let output = command.args(arguments).output().map_err(BrokerError::path("run", "openssl"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(BrokerError::io(format!("run openssl {}", arguments[0]))(std::io::Error::other(text)))
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

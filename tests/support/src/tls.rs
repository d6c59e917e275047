//! Certificates for servers and clients on loopback, made by the `openssl` command line tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use crate::server::{Folder, StartError};

/// The name in the certificate [`Certificates::other_host`]; no test connects to it.
pub const OTHER_HOST: &str = "elsewhere.example";

/// How long certificates are good.
const DAYS: &str = "30";

const CONFIGURATION: &str = "\
[req]
distinguished_name = nothing
prompt = no
[nothing]
CN = nothing
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = DNS:localhost,IP:127.0.0.1,IP:::1
[other_host]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = DNS:elsewhere.example
[client]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
";

/// A certificate and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key, in PKCS 8.
    pub key: PathBuf,
}

/// An authority and what it has signed. All are files in a folder that goes with the last copy of this value, and with
/// the test process at the latest.
#[derive(Clone, Debug)]
pub struct Certificates {
    folder: Arc<Folder>,
    /// The certificate of the authority, as a PEM file.
    pub ca: PathBuf,
    /// A server at `localhost`, 127.0.0.1 and ::1.
    pub server: Identity,
    /// A server at [`OTHER_HOST`], which a client that checks names must refuse here.
    pub other_host: Identity,
    /// A client.
    pub client: Identity,
}

impl Certificates {
    /// Makes an authority of its own with its certificates.
    ///
    /// # Panics
    ///
    /// When that fails, saying why.
    #[track_caller]
    pub fn make() -> Certificates {
        Certificates::try_make().unwrap_or_else(|error| panic!("no certificates: {error}"))
    }

    /// Makes an authority of its own with its certificates.
    pub fn try_make() -> Result<Certificates, StartError> {
        let folder = Folder::new()?;
        let at = folder.path();
        let file = at.join("openssl.cnf");
        fs::write(&file, CONFIGURATION).map_err(|error| {
            StartError::new(format!(
                "{}: {error}; make room on the disk",
                file.display()
            ))
        })?;
        new_key(
            at,
            "ca",
            &["-x509", "-extensions", "ca", "-days", DAYS],
            "ca.crt",
        )?;
        let mut signed = Vec::new();
        for (number, name) in ["server", "other_host", "client"].into_iter().enumerate() {
            new_key(at, name, &[], "request.csr")?;
            let certificate = format!("{name}.crt");
            let serial = (number + 2).to_string();
            openssl(
                at,
                &[
                    "x509",
                    "-req",
                    "-in",
                    "request.csr",
                    "-CA",
                    "ca.crt",
                    "-CAkey",
                    "ca.key",
                    "-set_serial",
                    &serial,
                    "-days",
                    DAYS,
                    "-sha256",
                    "-extfile",
                    "openssl.cnf",
                    "-extensions",
                    name,
                    "-out",
                    &certificate,
                ],
            )?;
            signed.push(Identity {
                certificate: at.join(certificate),
                key: at.join(format!("{name}.key")),
            });
        }
        let [server, other_host, client] = signed
            .try_into()
            .map_err(|_| StartError::new("a certificate is missing; report this as a bug"))?;
        Ok(Certificates {
            ca: at.join("ca.crt"),
            server,
            other_host,
            client,
            folder: Arc::new(folder),
        })
    }

    /// Those that all tests of this process share, made for the first that asks.
    ///
    /// # Panics
    ///
    /// When that fails, saying why.
    #[track_caller]
    pub fn shared() -> &'static Certificates {
        static SHARED: OnceLock<Certificates> = OnceLock::new();
        SHARED.get_or_init(Certificates::make)
    }

    /// The folder that holds all files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A new key, with a request for a certificate or, given the words for it, with the certificate itself.
fn new_key(folder: &Path, name: &str, words: &[&str], output: &str) -> Result<(), StartError> {
    let (key, subject) = (format!("{name}.key"), format!("/CN=redlatch test {name}"));
    let mut all = vec![
        "req",
        "-new",
        "-config",
        "openssl.cnf",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-sha256",
        "-keyout",
        &key,
        "-subj",
        &subject,
        "-out",
        output,
    ];
    all.extend(words);
    openssl(folder, &all)
}

fn openssl(folder: &Path, words: &[&str]) -> Result<(), StartError> {
    let output = Command::new("openssl")
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            StartError::new(format!(
                "openssl cannot be run ({error}); install the package openssl, which makes the certificates for tests of TLS"
            ))
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(StartError::new(format!(
        "openssl {} failed; install OpenSSL 1.1.1 or newer: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

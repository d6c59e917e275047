//! TLS: whom this client trusts, and who it is to the server.

use std::{fmt, path::Path, sync::Arc};

use fred::{
    rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore,
        SignatureScheme,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring},
        pki_types::{
            CertificateDer, PrivateKeyDer, ServerName, UnixTime,
            pem::{Error as PemError, PemObject},
        },
        sign::{CertifiedKey, SingleCertAndKey},
    },
    rustls_native_certs::load_native_certs,
    types::config::{Config, ServerConfig, TlsConfig, TlsConnector},
};

use crate::error::{Error, Result};

/// How a client speaks TLS, with the feature `tls-rustls`: TLS 1.2 and 1.3, by rustls and ring.
///
/// As it is, the system's authorities are trusted and the certificate must be valid for the host in the address. Files
/// are read where they are named, so a bad one is an error before anything is sent; they are not read again.
///
/// *Redisson*: `sslTruststore` is [`ca_file`](Self::ca_file), `sslKeystore` is
/// [`client_certificate`](Self::client_certificate), `sslVerificationMode` is strict here unless
/// [`any_host_name`](Self::any_host_name) makes it `CA_ONLY`; there is no `NONE`.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> redlatch::Result<()> {
/// use redlatch::{Client, Tls};
///
/// let tls = Tls::new()
///     .ca_file("/etc/ssl/redis-ca.pem")?
///     .client_certificate("/etc/ssl/app.pem", "/etc/ssl/app.key")?;
/// let client = Client::builder()
///     .url("rediss://redis.internal:6379")?
///     .tls(tls)
///     .connect()
///     .await?;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "nothing uses it until ClientBuilder::tls has it"]
pub struct Tls {
    /// The system's where there are none.
    roots: Option<RootCertStore>,
    identity: Option<Arc<CertifiedKey>>,
    server_name: Option<ServerName<'static>>,
    any_host_name: bool,
}

impl Tls {
    /// Trusts the authorities of the system, and shows no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this PEM file instead of those of the system. Call it again for more.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] when it cannot be read or holds no certificate of an authority.
    ///
    /// *Redisson*: `sslTruststore`.
    pub fn ca_file(self, file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref();
        self.trust(&read("ca_file", file)?, "ca_file", &file.display())
    }

    /// As [`ca_file`](Self::ca_file), from memory.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] when it holds no certificate of an authority.
    pub fn ca_pem(self, pem: impl AsRef<[u8]>) -> Result<Self> {
        self.trust(pem.as_ref(), "ca_pem", &"it")
    }

    /// Shows this certificate where the server asks for one: PEM files, the certificate's with those of authorities in
    /// between behind it, the key in PKCS 8, PKCS 1 or SEC 1 without a password.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] when a file cannot be read, lacks what it should hold, or when the key is of another
    /// certificate.
    ///
    /// *Redisson*: `sslKeystore` and `sslKeystorePassword`.
    pub fn client_certificate(
        self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self> {
        const FIELD: &str = "client_certificate";
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let (chain, secret) = (read(FIELD, certificate)?, read(FIELD, key)?);
        self.show(&chain, &secret, &certificate.display(), &key.display())
    }

    /// As [`client_certificate`](Self::client_certificate), from memory.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] when something is missing, or when the key is of another certificate.
    pub fn client_certificate_pem(
        self,
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        self.show(certificate, key, &"the certificate", &"the key")
    }

    /// Asks every server for this name (SNI) and wants its certificate to be valid for it, instead of for the host in the
    /// address. For clusters whose nodes announce nothing but their IP addresses.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] when it is neither a DNS name nor an IP address.
    pub fn server_name(mut self, name: impl AsRef<str>) -> Result<Self> {
        let name = ServerName::try_from(name.as_ref().to_owned())
            .map_err(|error| Error::invalid("server_name", error.to_string()))?;
        self.server_name = Some(name);
        Ok(self)
    }

    /// Accepts a certificate for any host, as long as it is from a trusted authority. Whoever has *any* certificate of
    /// that authority can then pass for the server: only for an authority of your own that signs nothing else.
    ///
    /// *Redisson*: `sslVerificationMode` with `CA_ONLY`.
    pub fn any_host_name(mut self) -> Self {
        self.any_host_name = true;
        self
    }

    fn trust(mut self, pem: &[u8], field: &'static str, source: &dyn fmt::Display) -> Result<Self> {
        let wrong = |error: &dyn fmt::Display| Error::invalid(field, format!("{source}: {error}"));
        let mut roots = self.roots.take().unwrap_or_else(RootCertStore::empty);
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| wrong(&unreadable(&error)))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        if roots.len() == before {
            return Err(wrong(&"there is no certificate in it"));
        }
        self.roots = Some(roots);
        Ok(self)
    }

    fn show(
        mut self,
        certificate: &[u8],
        key: &[u8],
        certificate_source: &dyn fmt::Display,
        key_source: &dyn fmt::Display,
    ) -> Result<Self> {
        let wrong = |source: &dyn fmt::Display, error: &dyn fmt::Display| {
            Error::invalid("client_certificate", format!("{source}: {error}"))
        };
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong(certificate_source, &unreadable(&error)))?;
        if chain.is_empty() {
            return Err(wrong(certificate_source, &"there is no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            let text = match error {
                PemError::NoItemsFound => "there is no private key in it that could be used".into(),
                other => unreadable(&other),
            };
            wrong(key_source, &text)
        })?;
        let identity = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| wrong(key_source, &error))?;
        self.identity = Some(Arc::new(identity));
        Ok(self)
    }

    /// Has all connections of `config` speak TLS this way.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<()> {
        let connector = TlsConnector::from(self.client_config()?);
        config.tls = Some(TlsConfig::from(connector));
        if let Some(name) = &self.server_name {
            let name = name.to_str();
            let wanted = || Some(name.as_ref().into());
            match &mut config.server {
                ServerConfig::Centralized { server } => server.tls_server_name = wanted(),
                ServerConfig::Clustered { hosts, .. } | ServerConfig::Sentinel { hosts, .. } => {
                    for host in hosts {
                        host.tls_server_name = wanted();
                    }
                }
                #[allow(unreachable_patterns)]
                _ => {}
            }
        }
        Ok(())
    }

    fn client_config(&self) -> Result<ClientConfig> {
        let wrong = |error: &dyn fmt::Display| Error::invalid("tls", error.to_string());
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None => system_roots()?,
        };
        let provider = Arc::new(provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|error| wrong(&error))?;
        // The provider is named, since the library panics where a program has two and none was chosen.
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?;
        let builder = if self.any_host_name {
            let verifier = Arc::new(AnyHostName(verifier));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        } else {
            builder.with_webpki_verifier(verifier)
        };
        Ok(match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                CertifiedKey::clone(identity),
            ))),
            None => builder.with_no_client_auth(),
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.roots.as_ref().map(RootCertStore::len))
            .field("client_certificate", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .field("any_host_name", &self.any_host_name)
            .finish()
    }
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

fn system_roots() -> Result<RootCertStore> {
    let found = load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems have some that no library reads.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map(ToString::to_string);
        let why = why.unwrap_or_else(|| "there is none".to_owned());
        return Err(Error::invalid(
            "tls",
            format!("no authority of the system could be read ({why}); name one by Tls::ca_file"),
        ));
    }
    Ok(roots)
}

fn read(field: &'static str, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file)
        .map_err(|error| Error::invalid(field, format!("{}: {error}", file.display())))
}

/// What is wrong with a PEM text, without what is in it.
fn unreadable(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        PemError::IllegalSectionStart { .. } => "a section begins wrongly".to_owned(),
        PemError::Base64Decode(_) => "a section is not base64".to_owned(),
        PemError::NoItemsFound => "there is nothing in it that could be used".to_owned(),
        _ => "it is not PEM".to_owned(),
    }
}

/// Checks everything but the name.
#[derive(Debug)]
struct AnyHostName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHostName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let checked =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match checked {
            // Names are looked at last, when everything else is right.
            Err(RustlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
